"""Make the table that closes a run, and its footnotes."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import config
from database import Database
from evaluation.changes import change_lines
from evaluation.discernment import undiscerning_lines
from scoring.distribution import Distribution
from scoring.pooling import Voice, average
from storage.records import INCOMPLETE, AskedQuestion, Forecast, PooledForecast
from storage.thoughts import ThoughtRead
from terminal.redaction import redact
from terminal.text import cut, visible_line, width

FINAL_IS_MODELS: Final = (
    "Final = models: no market price, base rate, related question or calibration was used."
)

# Questions of a table beyond which each takes one line, with its id, and the columns of an id.
MANY: Final = 30
ID_WIDE: Final = 14


@dataclass(frozen=True)
class Columns:
    """Format the rows of one table.

    ``terminal`` is as many columns wide; ``final``, ``calibrated`` and ``short`` say whether there
    are columns of final numbers beside the models', of calibrated values and of missing models.
    ``articles`` has the number of articles used, by question.
    """

    terminal: int
    configured: int
    final: bool
    calibrated: bool
    short: bool
    articles: Mapping[str, int]

    @property
    def width(self) -> int:
        """The columns of the terminal that are left to the questions."""
        return max(23, min(60, self.terminal - len(self.head())))

    def head(self) -> str:
        """Return the names of the columns."""
        calibrated = f"  {'calibrated':>10}" if self.calibrated else ""
        models = f"  {'members':>7}" if self.short else ""
        chance = f"{'final':>7}  {'models':>7}" if self.final else f"{'chance':>7}"
        return (
            f"  {chance}{calibrated}  {'80 % range':>10}  {'agree':>5}  {'captured':>8}"
            f"  {'articles':>8}{models}"
        )

    def cells(self, question: str, pool: PooledForecast | None) -> str:
        """Return the numbers of one question."""
        chance, value, interval, agreement, captured, agents = "none", "", "", "", "", 0
        final = chance
        if pool is not None:
            final, chance = f"{pool.final_mean:.1f} %", f"{pool.mean:.1f} %"
            value = "none" if pool.calibrated is None else f"{pool.calibrated:.1f} %"
            interval = f"{pool.p10:.0f} to {pool.p90:.0f} %"
            agreement = f"{pool.agreement:.2f}"
            captured = f"{pool.captured_mass:.2f}{'!' if pool.low_confidence else ' '}"
            agents = pool.agents
        calibrated = f"  {value:>10}" if self.calibrated else ""
        models = f"  {f'{agents} of {self.configured}':>7}" if self.short else ""
        beside = f"  {final:>7}" if self.final else ""
        return (
            f"{beside}  {chance:>7}{calibrated}  {interval:>10}  {agreement:>5}  {captured:>8}"
            f"  {self.articles.get(question, 0):>8}{models}"
        )


@dataclass(frozen=True)
class Closing:
    """What the closing table of a run is made of.

    ``pools`` and ``articles`` (how many were used) are by question id, ``configured`` is how many
    models were, ``notes`` are the lines below the table.
    """

    asked: Sequence[AskedQuestion]
    pools: Mapping[str, PooledForecast]
    configured: int
    articles: Mapping[str, int]
    notes: Sequence[str]

    @classmethod
    def read(cls, database: Database, run_id: int) -> Closing:
        """Read it from an open database."""
        pools = {pool.question_id: pool for pool in database.forecasts.ensembles(run_id)}
        configured = max(
            (pool.agents_configured for pool in pools.values()),
            default=_models_configured(database.runs.get(run_id).settings),
        )
        articles = database.forecasts.articles_used(run_id)
        notes = _footnotes(database, run_id, list(pools.values()))
        return cls(database.runs.questions(run_id), pools, configured, articles, notes)


def summary(database: Database, run_id: int) -> str:
    """Return the closing table of a run and its footnotes."""
    closing = Closing.read(database, run_id)
    asked, pools, configured = closing.asked, closing.pools, closing.configured
    terminal = shutil.get_terminal_size().columns
    columns = Columns(
        terminal=terminal,
        configured=configured,
        final=any(pool.final is not None for pool in pools.values()),
        calibrated=any(pool.calibrated is not None for pool in pools.values()),
        short=any(q.id not in pools or pools[q.id].agents < configured for q in asked),
        articles=closing.articles,
    )
    live = [q for q in asked if q.as_of is None]
    dated = [q for q in asked if q.as_of is not None]
    lines = []
    if live or not dated:
        lines += _table("Live forecasts" if dated else "", live, pools, columns)
    if dated:
        lines += _table(_back_dated(dated), dated, pools, columns)
    lines += [wrapped(line) for line in change_lines(database, run_id, terminal)]
    if closing.notes:
        lines += ["", *(wrapped(visible_line(redact(note))) for note in closing.notes)]
    return "\n".join(lines)


def _models_configured(settings: Mapping[str, object]) -> int:
    """Count the models in stored settings; 0 if another program has written them."""
    models = settings.get("model_order")
    return len(models) if isinstance(models, list) else 0


def _day(question: AskedQuestion) -> str:
    return (question.as_of or "")[:10]


def _back_dated(questions: Sequence[AskedQuestion]) -> str:
    days = sorted({_day(question) for question in questions})
    span = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return f"Back-dated forecasts, as of {span}"


def _table(
    title: str,
    questions: Sequence[AskedQuestion],
    pools: Mapping[str, PooledForecast],
    columns: Columns,
) -> list[str]:
    head = f"{'question':<{columns.width}}{columns.head()}"
    lines = ["", *([title] if title else []), head, "-" * len(head)]
    several_days = len({question.as_of for question in questions}) > 1
    for question in questions:
        # Forecasts of one question from several days are told apart by the day.
        day = f" (as of {_day(question)})" if several_days else ""
        label = visible_line(question.text) + day
        text = _broken(label, columns.width)
        if len(questions) > MANY:
            text = [cut(f"{visible_line(cut(question.id, ID_WIDE))}  {label}", columns.width)]
        cells = columns.cells(question.id, pools.get(question.id))
        lines.append(f"{text[0]}{' ' * (columns.width - width(text[0]))}{cells}")
        lines += text[1:]
    return lines


def _broken(text: str, columns: int) -> list[str]:
    """Break a text into lines of at most ``columns`` of a terminal."""
    # A second character takes the second column of a wide one; as the two may be parted, one column
    # is kept free for it.
    doubled = "".join(c + "\0" if width(c) == 2 else c for c in text)
    lines = textwrap.wrap(doubled, columns - ("\0" in doubled)) or [""]
    return [line.replace("\0", "") for line in lines]


def wrapped(line: str) -> str:
    """Break a line between words for a terminal; in a file it stays one line."""
    if not sys.stdout.isatty():
        return line
    columns = shutil.get_terminal_size().columns
    return textwrap.fill(
        line, columns, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def evidence_note(context_error: str) -> str:
    """Say with a question's ``context_error`` what evidence is missing and why."""
    if context_error.startswith(INCOMPLETE):
        return context_error[0].upper() + context_error[1:]
    return f"No evidence: {context_error}"


