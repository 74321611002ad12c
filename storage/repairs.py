"""Repair what an older Forecaster stored, once, when its database is opened.

Addresses of a wiki were stored with the user and password in them; both are taken out.

Before schema 6 a question file with row numbers as ids could rename last week's question. The
newest wording keeps the id; each older one becomes a question of its own, and what its runs found
moves to it. Ids are brought into composed form (NFC).
"""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
from dataclasses import dataclass

from questions.characters import nfc
from questions.question import folded

# What a run stores of one question, by run and question.
_TABLES = (
    "run_questions", "retrievals", "forecasts", "ensembles", "calibrated_forecasts", "coherence",
    "reasonings",
)  # fmt: skip

# Columns that may quote an address, by table.
_ADDRESSES = {
    "articles": ("url",),
    "run_questions": ("context_error",),
    "forecasts": ("context_error", "error", "reasoning_error"),
    "ablations": ("error",),
    "runs": ("settings",),
}
_CREDENTIALS = re.compile(r"(?<=://)[^/?#\s\"'<>]*@")


@dataclass(frozen=True)
class Asked:
    """A question as one run asked it; a replay repeats another run's."""

    run_id: int
    started_at: str
    text: str
    replay: bool


def forget_credentials(connection: sqlite3.Connection) -> None:
    """Take user and password out of every stored address, inside a transaction."""
    connection.create_function(
        "without_credentials", 1, lambda text: _CREDENTIALS.sub("", text), deterministic=True
    )
    for table, columns in _ADDRESSES.items():
        for column in columns:
            # Names of this module.
            connection.execute(
                f"UPDATE {table} SET {column} = without_credentials({column})"
                f" WHERE {column} LIKE '%://%@%'"
            )


def split_unrelated(connection: sqlite3.Connection, name: str) -> list[str]:
    """Give each older wording of an id a question of its own; returns a line for each.

    Two wordings are one question when they are the same but for case, white space and final
    punctuation. Must run inside a transaction. ``name`` is the database's, for the lines.
    """
    connection.execute("PRAGMA defer_foreign_keys = ON")
    lines = []
    for question_id, asked in _asked(connection).items():
        newest = folded(
            max((a for a in asked if not a.replay), key=lambda a: a.run_id, default=asked[-1]).text
        )
        older: dict[str, list[Asked]] = {}
        for one in asked:
            if folded(one.text) != newest:
                older.setdefault(folded(one.text), []).append(one)
        names = {newest: question_id}
        for wording, group in older.items():
            names[wording] = _new_id(connection, question_id, group[0])
            _move(connection, question_id, names[wording], [a.run_id for a in group])
            lines.append(
                f"{name}: id {question_id!r} was asked as two questions;"
                f" {group[0].text[:80]!r} (run {group[0].run_id}) is now {names[wording]!r};"
                " if they are the same, join them:"
                f" python analysis.py --database {shlex.quote(name)} --same-question"
                f" {shlex.quote(question_id)} {shlex.quote(names[wording])}"
            )
        if older:
            _refresh(connection, question_id)
            _share_outcomes(connection, question_id, asked, names)
    return lines


def compose_ids(connection: sqlite3.Connection) -> None:
    """Bring ids into Unicode's composed form (NFC), that of today's questions.

    An id whose composed form is taken stays. Must run inside a transaction.
    """
    connection.execute("PRAGMA defer_foreign_keys = ON")
    for old, asked in _asked(connection).items():
        new = nfc(old)
        if (
            new == old
            or connection.execute("SELECT 1 FROM questions WHERE id = ?", (new,)).fetchone()
        ):
            continue
        for before, after in _move(connection, old, new, [a.run_id for a in asked]).items():
            connection.execute(
                "UPDATE resolutions SET question_id = ? WHERE question_id = ?", (after, before)
            )
            connection.execute("DELETE FROM questions WHERE id = ?", (before,))


def _asked(connection: sqlite3.Connection) -> dict[str, list[Asked]]:
    """Read every question's wordings by run, without those of coherence checks."""
    rows = connection.execute(
        "SELECT rq.question_id, rq.run_id, r.started_at, json_extract(rq.asked, '$.text'),"
        " r.origin_run IS NOT NULL FROM run_questions rq JOIN runs r ON r.id = rq.run_id"
        " WHERE json_extract(rq.asked, '$.extra.coherence_of') IS NULL ORDER BY rq.run_id"
    ).fetchall()
    asked: dict[str, list[Asked]] = {}
    for question_id, run_id, started_at, text, replay in rows:
        if isinstance(text, str):
            asked.setdefault(question_id, []).append(Asked(run_id, started_at, text, bool(replay)))
    return asked


