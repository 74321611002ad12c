"""Judge the questions of a new run by what earlier runs asked under the same ids, before anything starts."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from database import Database, Rewording
from questions.cells import listed
from questions.checks import parent_id
from questions.question import Question, folded, text_id
from storage.records import EarlierQuestion, Resolution

# Characters of a question that a message quotes.
QUOTED = 120


class IdentityError(Exception):
    """The questions cannot be asked as they are; one line for each reason."""


@dataclass(frozen=True)
class Known:
    """What a database says about questions.

    ``asked`` is all that was asked, oldest first, ``resolved`` the latest outcome by subject, ``subjects``
    gives each id's, ``path`` is the database's file.
    """

    asked: Sequence[EarlierQuestion] = ()
    resolved: Mapping[str, Resolution] = field(default_factory=dict)
    subjects: Mapping[str, str] = field(default_factory=dict)
    path: str = ""

    @classmethod
    def of(cls, path: Path) -> Known:
        """Read it from a file; nothing is known where there is none."""
        if not path.exists():
            return cls()
        with Database(path, create=False) as database:
            return cls.read(database)

    @classmethod
    def read(cls, database: Database) -> Known:
        """Read it from an open database."""
        asked = database.asked_before()
        subjects = {one.id: one.subject for one in asked}
        outcomes = database.resolutions().items()
        resolved = {subjects[name]: row for name, row in outcomes if name in subjects}
        return cls(asked, resolved, subjects, str(database.path))

    def subject(self, question: Question) -> str:
        """Return the subject of a question, as the database has it where it knows an id."""
        return self.subjects.get(question.id, self.subjects.get(question.subject, question.subject))


@dataclass(frozen=True)
class Admitted:
    """The questions to ask, the rewordings that the user accepted, and lines for the user."""

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

    Args:
        questions: what the user asks.
        known: what the database holds.
        as_of: the day of the whole run, None for a live one; a question's own day comes first.
        today: ISO date of the run.
        reworded: ids whose new wording the user accepts.
        ask_closed: whether resolved and closed questions are asked as well.

    Raises:
        IdentityError: an id stood for another question, ``reworded`` names one that did not, or no question is left.
    """
    by_subject: dict[str, list[EarlierQuestion]] = {}
    for one in known.asked:
        by_subject.setdefault(one.subject, []).append(one)
    main = [question for question in questions if parent_id(question.extra) is None]
    accepted, problems = _wordings(main, known, by_subject, reworded)
    if problems:
        raise IdentityError("\n".join(problems))
    left_out = {
        question.id
        for question in main
        if not ask_closed
        and (question.as_of or as_of) is None
        and (earlier := by_subject.get(known.subject(question)))
        and (earlier[-1].subject in known.resolved or (question.close_date or today) < today)
    }
    asked = [q for q in questions if (parent_id(q.extra) or q.id) not in left_out]
    notes = [*_changed_dates(asked, known.asked), *_two_histories(main, known)]
    if left_out:
        names = ", ".join(q.id for q in main if q.id in left_out)
        count = f"{len(left_out)} question{'s' * (len(left_out) > 1)} that {'are' if len(left_out) > 1 else 'is'}"
        notes.append(
            f"left out: {count} resolved or closed ({names}); --ask-closed asks them all the same"
        )
        if not asked:
            raise IdentityError(notes[-1])
    rewordings = tuple(one for one in accepted if one.question_id not in left_out)
    return Admitted(asked, rewordings, tuple(notes))


