"""Views, triggers and indices that users have added outlive a change of the tables they read."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest

from database import Database
from tests.storage.test_database import stored_schema
from tests.support.older_schema import older_schema

OLD = 5


@pytest.fixture
def opened(tmp_path, caplog):
    """Open a database of an older schema that has these objects; returns it and the log's lines."""

    def open_with(*statements, version=OLD):
        stored_schema(OLD, tmp_path / "old.db")
        if version > OLD:
            with older_schema(version):
                Database(tmp_path / "old.db").close()
        with contextlib.closing(sqlite3.connect(tmp_path / "old.db")) as sql:
            for statement in statements:
                sql.execute(statement)
            sql.commit()
        database = stack.enter_context(Database(tmp_path / "old.db"))
        lines = [line for line in caplog.messages if "your" in line]
        return database.connection.sql, lines

    with contextlib.ExitStack() as stack:
        yield open_with


def test_views_of_tables_that_change_are_kept(opened):
    mine = "CREATE VIEW mine AS SELECT passage_id, vector FROM embeddings"
    over = 'CREATE VIEW "over \'it" AS SELECT count(*) FROM latest_forecasts JOIN mine'
    vector = "INSERT INTO embeddings SELECT NULL, min(id), 'm', 1, x'0000803F' FROM passages"
    sql, lines = opened(mine, over, vector)
    kept = sql.execute("SELECT sql FROM sqlite_schema WHERE name IN ('mine', 'over ''it')")
    assert [row[0] for row in kept] == [mine, over]
    assert [row[1] for row in sql.execute("SELECT * FROM mine")] == [b"\0\0\x80?"]
    assert lines == []


def test_a_view_of_a_column_that_is_gone_is_named(opened, tmp_path):
    sql, lines = opened("CREATE VIEW mine AS SELECT id FROM embeddings")
    reason = "your view 'mine' cannot be read any more: no such column: id"
    assert lines == [f"{tmp_path / 'old.db'}: {reason}"]
    assert sql.execute("SELECT 1 FROM sqlite_schema WHERE name = 'mine'").fetchone()


def test_triggers_are_kept_unless_their_table_is_gone(opened, tmp_path):
    sql, lines = opened(
        "CREATE TABLE noted (id)",
        "CREATE TRIGGER on_runs AFTER UPDATE ON runs BEGIN INSERT INTO noted VALUES (new.id); END",
        "CREATE TRIGGER on_view INSTEAD OF DELETE ON latest_forecasts BEGIN SELECT 1; END",
        "CREATE VIEW mine AS SELECT id FROM runs",
        "CREATE TRIGGER on_mine INSTEAD OF DELETE ON mine BEGIN SELECT 1; END",
        "CREATE TRIGGER on_table AFTER INSERT ON embeddings BEGIN SELECT 1; END",
    )
    reason = "your trigger 'on_table' was removed: cannot create AFTER trigger on view: embeddings"
    assert lines == [f"{tmp_path / 'old.db'}: {reason}"]
    sql.execute("UPDATE runs SET seed = seed WHERE id = 1")
    assert [row[0] for row in sql.execute("SELECT id FROM noted")] == [1]
    kept = sql.execute("SELECT name FROM sqlite_schema WHERE name IN ('on_view', 'on_mine')")
    assert {row[0] for row in kept} == {"on_view", "on_mine"}


def test_indices_are_kept_unless_their_column_or_table_is_gone(opened, tmp_path):
    kept = [
        "CREATE INDEX seeds ON runs (seed) WHERE seed > 0",
        'CREATE UNIQUE INDEX "my index" ON outside_views (run_id, question_id, kind)',
    ]
    sql, lines = opened(
        *kept,
        "CREATE INDEX by_relatives ON outside_views (relatives)",
        "CREATE INDEX by_length ON applied_calibrations (length(forecasts))",
        "CREATE INDEX by_model ON embeddings (model)",
        version=13,
    )
    stored = sql.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'index'").fetchall()
    assert [text for _, text in stored if text in kept] == kept
    names = {name for name, _ in stored}
    assert {"articles_by_time", "resolutions_by_day"} <= names
    assert not names & {"by_relatives", "by_length", "by_model"}
    reasons = {
        "by_relatives": "no such column: relatives",
        "by_length": "no such column: forecasts",
        "by_model": "views may not be indexed",
    }
    assert lines == [
        f"{tmp_path / 'old.db'}: your index {name!r} was removed: {reason}"
        for name, reason in reasons.items()
    ]