def _footnotes(database: Database, run_id: int, pools: Sequence[PooledForecast]) -> list[str]:
    """List error bound, low confidence, what is missing, reasoning and errors."""
    forecasts = database.forecasts.of_run(run_id)
    scored = [one for one in forecasts if one.error is None]
    questions = database.runs.questions(run_id)
    evidence = {question.context_error for question in questions if question.context_error}
    failures = Counter((one.agent, one.error) for one in forecasts if one.error is not None)
    return [
        *_confidence(scored, pools),
        *undiscerning_lines(_answers(scored)),
        *_final_numbers(database, run_id),
        *_calibrations(database, pools),
        *(evidence_note(reason) for reason in sorted(evidence)),
        *_reasoning(database, run_id, scored),
        *_wordings(scored),
        *_thoughts(database.thoughts.read(run_id), scored),
        *(
            f"Failed: {agent}, {count} forecasts: {error}"
            for (agent, error), count in failures.items()
        ),
    ]


def _confidence(scored: Sequence[Forecast], pools: Sequence[PooledForecast]) -> list[str]:
    notes = []
    if scored:
        worst = max(one.voice.residual for one in scored)
        notes.append(
            f"Every distribution is within {worst:.4f} (total variation) of the exact one."
        )
    if any(pool.low_confidence for pool in pools):
        lowest = min(one.voice.captured for one in scored)
        notes.append(
            "! A model's answer was an integer with a probability under"
            f" {config.MIN_CAPTURED_MASS} (the lowest: {lowest:.2g}): low confidence, and its"
            " voice weighs that much less in the pool."
        )
    if short := sum(pool.agents < pool.agents_configured for pool in pools):
        notes.append(
            f"{short} of {len(pools)} pools lack a model (the last column says how many took part)."
        )
    return notes