def _wordings(
    questions: Sequence[Question],
    known: Known,
    by_subject: Mapping[str, Sequence[EarlierQuestion]],
    reworded: Sequence[str],
) -> tuple[list[Rewording], list[str]]:
    """The rewordings that the user accepts, and a line for each that he does not or that is none."""
    accepted: list[Rewording] = []
    problems: list[str] = []
    used: set[str] = set()
    for question in questions:
        earlier = by_subject.get(known.subject(question), ())
        if not earlier or folded(question.text) in {folded(one.text) for one in earlier}:
            continue
        names = {question.id, question.subject}
        if names & set(reworded):
            used |= names
            if taken := _asked_as_another(question.text, earlier[-1].subject, by_subject):
                problems.append(
                    f"--reworded {question.id}: run {taken.run_id} asked {question.text[:QUOTED]!r} as the question"
                    f" {taken.id!r}; ask it under that id, or join the two with analysis.py --same-question"
                )
                continue
            accepted.append(Rewording(question.id, earlier[-1].text, question.text))
            continue
        name = question.subject if question.id.startswith(question.subject + "@") else question.id
        then, now = _told_apart(earlier[-1].text, question.text)
        line = (
            f"id {name!r} was asked in run {earlier[-1].run_id} as {then!r} and is now {now!r}; if it is the same question"
            f" in other words, say so with --reworded {shlex.quote(name)}; else give it another id"
        )
        if line not in problems:
            problems.append(line)
    for name in dict.fromkeys(reworded):
        if name not in used:
            asked = any(name in (q.id, q.subject) for q in questions)
            why = (
                "no earlier run asked it in other words"
                if asked
                else "no question of this run has that id"
            )
            problems.append(f"--reworded {name}: {why}")
    return accepted, problems


def _asked_as_another(
    text: str, subject: str, by_subject: Mapping[str, Sequence[EarlierQuestion]]
) -> EarlierQuestion | None:
    """Find the question of another subject that has this text: ids that were shifted, not words."""
    others = (one for name, asked in by_subject.items() if name != subject for one in asked)
    wanted = folded(text)
    return next((one for one in others if folded(one.text) == wanted), None)


def _told_apart(one: str, other: str) -> tuple[str, str]:
    """Two texts, each short enough for a message, from shortly before where they begin to differ."""
    if max(len(one), len(other)) <= QUOTED:
        return one, other
    same = next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )
    start = max(0, same - QUOTED // 3) if same > QUOTED // 2 else 0
    return _cut(one, start), _cut(other, start)


def _cut(text: str, start: int) -> str:
    end = "…" if len(text) > start + QUOTED else ""
    return ("…" if start else "") + text[start : start + QUOTED] + end


def _changed_dates(questions: Sequence[Question], asked: Sequence[EarlierQuestion]) -> list[str]:
    newest = {one.id: one for one in asked}
    return [
        f"the close date of {q.id!r} was {newest[q.id].close_date or 'not given'} in run {newest[q.id].run_id} and is now"
        f" {q.close_date or 'not given'}"
        for q in questions
        if q.id in newest and newest[q.id].close_date != q.close_date and parent_id(q.extra) is None
    ]


def _two_histories(questions: Sequence[Question], known: Known) -> list[str]:
    """Name the new questions whose text is known under another id.

    A line for each where one of the two ids was not chosen, one for all others with one close date.
    """
    by_text: dict[str, EarlierQuestion] = {}
    for one in known.asked:
        by_text[folded(one.text)] = one
    lines = []
    apart = []
    for question in questions:
        same = by_text.get(folded(question.text))
        if same is None or question.id in known.subjects or known.subject(question) == same.subject:
            continue
        if question.id == text_id(question.text):
            lines.append(
                f"{question.text[:QUOTED]!r} has the id {same.id!r} in run {same.run_id} and none here, so it begins a"
                f" history of its own; give it the id {same.id!r} to go on with that one"
            )
        elif same.id == text_id(same.text):
            lines.append(
                f"id {question.id!r}: run {same.run_id} asked the same question without an id, and its history is apart;"
                f" join them: python analysis.py --database {shlex.quote(known.path)} --same-question"
                f" {shlex.quote(question.id)} {same.id}"
            )
        elif same.close_date == question.close_date:
            apart.append(f"{question.id!r} (run {same.run_id}: {same.id!r})")
    if apart:
        lines.append(
            f"asked before under another id, with a history apart: {listed(apart)}; if two are one question, give the"
            f" earlier id, or join them: python analysis.py --database {shlex.quote(known.path)} --same-question ID OTHER"
        )
    return lines
