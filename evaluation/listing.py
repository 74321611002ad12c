"""Print what a database holds: questions, runs, models, and what is due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from database import Database
from evaluation.outcomes import outcome_word
from evaluation.score_tables import fitted_table
from questions.checks import parent_id
from storage.records import Resolution
from terminal.text import visible_line

Row = Mapping[str, Any]


def listed(database: Database, what: str, today: str = "") -> list[Row]:
    """Return rows by column; a forecast is a probability, 0-1.

    Args:
        database: the record.
        what: "questions", "due" (open, and past their close date), "runs" or "models".
        today: the ISO day on which a question is due (default: the clock's).
    """
    if what in ("runs", "models"):
        found = database.listings.runs() if what == "runs" else database.listings.models()
        return [{name.replace("_", " "): cell for name, cell in vars(row).items()} for row in found]
    day = today or datetime.now(UTC).date().isoformat()
    rows = _questions(database)
    if what == "due":
        rows = [row for row in rows if row["outcome"] is None and (row["closes"] or day) < day]
        rows.sort(key=lambda row: str(row["closes"]))
    return rows


def _questions(database: Database) -> list[Row]:
    outcomes: Mapping[str, Resolution] = database.outcomes.latest()
    return [
        {
            "question": row.text,
            "id": row.id,
            "forecast": None if row.forecast is None else row.forecast / 100,
            "as of": row.as_of,
            "closes": row.close_date,
            "outcome": outcome_word(outcomes[row.id].outcome) if row.id in outcomes else None,
            "runs": row.runs,
            "last run": row.last_run,
        }
        for row in database.listings.questions()
        if parent_id(row.extra) is None
    ]


def listing_lines(rows: Sequence[Row]) -> list[str]:
    """Lay out rows, one line each, in the width of the terminal.

    The column of as-of days is there where any row has one.
    """
    if not rows:
        return ["none"]
    headers = [name for name in rows[0] if name != "as of" or any(row[name] for row in rows)]
    cells = [[_cell(row[name], name) for name in headers] for row in rows]
    return fitted_table(headers, cells)


def _cell(value: Any, name: str) -> str:
    if value is None:
        return "–"
    if name == "forecast":
        return f"{100 * value:.1f} %"
    if name == "started":
        return str(value)[:16].replace("T", " ")
    return visible_line(str(value))