def _new_id(connection: sqlite3.Connection, question_id: str, first: Asked) -> str:
    wanted = new = f"{question_id} (run {first.run_id})"
    number = 1
    while connection.execute("SELECT 1 FROM questions WHERE id = ?", (new,)).fetchone():
        number += 1
        new = f"{wanted} {number}"
    return new


def _move(connection: sqlite3.Connection, old: str, new: str, runs: list[int]) -> dict[str, str]:
    """Move a question of these runs and its checks to a new id; returns all new ids."""
    among = json.dumps(runs)
    checks = connection.execute(
        "SELECT DISTINCT question_id FROM run_questions"
        " WHERE json_extract(asked, '$.extra.coherence_of') = ?"
        " AND run_id IN (SELECT value FROM json_each(?))",
        (old, among),
    ).fetchall()
    names = {old: new} | {check: new + check.removeprefix(old) for (check,) in map(tuple, checks)}
    for before, after in names.items():
        connection.execute(
            "INSERT OR IGNORE INTO questions (id, text, background, resolution_criteria,"
            " close_date, extra, created_at, subject)"
            " SELECT ?, text, background, resolution_criteria, close_date, extra,"
            "  (SELECT started_at FROM runs WHERE id = ?), ? FROM questions WHERE id = ?",
            (after, runs[0], after, before),
        )
        for table in _TABLES:
            connection.execute(
                f"UPDATE {table} SET question_id = ? WHERE question_id = ?"
                " AND run_id IN (SELECT value FROM json_each(?))",
                (after, before, among),
            )
        connection.execute(
            "UPDATE run_questions SET asked ="
            " json_set(asked, '$.id', question_id, '$.subject', question_id) WHERE question_id = ?",
            (after,),
        )
    for before, after in names.items():
        if before != old:
            connection.execute(
                "UPDATE run_questions SET asked = json_set(asked, '$.extra.coherence_of', ?)"
                " WHERE question_id = ?",
                (new, after),
            )
        _refresh(connection, after)
    _rename_compared(connection, new, names)
    return names


def _rename_compared(
    connection: sqlite3.Connection, question_id: str, names: dict[str, str]
) -> None:
    """Let the coherence checks of a moved question name the others by their new ids."""
    rows = connection.execute(
        "SELECT run_id, forecaster, kind, others FROM coherence WHERE question_id = ?",
        (question_id,),
    ).fetchall()
    for run_id, forecaster, kind, others in map(tuple, rows):
        renamed = {names.get(key, key): value for key, value in json.loads(others).items()}
        connection.execute(
            "UPDATE coherence SET others = ? WHERE run_id = ? AND question_id = ?"
            " AND forecaster = ? AND kind = ?",
            (json.dumps(renamed, sort_keys=True), run_id, question_id, forecaster, kind),
        )


def _refresh(connection: sqlite3.Connection, question_id: str) -> None:
    """Write into the question's row what its newest run (a replay counts last) asked."""
    newest = connection.execute(
        "SELECT rq.asked FROM run_questions rq JOIN runs r ON r.id = rq.run_id"
        " WHERE rq.question_id = ? ORDER BY r.origin_run IS NOT NULL, rq.run_id DESC LIMIT 1",
        (question_id,),
    ).fetchone()
    if newest is not None:
        connection.execute(
            "UPDATE questions SET text = json_extract(:asked, '$.text'),"
            " background = json_extract(:asked, '$.background'),"
            " resolution_criteria = json_extract(:asked, '$.resolution_criteria'),"
            " close_date = json_extract(:asked, '$.close_date'),"
            " extra = json_extract(:asked, '$.extra') WHERE id = :id",
            {"asked": newest[0], "id": question_id},
        )


def _share_outcomes(
    connection: sqlite3.Connection, question_id: str, asked: list[Asked], names: dict[str, str]
) -> None:
    """Give each outcome to the wording that was the newest when it was recorded."""
    real = [a for a in asked if not a.replay] or asked
    rows = connection.execute(
        "SELECT id, recorded_at FROM resolutions WHERE question_id = ?", (question_id,)
    ).fetchall()
    for number, recorded_at in map(tuple, rows):
        before = [a for a in real if a.started_at <= recorded_at]
        owner = before[-1] if before else real[0]
        connection.execute(
            "UPDATE resolutions SET question_id = ? WHERE id = ?",
            (names[folded(owner.text)], number),
        )
