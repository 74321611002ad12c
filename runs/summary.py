"""Make the table that closes a run, live and back-dated apart, and its footnotes."""

from __future__ import annotations

import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import config
from terminal.redaction import redact
from terminal.text import visible_line

if TYPE_CHECKING:
    from database import Database


@dataclass(frozen=True)
class Columns:
    """Format the rows of one table.

    ``configured`` is the number of models; ``calibrated`` and ``short`` say whether those columns are there.
    """

    width: int
    configured: int
    calibrated: bool
    short: bool
    articles: Mapping[str, int]

    def head(self) -> str:
        """The names of the columns."""
        calibrated = f"  {'calibrated':>10}" if self.calibrated else ""
        cells = f"{'agree':>5}  {'captured':>8}  {'articles':>8}" + (
            f"  {'models':>7}" if self.short else ""
        )
        return f"  {'chance':>7}{calibrated}  {'80 % range':>10}  {cells}"

    def cells(self, question: str, row: Any) -> str:
        """The numbers of one question; ``row`` is its pool or None."""
        articles = f"{self.articles.get(question, 0):>8}"
        if row is None:
            calibrated = f"  {'':>10}" if self.calibrated else ""
            line = f"  {'none':>7}{calibrated}  {'':>10}  {'':>5}  {'':>8}  {articles}"
        else:
            interval = f"{row.p10:.0f} to {row.p90:.0f} %"
            captured = f"{row.captured_mass:.2f}{'!' if row.low_confidence else ' '}"
            calibrated = f"  {_percent(row.calibrated):>10}" if self.calibrated else ""
            line = f"  {row.mean:>5.1f} %{calibrated}  {interval:>10}  {row.agreement:>5.2f}  {captured:>8}  {articles}"
        if self.short:
            share = f"{0 if row is None else row.agents} of {self.configured}"
            line += f"  {share:>7}"
        return line


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f} %"


def _models_configured(settings: Mapping[str, Any]) -> int:
    """Count the models in a run's stored settings; 0 where another program has written them."""
    models = settings.get("model_order")
    return len(models) if isinstance(models, list) else 0


def summary(database: Database, run_id: int) -> str:
    """The closing table of a run: one block a question, then what failed and why."""
    ensembles = {row.question_id: row for row in database.ensembles(run_id)}
    asked = database.run_questions(run_id)
    configured = max(
        (row.agents_configured for row in ensembles.values()),
        default=_models_configured(database.run(run_id).settings),
    )
    columns = Columns(
        0,
        configured,
        any(row.calibrated is not None for row in ensembles.values()),
        any(q.id not in ensembles or ensembles[q.id].agents < configured for q in asked),
        database.articles_used(run_id),
    )
    terminal = shutil.get_terminal_size().columns
    columns = replace(columns, width=max(23, min(60, terminal - len(columns.head()))))
    live = [q for q in asked if q.as_of is None]
    dated = [q for q in asked if q.as_of is not None]
    lines = (
        []
        if dated and not live
        else _table("Live forecasts" if dated else "", live, ensembles, columns)
    )
    lines += _table(_back_dated(dated), dated, ensembles, columns) if dated else []
    notes = [
        wrapped(visible_line(redact(note)))
        for note in _footnotes(database, run_id, list(ensembles.values()))
    ]
    return "\n".join(lines + (["", *notes] if notes else []))


def _back_dated(questions: Sequence[Any]) -> str:
    days = sorted({question.as_of[:10] for question in questions})
    span = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    return f"Back-dated forecasts, as of {span}"


def _table(
    title: str, questions: Sequence[Any], ensembles: Mapping[str, Any], columns: Columns
) -> list[str]:
    head = f"{'question':<{columns.width}}{columns.head()}"
    lines = ["", *([title] if title else []), head, "-" * len(head)]
    days = {question.as_of for question in questions}
    for question in questions:
        # Forecasts of one question from several days are told apart by the day.
        day = f" (as of {question.as_of[:10]})" if len(days) > 1 else ""
        text = _broken(visible_line(question.text) + day, columns.width)
        cells = columns.cells(question.id, ensembles.get(question.id))
        lines.append(f"{text[0]}{' ' * (columns.width - _width(text[0]))}{cells}")
        lines += text[1:]
    return lines


def _broken(text: str, width: int) -> list[str]:
    """Break a text into lines of at most ``width`` columns of a terminal."""
    # A second character stands for the second column; it may part from the first, so a column is kept for it.
    doubled = "".join(c + "\0" if _width(c) == 2 else c for c in text)
    lines = textwrap.wrap(doubled, width - ("\0" in doubled)) or [""]
    return [line.replace("\0", "") for line in lines]


def _width(text: str) -> int:
    """Columns of a terminal that a text takes: Chinese characters and emoji take two (UAX 11), marks none."""
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


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
    from database import INCOMPLETE

    if context_error.startswith(INCOMPLETE):
        return context_error[0].upper() + context_error[1:]
    return f"No evidence: {context_error}"


def _footnotes(database: Database, run_id: int, ensembles: Sequence[Any]) -> list[str]:
    """List certificate, low confidence, missing agents and evidence, and errors."""
    notes = []
    rows = database.forecasts(run_id)
    scored = [row for row in rows if row.error is None]
    if scored:
        worst = max(row.voice.residual for row in scored)
        notes.append(
            f"Every distribution is within {worst:.4f} (total variation) of the exact one."
        )
    masses = [row.voice.captured for row in scored]
    if any(row.low_confidence for row in ensembles):
        notes.append(
            "! A model's answer was an integer with a probability under"
            f" {config.MIN_CAPTURED_MASS} (the lowest: {min(masses):.2g}): low confidence, and its"
            " voice weighs that much less in the pool."
        )
    short = [row for row in ensembles if row.agents < row.agents_configured]
    if short:
        notes.append(
            f"{len(short)} of {len(ensembles)} pools lack a model (the last column says how many took part)."
        )
    notes += _calibrations(database, ensembles)
    missing = {row.context_error for row in database.run_questions(run_id) if row.context_error}
    notes += [evidence_note(reason) for reason in sorted(missing)]
    reasoned = [row for row in scored if row.between_deviation is not None]
    if reasoned:
        within, between = (
            max(values)
            for values in (
                [row.within_deviation or 0.0 for row in reasoned],
                [row.between_deviation or 0.0 for row in reasoned],
            )
        )
        cut = sum(row.cut for row in database.reasonings(run_id))
        notes.append(
            f"Reasoned first, {max(row.samples for row in reasoned)} times each: standard deviation up to {within:.1f} points"
            f" within one reasoning, up to {between:.1f} between them; {cut} reasonings were cut off at the length limit."
        )
    without = {row.reasoning_error for row in scored if row.reasoning_error}
    notes += [f"Scored without all of its reasoning: {reason}" for reason in sorted(without)]
    failures: dict[tuple[str, str], int] = {}
    for row in rows:
        if row.error is not None:
            failures[row.agent, row.error] = failures.get((row.agent, row.error), 0) + 1
    notes += [
        f"Failed: {agent}, {count} forecasts: {error}" for (agent, error), count in failures.items()
    ]
    return notes


def _calibrations(database: Database, ensembles: Sequence[Any]) -> list[str]:
    """One line for each calibration in the table."""
    used = {row.calibration for row in ensembles} - {None}
    return [
        f"Calibrated: by calibration {row.id} ({row.method}), fitted on {row.questions} resolved"
        f" {row.record} forecasts."
        for row in database.calibrations()
        if row.id in used
    ]