def _answers(scored: Sequence[Forecast]) -> dict[str, list[Distribution]]:
    """Return each model's answers, one for each question."""
    parts = defaultdict[tuple[str, str], list[Voice]](list)
    for one in scored:
        parts[one.agent, one.question_id].append(one.voice)
    answers = defaultdict[str, list[Distribution]](list)
    for (agent, _), voices in parts.items():
        answers[agent].append(average(voices).distribution)
    return answers


def _final_numbers(database: Database, run_id: int) -> list[str]:
    """Say what made the final numbers, and which curves were not good enough to."""
    numbers = database.final.of_run(run_id)
    if not numbers:
        return []
    used = Counter(name for one in numbers.values() for name in one.ingredients)
    curves = [one for one in database.final.calibrations(run_id) if one.count and not one.used]
    unused = {f"Calibration of {one.kind} questions not used: {one.reason}." for one in curves}
    if not used:
        return [FINAL_IS_MODELS, *sorted(unused)]
    parts = ", ".join(f"{name} ({count})" for name, count in used.items())
    explain = "python analysis.py --explain QUESTION shows each step"
    return [f"Final: the models' pool with {parts}; {explain}.", *sorted(unused)]


def _calibrations(database: Database, pools: Sequence[PooledForecast]) -> list[str]:
    """Name each calibration in the table, one line each."""
    used = {pool.calibration for pool in pools}
    return [
        f"Calibrated: by calibration {one.id} ({one.method}), fitted on {one.questions} resolved"
        f" {one.record} forecasts."
        for one in database.outcomes.calibrations()
        if one.id in used
    ]


def _wordings(scored: Sequence[Forecast]) -> list[str]:
    apart = [one.wording_deviation for one in scored if one.wording_deviation is not None]
    if not apart:
        return []
    return [
        "Asked in several wordings, one of them for no: standard deviation between them"
        f" {sum(apart) / len(apart):.1f} points on average, up to {max(apart):.1f}."
    ]


def _reasoning(database: Database, run_id: int, scored: Sequence[Forecast]) -> list[str]:
    notes = []
    thinkers = {one.agent for one in database.thoughts.read(run_id)}
    if reasoned := [
        one for one in scored if one.between_deviation is not None and one.agent not in thinkers
    ]:
        within = max(one.within_deviation or 0.0 for one in reasoned)
        between = max(one.between_deviation or 0.0 for one in reasoned)
        cut = sum(one.cut for one in database.forecasts.reasonings(run_id))
        notes.append(
            f"Reasoned first, {max(one.samples for one in reasoned)} times each: standard"
            f" deviation up to {within:.1f} points within one reasoning, up to {between:.1f}"
            f" between them; {cut} reasonings were cut off at the length limit."
        )
    lacking = {one.reasoning_error for one in scored if one.reasoning_error}
    return notes + [f"Scored without all of its reasoning: {reason}" for reason in sorted(lacking)]


def _thoughts(read: Sequence[ThoughtRead], scored: Sequence[Forecast]) -> list[str]:
    """Describe each thinking model: spread, bad ends, answers against numbers."""
    notes = []
    for agent in dict.fromkeys(one.agent for one in read):
        thoughts = [one for one in read if one.agent == agent]
        own = [one for one in scored if one.agent == agent]
        cut = sum(one.cut for one in thoughts)
        notes.append(
            f"{agent} thought first, {max((one.samples for one in own), default=0)} times each:"
            " standard deviation up to"
            f" {max((one.within_deviation or 0 for one in own), default=0):.1f} points after one"
            f" thought, up to {max((one.between_deviation or 0 for one in own), default=0):.1f}"
            f" between them; {cut} of {len(thoughts)} thoughts"
            f" ({100 * cut / len(thoughts):.0f} %) were cut at the limit,"
            f" {sum(one.looped for one in thoughts)} end in a loop and"
            f" {sum(one.empty for one in thoughts)} are empty."
        )
        apart = [
            abs(one.said - one.read)
            for one in thoughts
            if one.said is not None and one.read is not None
        ]
        silent = len(thoughts) - sum(one.said is not None for one in thoughts)
        if apart or silent:
            far = f"{sum(apart) / len(apart):.1f} points on average" if apart else "nothing"
            notes.append(
                f"What {agent} then wrote differs from the mean read there by {far}, at most"
                f" {max(apart, default=0):.1f}; {silent} of {len(thoughts)} answers hold no number."
            )
    return notes
