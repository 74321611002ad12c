"""Judge the questions of a new run by what earlier runs asked under the same ids."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.earlier_questions import Known
from questions.cells import listed
from questions.checks import parent_id
from questions.question import Question, folded, text_id
from runs.command_line import UsageError
from storage.records import EarlierQuestion, Rewording

# Characters of a question that a message quotes.
QUOTED = 120


@dataclass(frozen=True)
class Admitted:
    """Questions to ask, rewordings that the user accepted, and lines for the user."""

    questions: list[Question]
    rewordings: tuple[Rewording, ...] = ()
    notes: tuple[str, ...] = ()


def admit(
    questions: Sequence[Question],
    known: Known,
    *,
    as_of: str | None,
    today: str,
    reworded: Sequence[str] = (),
    ask_closed: bool = False,
) -> Admitted:
    """Decide which questions of a new run are asked.

    ``as_of`` is the day of the whole run, None for a live one; a question's own day comes first.
    ``reworded`` are the ids whose new wording the user accepts; with ``ask_closed`` resolved and
    closed questions are asked as well.

    Raises:
        UsageError: an id was another question's, ``reworded`` names one that was not, or no
            question is left; one line each.
    """
    main = [question for question in questions if parent_id(question.extra) is None]
    accepted = _rewordings(main, known, reworded)
    left_out = {
        question.id
        for question in main
        if not ask_closed
        and (question.as_of or as_of) is None
        and (earlier := known.earlier(question))
        and (earlier[-1].subject in known.resolved or (question.close_date or today) < today)
    }
    asked = [q for q in questions if (parent_id(q.extra) or q.id) not in left_out]
    notes = [*_changed_dates(asked, known), *_two_histories(main, known)]
    if left_out:
        names = ", ".join(q.id for q in main if q.id in left_out)
        several = len(left_out) > 1
        notes.append(
            f"left out: {len(left_out)} question{'s' * several} that {'are' if several else 'is'}"
            f" resolved or closed ({names}); --ask-closed asks them all the same"
        )
        if not asked:
            raise UsageError(notes[-1])
    rewordings = tuple(one for one in accepted if one.question_id not in left_out)
    return Admitted(asked, rewordings, tuple(notes))


def _rewordings(
    questions: Sequence[Question], known: Known, reworded: Sequence[str]
) -> list[Rewording]:
    """Return the new wordings that the user accepts; UsageError for every other one."""
    accepted: list[Rewording] = []
    problems: list[str] = []
    used: set[str] = set()
    for question in questions:
        earlier = known.earlier(question)
        if not earlier or folded(question.text) in {folded(one.text) for one in earlier}:
            continue
        newest = earlier[-1]
        names = {question.id, question.subject} & {*reworded}
        used |= names
        if not names:
            problems.append(_another_question(question, newest))
        elif taken := _asked_as_another(question.text, newest.subject, known):
            problems.append(
                f"--reworded {question.id}: run {taken.run_id} asked {question.text[:QUOTED]!r}"
                f" as the question {taken.id!r}; ask it under that id, or join the two with"
                " analysis.py --same-question"
            )
        else:
            accepted.append(Rewording(question.id, newest.text, question.text))
    for name in dict.fromkeys(reworded):
        if name not in used:
            asked = any(name in (q.id, q.subject) for q in questions)
            why = "no earlier run asked it in other words"
            unknown = "no question of this run has that id"
            problems.append(f"--reworded {name}: {why if asked else unknown}")
    if problems:
        raise UsageError("\n".join(dict.fromkeys(problems)))
    return accepted


def _another_question(question: Question, newest: EarlierQuestion) -> str:
    dated = question.id.startswith(question.subject + "@")
    name = question.subject if dated else question.id
    then, now = _told_apart(newest.text, question.text)
    return (
        f"id {name!r} was asked in run {newest.run_id} as {then!r} and is now {now!r}; if it is the"
        f" same question in other words, say so with --reworded {shlex.quote(name)}; else give it"
        " another id"
    )


def _asked_as_another(text: str, subject: str, known: Known) -> EarlierQuestion | None:
    """Find the question of another subject with this text: a shifted id, not words."""
    wanted = folded(text)
    others = (one for one in known.asked if one.subject != subject)
    return next((one for one in others if folded(one.text) == wanted), None)


def _told_apart(one: str, other: str) -> tuple[str, str]:
    """Shorten two texts for a message; both begin shortly before where they differ."""
    if max(len(one), len(other)) <= QUOTED:
        return one, other
    pairs = enumerate(zip(one, other, strict=False))
    same = next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))
    start = max(0, same - QUOTED // 3) if same > QUOTED // 2 else 0
    return _cut(one, start), _cut(other, start)


def _cut(text: str, start: int) -> str:
    end = "…" if len(text) > start + QUOTED else ""
    return ("…" if start else "") + text[start : start + QUOTED] + end


def _changed_dates(questions: Sequence[Question], known: Known) -> list[str]:
    newest = {one.id: one for one in known.asked}
    return [
        f"the close date of {q.id!r} was {newest[q.id].close_date or 'not given'} in run"
        f" {newest[q.id].run_id} and is now {q.close_date or 'not given'}"
        for q in questions
        if q.id in newest and newest[q.id].close_date != q.close_date and parent_id(q.extra) is None
    ]


def _two_histories(questions: Sequence[Question], known: Known) -> list[str]:
    """Name the new questions whose text is known under another id.

    A line for each where one of the two ids was not chosen, one for all others with one close date.
    """
    by_text = {folded(one.text): one for one in known.asked}
    join = f"python analysis.py --database {shlex.quote(known.path)} --same-question"
    lines = []
    apart = []
    for question in questions:
        same = by_text.get(folded(question.text))
        if same is None or question.id in known.subjects or known.subject(question) == same.subject:
            continue
        if question.id == text_id(question.text):
            lines.append(
                f"{question.text[:QUOTED]!r} has the id {same.id!r} in run {same.run_id} and none"
                " here, so it begins a history of its own; give it the id"
                f" {same.id!r} to go on with that one"
            )
        elif same.id == text_id(same.text):
            lines.append(
                f"id {question.id!r}: run {same.run_id} asked the same question without an id, and"
                f" its history is apart; join them: {join} {shlex.quote(question.id)} {same.id}"
            )
        elif same.close_date == question.close_date:
            apart.append(f"{question.id!r} (run {same.run_id}: {same.id!r})")
    if apart:
        lines.append(
            f"asked before under another id, with a history apart: {listed(apart)}; if two are one"
            f" question, give the earlier id, or join them: {join} ID OTHER"
        )
    return lines
