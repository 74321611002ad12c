"""The database: its migrations, what it refuses to open, and that a result is stored whole or not at all."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from database import Database
from questions.question import Question
from scoring.distribution import Distribution
from scoring.prompts import Passage
from storage import migrations
from storage.errors import DatabaseError
from storage.migrations import APPLICATION_ID, SCHEMA_VERSION
from storage.new_records import EnsembleRecord, ForecastRecord
from storage.records import Article, CalibrationRecord, Resolution
from tests.support.older_schema import older_schema, schema_before
from tests.support.record_database import history, point, recorded_outcomes

QUESTION = Question("Will A happen?", id="a", background="B", extra={"outcome": "1"})


@pytest.fixture
def db(tmp_path):
    with Database(tmp_path / "database.db") as opened:
        yield opened


def start(db: Database) -> int:
    return db.runs.start(settings={"x": 1}, versions={}, seed=1, as_of=None, questions=[QUESTION])


def forecast(mean_at: int = 30, **changes) -> ForecastRecord:
    values = {
        "question_id": "a", "agent": "m", "model": "org/m", "distribution": point(mean_at), "captured_mass": 0.9,
        "residual_mass": 0.01, "prompt": "How probable?", **changes,
    }  # fmt: skip
    return ForecastRecord(**values)


def failed(**changes) -> ForecastRecord:
    return ForecastRecord("a", "m", "org/m", error="the engine returned nan", **changes)


def scalar(db: Database, sql: str):
    return db.connection.query(sql)[0][0]


# --- opening --------------------------------------------------------------------------------------


def test_an_empty_file_is_migrated_to_the_current_schema(tmp_path):
    path = tmp_path / "database.db"
    path.touch()
    with Database(path) as db:
        assert scalar(db, "PRAGMA user_version") == SCHEMA_VERSION
        assert scalar(db, "PRAGMA application_id") == APPLICATION_ID
        assert scalar(db, "PRAGMA journal_mode") == "wal"
        assert scalar(db, "PRAGMA foreign_keys") == 1
        assert scalar(db, "PRAGMA integrity_check") == "ok"
    assert not list(tmp_path.glob("*.bak"))  # there was nothing to lose


def test_opening_again_keeps_everything_and_migrates_nothing(tmp_path):
    path = tmp_path / "database.db"
    with Database(path) as db:
        start(db)
    with Database(path) as db:
        assert len(db.runs.all()) == 1
    assert not list(tmp_path.glob("*.bak"))


def test_an_older_file_is_backed_up_then_migrated_with_its_data(tmp_path, monkeypatch):
    path = tmp_path / "database.db"
    with Database(path) as db:
        run = start(db)
        db.forecasts.save(run, forecast())
    monkeypatch.setattr(
        migrations,
        "MIGRATIONS",
        (*migrations.MIGRATIONS, "ALTER TABLE runs ADD COLUMN note TEXT;\n"),
    )
    monkeypatch.setattr(migrations, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    with Database(path) as db:
        assert scalar(db, "PRAGMA user_version") == SCHEMA_VERSION + 1
        assert db.connection.query("SELECT note FROM runs")[0]["note"] is None
        assert len(db.runs.all()) == 1
        assert len(db.forecasts.of_run(run)) == 1
    with contextlib.closing(
        sqlite3.connect(tmp_path / f"database.db.schema-{SCHEMA_VERSION}.bak")
    ) as backup:
        assert backup.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
        assert backup.execute("SELECT count(*) FROM forecasts").fetchone()[0] == 1
        assert "note" not in [row[1] for row in backup.execute("PRAGMA table_info(runs)")]


def stored_schema(number: int, path: Path) -> None:
    """A database as an earlier schema wrote it, from its dump."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            (Path(__file__).parents[1] / "data" / f"schema_{number}.sql").read_text(
                encoding="utf-8"
            )
        )


def table_columns(path: Path) -> dict[str, set[str]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        names = [
            row[0]
            for row in connection.execute(
                "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')"
            )
        ]
        return {
            name: {row[1] for row in connection.execute(f"PRAGMA table_info({name})")}
            for name in names
        }


def test_a_stored_database_of_schema_1_keeps_every_row(tmp_path):
    path = tmp_path / "old.db"
    stored_schema(1, path)
    with contextlib.closing(sqlite3.connect(path)) as old:
        tables = [
            row[0] for row in old.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
        ]
        before = {name: old.execute(f"SELECT * FROM {name}").fetchall() for name in tables}
    with Database(path) as db:
        assert scalar(db, "PRAGMA user_version") == SCHEMA_VERSION
        assert scalar(db, "PRAGMA integrity_check") == "ok"
        assert db.connection.query("PRAGMA foreign_key_check") == []
        for name, rows in before.items():
            width = len(rows[0]) if rows else 0
            assert [
                tuple(row)[:width] for row in db.connection.query(f"SELECT * FROM {name}")
            ] == rows, name
        assert [row.distribution is None for row in db.forecasts.of_run(1)] == [False, True]
        assert [row["agent"] for row in history(db, "a")] == ["ensemble", "m"]
        assert db.articles.search_words(["ferries"], [1], limit=5)
        start(db)
    with contextlib.closing(sqlite3.connect(tmp_path / "old.db.schema-1.bak")) as backup:
        assert backup.execute("PRAGMA user_version").fetchone()[0] == 1
        assert {
            name: backup.execute(f"SELECT * FROM {name}").fetchall() for name in tables
        } == before


@pytest.mark.parametrize("number", [1, 5])
def test_a_migrated_file_has_the_same_tables_as_a_new_one(tmp_path, number):
    stored_schema(number, tmp_path / "old.db")
    for name in ("old.db", "new.db"):
        Database(tmp_path / name).close()
    assert table_columns(tmp_path / "old.db") == table_columns(tmp_path / "new.db")


def test_without_a_backup_nothing_is_migrated(tmp_path, monkeypatch):
    path = tmp_path / "old.db"
    stored_schema(1, path)
    (tmp_path / "old.db.schema-1.bak").mkdir()  # in the way of the copy
    with pytest.raises(DatabaseError, match="no backup"):
        Database(path)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == 1


def test_a_migration_that_fails_leaves_the_older_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "database.db"
    with Database(path) as db:
        start(db)
    broken = "ALTER TABLE runs ADD COLUMN note TEXT;\nINSERT INTO no_such_table VALUES (1);\n"
    monkeypatch.setattr(migrations, "MIGRATIONS", (*migrations.MIGRATIONS, broken))
    monkeypatch.setattr(migrations, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    with pytest.raises(DatabaseError, match="no_such_table"):
        Database(path)
    monkeypatch.undo()
    with Database(path) as db:
        assert scalar(db, "PRAGMA user_version") == SCHEMA_VERSION
        assert "note" not in [row["name"] for row in db.connection.query("PRAGMA table_info(runs)")]


def test_what_is_no_forecaster_database_is_refused_and_left_alone(tmp_path):
    text = tmp_path / "notes.db"
    text.write_bytes(b"These are my notes.\n" * 100)
    with pytest.raises(DatabaseError, match="not an SQLite database"):
        Database(text)
    assert text.read_bytes() == b"These are my notes.\n" * 100

    other = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE music (title TEXT)")
        connection.commit()
    before = other.read_bytes()
    with pytest.raises(DatabaseError, match="another program"):
        Database(other)
    assert other.read_bytes() == before


def test_a_newer_schema_is_refused(tmp_path):
    path = tmp_path / "database.db"
    with Database(path) as db:
        db.connection.sql.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(DatabaseError, match="written by a newer Forecaster"):
        Database(path)


@pytest.mark.parametrize("name", [":memory:", "file:x.db?mode=memory", "file:x.db"])
def test_every_name_is_that_of_a_file(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with Database(Path(name)):
        pass
    assert (tmp_path / name).stat().st_size > 0
    with Database(Path(name), create=False) as again:
        assert again.runs.all() == []


def test_a_missing_file_or_folder_is_refused(tmp_path):
    with pytest.raises(DatabaseError, match="no such database"):
        Database(tmp_path / "none.db", create=False)
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(DatabaseError, match=r"the folder .* does not exist"):
        Database(tmp_path / "none" / "x.db")


# --- transactions ---------------------------------------------------------------------------------


def test_an_exception_inside_a_transaction_undoes_all_of_it(db):
    with pytest.raises(KeyboardInterrupt), db.connection.atomic() as connection:  # noqa: PT012 - the block is the test
        connection.execute(
            "INSERT INTO runs (started_at, seed, settings, versions) VALUES ('', 1, '{}', '{}')"
        )
        raise KeyboardInterrupt
    assert db.runs.all() == []
    start(db)  # the connection is usable
    assert len(db.runs.all()) == 1


def test_a_forecast_whose_evidence_cannot_be_stored_is_not_stored_either(db):
    run = start(db)
    with pytest.raises(DatabaseError, match="FOREIGN KEY"):
        db.forecasts.save(run, forecast(evidence=(Passage(id=99, text="", rank=1, score=1.0),)))
    assert db.forecasts.of_run(run) == []
    assert scalar(db, "SELECT count(*) FROM prompts") == 0


def test_a_copied_file_holds_what_was_committed(db, tmp_path):
    run = start(db)
    db.forecasts.save(run, forecast())
    for path in tmp_path.glob("database.db*"):  # as after a power cut: nothing was closed
        shutil.copy(path, tmp_path / path.name.replace("database", "copy"))
    with Database(tmp_path / "copy.db", create=False) as copy:
        assert len(copy.forecasts.of_run(run)) == 1


# --- forecasts ------------------------------------------------------------------------------------


def test_all_101_probabilities_come_back_bit_by_bit(db):
    d = Distribution.from_weights(np.random.default_rng(3).random(101) ** 5)
    run = start(db)
    db.forecasts.save(run, forecast(distribution=d))
    (row,) = db.forecasts.of_run(run)
    np.testing.assert_array_equal(
        row.distribution.probabilities, Distribution(d.probabilities).probabilities
    )
    stored = "SELECT value FROM forecasts, json_each(probabilities)"
    np.testing.assert_array_equal([r[0] for r in db.connection.query(stored)], d.probabilities)


def test_a_later_try_replaces_an_error_and_never_a_forecast(db):
    run = start(db)
    db.forecasts.save(run, failed())
    db.forecasts.save(run, failed())
    assert len(db.forecasts.of_run(run)) == 1
    db.forecasts.save(run, forecast(30))
    (row,) = db.forecasts.of_run(run)
    assert (row.error, row.mean) == (None, 30)
    for record in (forecast(60), failed()):
        with pytest.raises(DatabaseError, match="UNIQUE"):
            db.forecasts.save(run, record)
    assert [r.mean for r in db.forecasts.of_run(run)] == [30]


def test_a_forecast_has_either_probabilities_or_an_error(db):
    run = start(db)
    with pytest.raises(DatabaseError, match="CHECK"):
        db.forecasts.save(run, forecast(error="but there is one"))


def test_equal_prompts_are_stored_once_and_evidence_counts_what_was_used(db):
    run = start(db)
    article = Article(
        "wikipedia", "T", "r1", "2026-01-01T00:00:00Z", "https://example.org", "one two"
    )
    db.articles.add(
        article, [Passage(text="one", tokens=1), Passage(text="two", section="S", tokens=1)]
    )
    first, second = (row[0] for row in db.connection.query("SELECT id FROM passages ORDER BY id"))
    links = (
        Passage(id=first, text="", rank=1, score=0.9),
        Passage(id=second, text="", rank=2, score=0.5, used=False),
    )
    db.forecasts.save(run, forecast(evidence=links))
    db.forecasts.save(run, forecast(agent="n"))
    assert scalar(db, "SELECT count(*) FROM prompts") == 1
    used = db.connection.query("SELECT agent, passage FROM evidence_trail WHERE used")
    assert [tuple(row) for row in used] == [("m", "one")]
    assert db.forecasts.articles_used(run) == {"a": 1}
    assert [row.text for row in db.forecasts.prompt_evidence(run, "a")] == ["one"]


def test_the_same_revision_is_stored_once(db):
    article = Article(
        "wikipedia",
        "T",
        "r1",
        "2026-01-01T00:00:00Z",
        "https://example.org",
        "one",
        fetched_at="2026-01-02T00:00:00Z",
    )
    first = db.articles.add(article, [Passage(text="one", tokens=1)])
    assert db.articles.add(article, [Passage(text="one", tokens=1)]) == first
    assert db.articles.count_passages([first]) == 1
    assert db.articles.find("wikipedia", "T", as_of="2025-12-31T00:00:00Z") is None


# --- views ----------------------------------------------------------------------------------------


def ensemble(mean: int) -> EnsembleRecord:
    return EnsembleRecord("a", "mean", point(mean), 1, 1, 1.0, 0.9, 0.01, False)


def test_views_show_the_history_and_the_latest_of_every_agent(db):
    first, second = start(db), start(db)
    db.forecasts.save(first, forecast(30))
    db.forecasts.save(first, forecast(40, agent="gone"))
    db.forecasts.save_ensemble(first, ensemble(35))
    db.forecasts.save(second, forecast(60))
    db.forecasts.save_ensemble(second, ensemble(60))
    db.forecasts.save_ensemble(second, ensemble(61))  # replaced
    shown = [(row["run"], row["agent"], row["mean"]) for row in history(db, "a")]
    assert shown == [
        (1, "ensemble", 35),
        (1, "gone", 40),
        (1, "m", 30),
        (2, "ensemble", 61),
        (2, "m", 60),
    ]
    latest = {
        row["agent"]: row["mean"]
        for row in db.connection.query("SELECT agent, mean FROM latest_forecasts")
    }
    assert latest == {"ensemble": 61, "gone": 40, "m": 60}


def test_a_question_asked_again_keeps_what_each_run_asked(db):
    first = start(db)
    db.forecasts.save(first, forecast(30))
    again = Question(
        "Will A happen, really?", id="a", close_date="2027-01-01", extra={"crowd": "0.5"}
    )
    second = db.runs.start(settings={}, versions={}, seed=1, as_of="2026-01-01", questions=[again])
    db.forecasts.save(second, forecast(40))
    assert [(row["question"], row["record"]) for row in history(db, "a")] == [
        ("Will A happen?", "live"),
        ("Will A happen, really?", "back-dated"),
    ]
    asked = [db.runs.questions(run)[0] for run in (first, second)]
    assert asked[0].question == Question(
        "Will A happen?", id="a", background="B", extra={"outcome": "1"}
    )
    assert asked[1].question == again
    assert [one.as_of for one in asked] == [None, "2026-01-01"]


def test_the_latest_forecasts_are_one_live_and_one_for_each_day_asked_about(db):
    for as_of, mean in (
        (None, 10),
        ("2025-01-06", 20),
        ("2025-01-13", 30),
        ("2025-01-06", 40),
        (None, 50),
    ):
        run = db.runs.start(settings={}, versions={}, seed=1, as_of=as_of, questions=[QUESTION])
        db.forecasts.save(run, forecast(mean))
    latest = db.connection.query("SELECT record, as_of, mean FROM latest_forecasts ORDER BY run")
    assert [tuple(row) for row in latest] == [
        ("back-dated", "2025-01-13", 30),
        ("back-dated", "2025-01-06", 40),
        ("live", None, 50),
    ]


def test_views_show_the_newest_calibration_of_the_same_forecaster_and_record(db):
    run = start(db)
    db.forecasts.save(run, forecast(30))
    db.forecasts.save_ensemble(run, ensemble(35))
    for record, value in (("live", 0.1), ("live", 0.2), ("back-dated", 0.9)):
        fitted = CalibrationRecord(
            "ensemble", "platt", {}, 30, 30, 0.2, 0.1, record, 0.5, 0.4, 0.1, 0.0
        )
        db.outcomes.save_calibration(fitted, [(run, "a", 0.35, value, False)])
    shown = {
        row["agent"]: row["calibrated"]
        for row in db.connection.query("SELECT * FROM latest_forecasts")
    }
    assert shown == {"ensemble": pytest.approx(20), "m": None}
    assert [(row.record, row.raw_log) for row in db.outcomes.calibrations()][-1] == (
        "back-dated",
        0.5,
    )


def test_an_outcome_holds_for_every_question_of_its_subject(db):
    days = [
        Question("Will oil rise?", id=f"oil@{day}", subject="oil", as_of=day)
        for day in ("2025-01-06", "2025-01-13")
    ]
    db.runs.start(settings={}, versions={}, seed=1, as_of=None, questions=[*days, QUESTION])
    assert db.outcomes.add([Resolution("oil", 1, "2025-02-01")]) == 1
    assert {name: row.outcome for name, row in db.outcomes.latest().items()} == {
        "oil@2025-01-06": 1,
        "oil@2025-01-13": 1,
    }
    # Named by one of its ids it is the same outcome, and a later one holds for all.
    assert db.outcomes.add([Resolution("oil@2025-01-13", 1, "2025-02-01")]) == 0
    assert db.outcomes.add([Resolution("oil@2025-01-13", 0, "2025-02-02")]) == 1
    assert {row.outcome for row in db.outcomes.latest().values()} == {0}
    assert [row["outcome"] for row in recorded_outcomes(db, "oil@2025-01-06")] == [1, 0]
    with pytest.raises(DatabaseError, match="FOREIGN KEY"):
        db.outcomes.add([Resolution("gas", 1, "2025-02-01")])


def test_a_pool_keeps_its_weights_and_its_weakest_voice(db):
    run = start(db)
    db.forecasts.save_ensemble(
        run, replace(ensemble(35), weights={"m": 0.75, "n": 0.25}, weakest_captured=0.2)
    )
    assert db.forecasts.ensembles(run)[0].weights == {"m": 0.75, "n": 0.25}
    assert db.connection.query("SELECT weakest_captured FROM ensembles")[0][0] == 0.2
    db.forecasts.save_ensemble(run, ensemble(35))
    assert db.forecasts.ensembles(run)[0].weights is None


def test_what_a_run_of_an_older_schema_asked_is_filled_in(tmp_path):
    stored_schema(1, tmp_path / "old.db")
    with Database(tmp_path / "old.db") as db:
        asked = [row.question for row in db.runs.questions(1)]
        assert asked == [
            Question("Will A happen?", id="a", background="B", extra={"outcome": "1"}),
            Question("Will B happen?", id="b"),
        ]
        assert asked[0].subject == "a"


def test_moments_of_outcomes_become_utc(tmp_path):
    path = tmp_path / "old.db"
    stored = {
        "2026-01-02": "2026-01-02",
        "2026-01-02T03:04:05Z": "2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05.123456+00:00": "2026-01-02T03:04:05Z",
        "2026-01-02T23:00:00-05:00": "2026-01-03T04:00:00Z",
        "2026-01-02 03:04": "2026-01-02T03:04:00Z",
    }
    before = schema_before("UPDATE resolutions SET resolved_at")
    with older_schema(before), Database(path) as db:
        asked = [Question("Will A happen?", id=f"{n}") for n in range(len(stored))]
        db.runs.start(settings={}, versions={}, seed=1, as_of=None, questions=asked)
        db.outcomes.add([Resolution(f"{n}", 1, when) for n, when in enumerate(stored)])
    with Database(path) as db:
        found = {name: row.resolved_at for name, row in db.outcomes.latest().items()}
    assert found == {f"{n}": when for n, when in enumerate(stored.values())}


def test_a_run_that_does_not_exist_is_an_error(db):
    with pytest.raises(DatabaseError, match="no run 7"):
        db.runs.get(7)


def test_text_that_is_no_unicode_is_damage_in_one_line_whatever_it_says(tmp_path):
    path = tmp_path / "damaged.db"
    with Database(path) as db:
        db.runs.start(
            settings={},
            versions={},
            seed=1,
            as_of=None,
            questions=[Question("Will A happen?")],
            owner="x",
        )
    with contextlib.closing(sqlite3.connect(path)) as raw, raw:
        raw.execute(
            "UPDATE questions SET text = CAST(? AS TEXT)", (b"the disk is full\n\x80locked",)
        )
    with Database(path) as db, pytest.raises(DatabaseError) as error:
        db.runs.known_questions()
    assert "\n" not in str(error.value)
    assert "the database is damaged (text that is no Unicode)" in str(error.value)
