"""What the database gives back: which rows, in which order, and of several the newest."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from dataclasses import replace

import numpy as np
import pytest

from database import Database
from questions.question import Question
from scoring.prompts import Passage
from storage import connection
from storage.errors import DatabaseError
from storage.new_records import (
    AblationRecord,
    EnsembleRecord,
    ForecastRecord,
)
from storage.records import (
    Article,
    AskedColumns,
    CalibrationRecord,
    CoherenceRecord,
    EarlierQuestion,
    Evidence,
    FirstForecast,
    ReasoningRecord,
    Resolution,
    Rewording,
)
from storage.rows import ForeignValueError, read
from storage.thoughts import ThoughtRecord
from tests.support.record_database import calibrated_values, history, point

QUESTIONS = [Question("Will Z happen?", id="z"), Question("Will A happen?", id="a")]
THOUGHT = ThoughtRecord(
    question_id="a", chunk=0, agent="m", sample=0, model="org/m", text="Hm.", rest=".",
    token_ids=(0, 151_668, 2**32 - 1), tokens=4, finish_reason="stop", ended=True, cut=False,
    looped=False, empty=False, seed=7, answer="40 %", said=40.0,
)  # fmt: skip


@pytest.fixture
def db(tmp_path):
    with Database(tmp_path / "database.db") as opened:
        yield opened


def start(db, **options):
    common = {"settings": {}, "versions": {}, "seed": 1, "as_of": None, "questions": QUESTIONS}
    return db.runs.start(**{**common, **options})


def forecast(question="a", agent="m", **changes):
    values = {
        "distribution": point(30), "captured_mass": 0.9, "residual_mass": 0.01, "prompt": "How probable?",
    }  # fmt: skip
    return ForecastRecord(question, agent, f"org/{agent}", **{**values, **changes})


def pooled(question, mean=30):
    return EnsembleRecord(
        question,
        "mean",
        point(mean),
        1,
        1,
        1.0,
        0.9,
        0.0,
        False,
    )


def article(title, revision, timestamp, **more):
    return Article("wikipedia", title, revision, timestamp, "https://example.org", "text", **more)


def passages(db, *days, title="T"):
    """One article a day with one passage; the ids of the passages."""
    found = []
    for day in days:
        row = db.articles.add(
            article(f"{title} {day}", "r", f"{day}T00:00:00Z"),
            [Passage(text="some words", tokens=2)],
        )
        found.append(
            db.connection.query("SELECT id FROM passages WHERE article_id = ?", (row,))[0]["id"]
        )
    return found


def test_a_file_that_may_not_be_written_is_refused_before_anything_is_tried(tmp_path, monkeypatch):
    path = tmp_path / "database.db"
    Database(path).close()
    before = path.read_bytes()
    monkeypatch.setattr(connection.os, "access", lambda place, mode: False)
    with pytest.raises(DatabaseError, match="not writable; change its permissions"):
        Database(path)
    assert path.read_bytes() == before
    with Database(path, reading=True) as reading:
        assert reading.runs.all() == []


class Refusing(sqlite3.Connection):
    """A connection to a file with a write-ahead log in a folder where SQLite can add nothing."""

    def execute(self, *_):
        raise sqlite3.OperationalError("unable to open database file")


@pytest.fixture
def frozen(tmp_path, monkeypatch):
    """A database with a run that is in the write-ahead log only, where nothing may be written."""
    folder = tmp_path / "frozen"
    folder.mkdir()
    with Database(tmp_path / "database.db") as opened:
        start(opened)
        for path in tmp_path.glob("database.db*"):
            if not path.name.endswith("-shm"):
                shutil.copy(path, folder / path.name)
    assert (folder / "database.db-wal").stat().st_size
    monkeypatch.setattr(connection.os, "access", lambda place, mode: False)
    return folder / "database.db"


def refuse_reading_in_place(monkeypatch):
    connect = sqlite3.connect

    def refusing(address, **options):
        mode = str(address).partition("?")[2]
        return connect(address, **options, **({"factory": Refusing} if mode == "mode=ro" else {}))

    monkeypatch.setattr(connection.sqlite3, "connect", refusing)


def test_a_log_that_sqlite_can_read_in_place_is_not_copied(frozen, monkeypatch):
    monkeypatch.setattr(connection.shutil, "copyfile", lambda *_: pytest.fail("copied"))
    with Database(frozen, reading=True) as reading:
        assert len(reading.runs.all()) == 1


def test_a_log_that_cannot_be_read_in_place_is_read_in_a_copy(frozen, monkeypatch):
    refuse_reading_in_place(monkeypatch)
    before = frozen.read_bytes()
    with Database(frozen, reading=True) as reading:
        assert len(reading.runs.all()) == 1
    assert frozen.read_bytes() == before


def test_a_copy_without_room_is_one_line_and_leaves_nothing(frozen, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    refuse_reading_in_place(monkeypatch)
    monkeypatch.setattr(connection.shutil, "copyfile", full)
    monkeypatch.setattr(connection.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(
        DatabaseError, match=r"cannot be copied to .* \(No space left on device\); make room"
    ):
        Database(frozen, reading=True)
    assert not list(tmp_path.glob("forecaster-database-*"))


def test_without_a_log_a_file_is_read_in_place(tmp_path, monkeypatch):
    path = tmp_path / "database.db"
    with Database(path) as opened:
        start(opened)
    refuse_reading_in_place(monkeypatch)
    monkeypatch.setattr(connection.os, "access", lambda place, mode: False)
    monkeypatch.setattr(connection.shutil, "copyfile", lambda *_: pytest.fail("copied"))
    with Database(path, reading=True) as reading:
        assert len(reading.runs.all()) == 1


# --- runs -----------------------------------------------------------------------------------------


def test_the_latest_run_that_is_not_finished_is_found(db):
    assert db.runs.unfinished() is None
    first, second, third = start(db), start(db), start(db)
    assert db.runs.unfinished().id == third
    db.runs.finish(third, "finished")
    db.runs.finish(second, "partial")
    assert db.runs.unfinished().id == second
    db.runs.finish(second, "finished")
    assert db.runs.unfinished().id == first
    assert [row.id for row in db.runs.all()] == [first, second, third]
    ended = db.connection.query("SELECT finished_at IS NOT NULL FROM runs ORDER BY id")
    assert [row[0] for row in ended] == [0, 1, 1]


def test_a_run_is_taken_over_from_a_process_that_has_ended_only(db):
    run = start(db, owner="first")
    asked = []

    def alive(owner):
        asked.append(owner)
        return "process 1"

    assert db.runs.claim(run, "second", alive) == "process 1"
    assert db.runs.get(run).owner == "first"
    assert db.runs.claim(run, "second", lambda owner: None) is None
    assert (db.runs.get(run).owner, db.runs.get(run).status) == ("second", "running")
    db.runs.finish(run, "partial")
    assert db.runs.claim(run, "third", alive) is None  # nobody works on a run that has ended
    assert asked == ["first"]
    taken = db.connection.query("SELECT owner, status, finished_at FROM runs")
    assert tuple(taken[0]) == ("third", "running", None)


def test_a_run_keeps_what_it_was_started_with(db):
    accepted = [Rewording("a", "Will A come?", "Will A happen?")]
    first = start(db, settings={"b": 1, "a": "é"}, seed=5, owner="me", rewordings=accepted)
    row = db.runs.get(first)
    assert (row.settings, row.seed, row.owner, row.status) == (
        {"a": "é", "b": 1},
        5,
        "me",
        "running",
    )
    stored = db.connection.query(
        "SELECT question_id, run_id, old_text, new_text, accepted_at FROM rewordings"
    )
    assert [tuple(r) for r in stored] == [
        ("a", first, "Will A come?", "Will A happen?", row.started_at)
    ]


def test_questions_come_oldest_first(db):
    start(db)
    assert [row.id for row in db.runs.known_questions()] == ["z", "a"]
    with db.connection.atomic() as connection:
        connection.execute(
            "UPDATE questions SET created_at = '2020-01-01T00:00:00Z' WHERE id = 'a'"
        )
    assert [row.id for row in db.runs.known_questions()] == ["a", "z"]


def test_a_stored_forecast_is_known_by_its_number(db):
    run = start(db)
    numbers = [db.forecasts.save(run, forecast(question)) for question in ("a", "z")]
    assert numbers == [
        row["id"] for row in db.connection.query("SELECT id FROM forecasts ORDER BY id")
    ]


def test_the_first_weights_of_a_model_stand(db):
    first, second = start(db), start(db)
    db.runs.save_weights(first, "m", "one")
    db.runs.save_weights(first, "m", "two")
    db.runs.save_weights(first, "n", "three")
    db.runs.save_weights(second, "m", "four")
    assert db.runs.weights(first) == {"m": "one", "n": "three"}
    assert db.runs.weights(second) == {"m": "four"}


def test_questions_of_a_run_keep_their_order_and_their_days(db):
    dated = Question("Will D happen?", id="d", as_of="2025-03-01")
    run = start(db, as_of="2025-02-01", questions=[*QUESTIONS, dated])
    assert [(row.id, row.as_of) for row in db.runs.questions(run)] == [
        ("z", "2025-02-01"),
        ("a", "2025-02-01"),
        ("d", "2025-03-01"),
    ]


def test_a_replay_is_kept_apart(db):
    start(db)
    start(db, origin_run=1, questions=[Question("Another wording", id="a")])
    assert [(row.run_id, row.id) for row in db.runs.asked_before()] == [(1, "z"), (1, "a")]
    assert [row.text for row in db.runs.latest_questions("live")] == [
        "Will Z happen?",
        "Will A happen?",
    ]
    assert {row.id: row.text for row in db.runs.known_questions()} == {
        "z": "Will Z happen?",
        "a": "Will A happen?",
    }


def test_each_record_has_its_newest_questions_the_last_asked_at_the_end(db):
    start(db)
    start(db, questions=[Question("Will Z happen, then?", id="z", extra={"n": 1})])
    start(db, as_of="2025-01-01", questions=[QUESTIONS[1]])
    found = [(row.subject, row.text, row.extra) for row in db.runs.latest_questions("live")]
    assert found == [("a", "Will A happen?", {}), ("z", "Will Z happen, then?", {"n": 1})]
    assert [row.subject for row in db.runs.latest_questions("back-dated")] == ["a"]


def test_joined_subjects_share_their_history(db):
    run = start(db)
    db.forecasts.save(run, forecast("z"))
    db.forecasts.save(run, forecast("a"))
    db.runs.join_subjects("a", "z")
    assert [row["question_id"] for row in history(db, "z")] == ["a", "z"]
    assert {row.subject for row in db.runs.known_questions()} == {"a"}


# --- forecasts ------------------------------------------------------------------------------------


def test_forecasts_come_by_question_agent_and_chunk(db):
    run = start(db)
    for question, agent, chunk in (
        ("a", "n", 0),
        ("z", "n", 0),
        ("a", "m", 1),
        ("a", "m", 0),
        ("z", "m", 0),
    ):
        db.forecasts.save(run, forecast(question, agent, chunk=chunk))
        db.forecasts.save_ensemble(run, pooled(question))
    expected = [("z", "m", 0), ("z", "n", 0), ("a", "m", 0), ("a", "m", 1), ("a", "n", 0)]
    rows = db.forecasts.of_run(run)
    assert [(row.question_id, row.agent, row.chunk) for row in rows] == expected
    assert [row.question_id for row in db.forecasts.ensembles(run)] == ["z", "a"]
    pools = [("z", "ensemble", 0), ("a", "ensemble", 0)]
    points = [(row.question_id, row.forecaster, row.chunk) for row in db.points.read()]
    assert points == expected + pools
    parts = db.points.parts([(run, "a"), (run, "z")])
    assert [(row.question_id, row.agent) for row in parts] == [one[:2] for one in expected]


def test_what_a_forecast_does_not_say_is_nothing(db):
    run = start(db)
    db.forecasts.save(run, ForecastRecord("a", "m", "org/m", error="nan"))
    (row,) = db.forecasts.of_run(run)
    assert (row.chunk, row.samples, row.low_confidence, row.distribution) == (0, 0, False, None)
    counts = db.connection.query(
        "SELECT prompt_tokens, forward_tokens, requests, seconds FROM forecasts"
    )
    assert tuple(counts[0]) == (0, 0, 0, 0)


def test_the_record_leaves_out_errors_and_replays_and_names_days(db):
    first = start(db, as_of="2025-01-01")
    replay = start(db, origin_run=first)
    db.forecasts.save(first, forecast("a"))
    db.forecasts.save(first, ForecastRecord("z", "m", "org/m", error="nan"))
    db.forecasts.save(replay, forecast("a"))
    db.forecasts.save_ensemble(first, pooled("a"))
    db.forecasts.save_ensemble(replay, pooled("a"))
    rows = db.points.read()
    assert [(row.run_id, row.question_id, row.forecaster, row.as_of) for row in rows] == [
        (first, "a", "m", "2025-01-01"),
        (first, "a", "ensemble", "2025-01-01"),
    ]
    assert {row.started_at for row in rows} == {db.runs.get(first).started_at}
    assert len(db.forecasts.of_run(first)) == 2


def test_the_newest_evidence_of_a_forecast_is_the_newest_that_stood_in_a_prompt(db):
    run = start(db, as_of="2025-06-01")
    old, new, dropped, other = passages(db, "2025-01-01", "2025-03-01", "2025-05-01", "2025-04-01")
    links = (
        Passage(id=new, text="", rank=1, score=0.9),
        Passage(id=old, text="", rank=2, score=0.8),
        Passage(id=dropped, text="", rank=3, score=0.7, used=False),
    )
    db.forecasts.save(run, forecast("a", "m", evidence=links))
    db.forecasts.save(
        run,
        forecast(
            "a",
            "n",
            evidence=(
                Passage(id=other, text="", rank=4, score=0.5),
                Passage(id=new, text="", rank=1, score=0.9),
            ),
        ),
    )
    db.forecasts.save(run, forecast("z"))
    db.forecasts.save_ensemble(run, pooled("a"))
    db.forecasts.save_ensemble(run, pooled("z"))
    days = {(row.question_id, row.forecaster): row.latest_evidence for row in db.points.read()}
    assert days == {
        ("a", "m"): "2025-03-01T00:00:00Z",
        ("a", "n"): "2025-04-01T00:00:00Z",
        ("a", "ensemble"): "2025-04-01T00:00:00Z",
        ("z", "m"): None,
        ("z", "ensemble"): None,
    }
    assert db.forecasts.articles_used(run) == {"a": 3}
    assert [passage.id for passage in db.forecasts.prompt_evidence(run, "a")] == [new, old, other]


def test_a_passage_in_two_prompts_has_its_best_rank(db):
    run = start(db)
    one, two = passages(db, "2025-01-01", "2025-01-02")
    links = {"m": ((two, 2), (one, 5)), "n": ((two, 4), (one, 1))}
    for agent, ranks in links.items():
        evidence = tuple(
            Passage(id=passage, text="", rank=rank, score=0.5) for passage, rank in ranks
        )
        db.forecasts.save(run, forecast("a", agent, evidence=evidence))
    assert [passage.id for passage in db.forecasts.prompt_evidence(run, "a")] == [one, two]


def test_the_newest_runs_of_a_question_are_those_that_pooled_it(db):
    first, second = start(db), start(db)
    db.forecasts.save_ensemble(first, pooled("a"))
    db.forecasts.save_ensemble(second, pooled("z"))
    assert db.runs.asked_in(["a"], "live", newest=1) == [(first, "a")]
    assert db.runs.asked_in(["a"], "live") == [(second, "a"), (first, "a")]


def test_what_was_asked_has_its_columns_and_the_moment_of_its_first_forecast(db):
    dated = Question("Will A happen?", id="a@d", subject="a", as_of="2025-03-01", extra={"n": 1})
    run = start(db, questions=[*QUESTIONS, dated])
    for question, agent, day in (("a", "m", "03"), ("a", "n", "02"), ("a@d", "m", "05")):
        db.forecasts.save(run, forecast(question, agent))
        with db.connection.atomic() as connection:
            connection.execute(
                "UPDATE forecasts SET created_at = ? WHERE question_id = ? AND agent = ?",
                (f"2026-01-{day}T00:00:00Z", question, agent),
            )
    db.forecasts.save(run, ForecastRecord("z", "m", "org/m", error="nan"))
    assert db.runs.asked_columns() == []  # nothing is resolved
    db.outcomes.add([Resolution("a", 1, "2026-02-01")])
    assert sorted(
        db.runs.asked_columns([(run, "a"), (run, "a@d")]), key=lambda row: row.question_id
    ) == [
        AskedColumns(run, "a", "a", {}),
        AskedColumns(run, "a@d", "a", {"n": 1}),
    ]
    assert len(db.runs.asked_columns()) == 2
    assert db.points.read(resolved=True) == db.points.read([(run, "a"), (run, "a@d")])
    assert db.forecasts.first([(run, name) for name in ("a", "a@d", "z")]) == [
        FirstForecast("a", None, "2026-01-02T00:00:00Z"),
        FirstForecast("a", "2025-03-01", "2026-01-05T00:00:00Z"),
    ]
    assert [row.created_at for row in db.forecasts.first([(run, "a@d")])] == [
        "2026-01-05T00:00:00Z"
    ]


def test_articles_count_once_and_passages_each(db):
    run = start(db)
    db.articles.add(
        article("T", "r", "2025-01-01T00:00:00Z"),
        [Passage(text="one", tokens=1), Passage(text="two", tokens=1)],
    )
    first, second = (
        row["id"] for row in db.connection.query("SELECT id FROM passages ORDER BY id")
    )
    links = (
        Passage(id=second, text="", rank=1, score=0.9),
        Passage(id=first, text="", rank=2, score=0.8),
    )
    db.forecasts.save(run, forecast(evidence=links))
    assert db.forecasts.articles_used(run) == {"a": 1}


def test_reasonings_samples_and_ablations_come_back_in_order(db):
    run, replay = start(db), start(db, origin_run=1)
    for question, chunk, sample in (
        ("z", 0, 1),
        ("a", 1, 0),
        ("a", 0, 1),
        ("a", 0, 0),
        ("z", 0, 0),
    ):
        text = f"{question}{chunk}{sample}"
        db.forecasts.save_reasoning(
            run, ReasoningRecord(question, chunk, sample, "org/m", text, 5, "stop", False, 7)
        )
    again = ReasoningRecord("a", 0, 0, "org/m", "another", 5, "stop", False, 7)
    db.forecasts.save_reasoning(run, again)
    expected = ["a00", "a01", "a10", "z00", "z01"]
    assert [row.text for row in db.forecasts.reasonings(run)] == expected
    db.forecasts.save_reasoning(replay, again)
    db.forecasts.copy_reasonings(run, replay)
    assert [row.text for row in db.forecasts.reasonings(replay)] == ["another", *expected[1:]]
    pairs = tuple(
        AblationRecord(name, "p", point(40), 0.9, 0.0, -10.0, 0.5)
        for name in ("no_evidence", "neither")
    )
    samples = ((0, point(20)), (1, point(40)))
    for question in ("a", "z"):
        db.forecasts.save(run, forecast(question, ablations=pairs, sample_distributions=samples))
    shown = [(row.question_id, row.condition, row.shift) for row in db.forecasts.ablations(run)]
    assert shown == [(q, name, -10) for q in ("z", "a") for name in ("neither", "no_evidence")]
    means = [
        (row["sample"], row["mean"])
        for row in db.connection.query("SELECT * FROM scored_samples ORDER BY forecast_id, sample")
    ]
    assert means == [(0, 20), (1, 40)] * 2


def test_what_was_retrieved_keeps_its_ranks_and_replaces_an_earlier_search(db):
    run = start(db)
    one, two, three = db.articles.passages(
        passages(db, "2025-01-01", "2025-01-02", "2025-01-03"), {1: 0.1, 2: 0.2, 3: 0.3}
    )
    asked = {question.id: question for question in QUESTIONS}
    db.articles.save_retrievals(run, [Evidence(asked["a"], (three, one))])
    db.articles.save_retrievals(run, [Evidence(asked["z"], (), "nothing was found")])
    assert [(p.id, p.score) for p in db.articles.retrieval(run, "a")] == [(3, 0.3), (1, 0.1)]
    db.articles.save_retrievals(run, [Evidence(asked["a"], (two,), "in part")])
    assert [p.id for p in db.articles.retrieval(run, "a")] == [2]
    rows = {row.id: (row.context_error, row.retrieved_at is None) for row in db.runs.questions(run)}
    assert rows == {"a": ("in part", False), "z": ("nothing was found", False)}


def test_calibrated_values_and_coherence_come_back_in_order(db):
    first, second = start(db), start(db)
    fitted = CalibrationRecord("m", "platt", {"a": 1.0}, 30, 30, 0.2, 0.1)
    values = [
        (second, "a", 0.3, 0.4, True),
        (first, "z", 0.1, 0.2, False),
        (first, "a", 0.5, 0.6, False),
    ]
    number = db.outcomes.save_calibration(fitted, values)
    later = db.outcomes.save_calibration(fitted, values[:1])
    assert [tuple(row)[1:] for row in calibrated_values(db, number)] == [
        (first, "a", 0.5, 0.6, 0),
        (first, "z", 0.1, 0.2, 0),
        (second, "a", 0.3, 0.4, 1),
    ]
    assert [row.id for row in db.outcomes.calibrations()] == [number, later]
    for run, question, who in (
        (second, "a", "m"),
        (first, "z", "m"),
        (first, "a", "n"),
        (first, "a", "m"),
    ):
        db.outcomes.save_coherence(
            [CoherenceRecord(run, question, who, "negation", 0.5, {"x": 0.4}, -0.1)]
        )
    db.outcomes.save_coherence([CoherenceRecord(first, "a", "m", "negation", 0.5, {"x": 0.6}, 0.1)])
    stored = [*db.outcomes.coherence(first), *db.outcomes.coherence(second)]
    assert [(row.run_id, row.question_id, row.forecaster, row.gap) for row in stored] == [
        (first, "a", "m", 0.1),
        (first, "a", "n", -0.1),
        (first, "z", "m", -0.1),
        (second, "a", "m", -0.1),
    ]


# --- evidence store -------------------------------------------------------------------------------


def test_the_newest_revision_up_to_a_moment_is_found(db):
    for title, revision, day in (
        ("T", "r2", "02"),
        ("T", "r1", "01"),
        ("T", "r3", "03"),
        ("T", "r3b", "03"),
        ("U", "u", "05"),
    ):
        db.articles.add(article(title, revision, f"2025-01-{day}T00:00:00Z"), [])
    db.articles.add(Article("documents", "D", "d", "2025-01-04T00:00:00Z", "", "text"), [])

    def found(as_of):
        one = db.articles.find("wikipedia", "T", as_of=as_of)
        return one and one.revision_id

    assert found("2025-01-02T00:00:00Z") == "r2"
    assert found("2025-01-02T23:59:59Z") == "r2"
    assert found("2024-12-31T00:00:00Z") is None
    assert found(None) == "r3b"  # of two at one moment the one stored later
    assert db.articles.find("wikipedia", "D") is None

    def current(**limits):
        return sorted((a.title, a.revision_id, a.text) for a in db.articles.current(**limits))

    assert current() == [("D", "d", ""), ("T", "r3b", ""), ("U", "u", "")]
    assert current(as_of="2025-01-02T00:00:00Z") == [("T", "r2", "")]
    assert current(sources=["wikipedia"]) == [("T", "r3b", ""), ("U", "u", "")]
    assert current(sources=["documents"], as_of="2025-01-05T00:00:00Z") == [("D", "d", "")]
    assert current(sources=[]) == []
    assert db.articles.has_revision("wikipedia", "T", "r1") == 2
    assert db.articles.has_revision("wikipedia", "T", "r9") is None


def test_a_revision_stays_the_newest_until_the_latest_moment_it_was_seen(db, monkeypatch):
    monkeypatch.setattr(connection, "utc_now", lambda: "2025-02-01T00:00:00Z")
    made = article("T", "r", "2025-01-01T00:00:00Z", fetched_at="2025-01-10T00:00:00Z")
    number = db.articles.add(made, [Passage(text="one", tokens=1)])

    def seen():
        row = db.articles.find("wikipedia", "T")
        return row.fetched_at[:10], row.current_until[:10]

    assert seen() == ("2025-01-10", "2025-01-10")
    db.articles.touch(number)
    assert seen() == ("2025-02-01", "2025-02-01")
    db.articles.touch(number, current_until="2025-01-20T00:00:00Z")
    assert seen() == ("2025-02-01", "2025-02-01")
    # What a clock ahead of ours has stored is not believed.
    monkeypatch.setattr(connection, "utc_now", lambda: "2025-01-25T00:00:00Z")
    db.articles.touch(number, current_until="2025-01-20T00:00:00Z")
    assert seen() == ("2025-01-25", "2025-01-20")


def test_embeddings_are_of_a_model_and_read_from_where_one_was(db):
    two = [Passage(text="not embedded", tokens=2), Passage(text="nor this", tokens=2)]
    db.articles.add(
        article("Before", "r", "2024-01-01T00:00:00Z"), two
    )  # so that numbers of passages are no article's
    ids = passages(db, "2025-01-01", "2025-01-02", "2025-01-03")
    articles = [
        row["article_id"]
        for row in db.connection.query("SELECT article_id FROM passages WHERE id > 2 ORDER BY id")
    ]
    assert set(ids).isdisjoint(articles[:1])
    assert db.articles.without_embedding("m", articles) == ids
    db.articles.add_embeddings("m", [(ids[0], np.array([1.0, 2.0], dtype=np.float32))])
    db.articles.add_embeddings("other", [(i, np.array([9.0], dtype=np.float32)) for i in ids[:2]])
    db.articles.add_embeddings("m", [(ids[2], np.array([3.0, 4.0], dtype=np.float32))])
    assert db.articles.without_embedding("m", articles) == [ids[1]]
    assert db.articles.without_embedding("other", articles[1:]) == [ids[2]]
    assert db.articles.without_embedding("third", articles, ids=ids[1:]) == ids[1:]
    assert db.articles.without_embedding("third", articles[:1], ids=ids[1:]) == []
    assert db.articles.embedding_models(ids) == ["m", "other"]
    assert db.articles.embedding_models(ids[2:]) == ["m"]
    found, owners, vectors, last = db.articles.embeddings_after("m")
    assert (found.tolist(), owners.tolist(), vectors.tolist()) == (
        [ids[0], ids[2]],
        [articles[0], articles[2]],
        [[1, 2], [3, 4]],
    )
    assert db.articles.embeddings_after("m", last)[0].tolist() == []
    assert db.articles.embeddings_after("m", last)[3] == last
    db.articles.add_embeddings("m", [(ids[1], np.array([5.0, 6.0], dtype=np.float32))])
    assert db.articles.embeddings_after("m", last)[2].tolist() == [[5, 6]]


def test_embedding_models_come_by_name(db):
    first, second = passages(db, "2025-01-01", "2025-01-02")
    db.articles.add_embeddings("z", [(first, np.zeros(1, dtype=np.float32))])
    db.articles.add_embeddings("b", [(second, np.zeros(1, dtype=np.float32))])
    db.articles.add_embeddings("c", [(first, np.zeros(1, dtype=np.float32))])
    assert db.articles.embedding_models([first, second]) == ["b", "c", "z"]


def test_words_are_found_best_first_and_count_more_in_titles(db):
    texts = {
        "Ferries": "nothing of it",
        "Ports": "ferries and ships",
        "Islands": "ferries ferries",
        "Trains": "rails",
    }
    for title, text in texts.items():
        section = "Ferries" if title == "Trains" else ""
        db.articles.add(
            article(title, "r", "2025-01-01T00:00:00Z"),
            [Passage(text=text, section=section, tokens=3)],
        )
    articles = [row["id"] for row in db.connection.query("SELECT id FROM articles ORDER BY id")]

    def titles(words, wanted=articles, **limits):
        found = db.articles.search_words(words, wanted, **{"limit": 9, **limits})
        assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
        return [passage.title for passage in db.articles.passages([number for number, _ in found])]

    assert titles(["ferries"])[0] == "Ferries"
    assert set(titles(["ferries"])) == set(texts)
    assert titles(["ferries"], limit=1) == ["Ferries"]
    assert titles(["rails", "ships"], articles[:3]) == ["Ports"]
    assert set(titles(["rails", "ships"])) == {"Ports", "Trains"}
    assert titles(['fer"ries']) == []
    assert titles([]) == []
    assert db.articles.count_passages(articles[:3]) == 3
    assert db.articles.count_passages([]) == 0


# --- what another program wrote -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("probabilities", json.dumps([0.5, 0.6] + [0.0] * 99)),
        ("probabilities", json.dumps([1.5, -0.5] + [0.0] * 99)),
        ("probabilities", json.dumps([1 / 101] * 101)[:-1]),
        ("captured_mass", None),
        ("samples", "many"),
        ("captured_mass", float("inf")),
        ("created_at", "yesterday"),
        ("created_at", "0001-01-01T00:00:00+14:00"),
    ],
)
def test_a_value_that_forecaster_does_not_write_is_one_line(db, column, value):
    run = start(db)
    db.forecasts.save(run, forecast())
    with contextlib.closing(sqlite3.connect(db.path)) as other, other:
        other.execute("PRAGMA ignore_check_constraints = ON")
        other.execute(f"UPDATE forecasts SET {column} = ?", (value,))
    with pytest.raises(DatabaseError, match=f"as {column}, which Forecaster does not write"):
        db.points.read() if column == "created_at" else db.forecasts.of_run(run)


@pytest.mark.parametrize(
    "moment", ["2025-01-01T00:00:00Z", "2025-01-01T00:00:00+02:00", "2025-01-01"]
)
def test_moments_in_other_forms_are_read(db, moment):
    run = start(db)
    with contextlib.closing(sqlite3.connect(db.path)) as other, other:
        other.execute("UPDATE runs SET started_at = ?", (moment,))
    assert db.runs.get(run).started_at == moment


def test_a_distribution_that_sums_to_one_but_for_rounding_is_read(db):
    run = start(db)
    db.forecasts.save(run, forecast())
    p = np.full(101, 1 / 101)
    for more, fits in ((5e-7, True), (1.5e-6, False)):
        text = json.dumps([p[0] + more, *p[1:].tolist()])
        with contextlib.closing(sqlite3.connect(db.path)) as other, other:
            other.execute("UPDATE forecasts SET probabilities = ?", (text,))
        if fits:
            assert db.forecasts.of_run(run)[0].distribution.probabilities.sum() == pytest.approx(1)
    with pytest.raises(DatabaseError, match="as probabilities"):
        db.forecasts.of_run(run)


def test_a_forecast_without_numbers_and_without_an_error_is_one_line(db):
    run = start(db)
    db.forecasts.save(run, forecast())
    with contextlib.closing(sqlite3.connect(db.path)) as other, other:
        other.execute("PRAGMA ignore_check_constraints = ON")
        other.execute("UPDATE forecasts SET probabilities = NULL")
    with pytest.raises(DatabaseError, match="a row has neither probabilities nor an error"):
        db.forecasts.of_run(run)


@pytest.mark.parametrize("mean", ["much", None])
def test_a_mean_is_that_of_the_distribution_whatever_its_column_holds(db, mean):
    run = start(db)
    db.forecasts.save(run, forecast())
    with contextlib.closing(sqlite3.connect(db.path)) as other, other:
        other.execute("UPDATE forecasts SET mean = ?", (mean,))
    (row,) = db.forecasts.of_run(run)
    assert row.mean == row.distribution.mean


def test_a_column_that_always_has_a_value_is_not_empty(db):
    columns = "1 AS run_id, 'a' AS id, 'a' AS subject, NULL AS close_date"
    with pytest.raises(DatabaseError, match="a row has None as text, which Forecaster does not"):
        db.connection.read(EarlierQuestion, f"SELECT {columns}, NULL AS text")
    assert db.connection.read(EarlierQuestion, f"SELECT {columns}, 'A?' AS text") == [
        EarlierQuestion(1, "a", "a", "A?", None)
    ]


@pytest.mark.parametrize("asked", ["{", "[]", '{"text": ""}', '{"text": "A?", "unknown": 1}'])
def test_a_question_that_forecaster_does_not_write_is_one_line(db, asked):
    run = start(db)
    with contextlib.closing(sqlite3.connect(db.path)) as other, other:
        other.execute("PRAGMA ignore_check_constraints = ON")
        other.execute("UPDATE run_questions SET asked = ?", (asked,))
    with pytest.raises(DatabaseError, match="as asked, which Forecaster does not write"):
        db.runs.questions(run)


@pytest.mark.parametrize("settings", ["[]", "null", "{", "{}"])
def test_settings_that_are_no_object_read_as_none_at_all(db, settings):
    run = start(db)
    with contextlib.closing(sqlite3.connect(db.path)) as other, other:
        other.execute("PRAGMA ignore_check_constraints = ON")
        other.execute("UPDATE runs SET settings = ?", (settings,))
    assert db.runs.get(run).settings == {}


@pytest.mark.parametrize("versions", ["{", "[]"])
def test_what_holds_names_and_values_is_a_json_object(db, versions):
    run = start(db)
    with contextlib.closing(sqlite3.connect(db.path)) as other, other:
        other.execute("PRAGMA ignore_check_constraints = ON")
        other.execute("UPDATE runs SET versions = ?", (versions,))
    with pytest.raises(DatabaseError, match="as versions, which Forecaster does not write"):
        db.runs.get(run)


def test_a_thoughts_tokens_come_back_as_they_were(db):
    run = db.runs.start(
        settings={}, versions={}, seed=1, as_of=None, questions=[Question("Q?", id="a")]
    )
    db.thoughts.save(run, THOUGHT)
    db.thoughts.save(run, replace(THOUGHT, text="another"))  # what is stored stays
    assert db.thoughts.of_run(run, "m") == [THOUGHT]
    with db.connection.atomic() as sql:
        sql.execute("UPDATE thoughts SET token_ids = X'0102'")
    with pytest.raises(DatabaseError, match=r"a row has .* as token_ids"):
        db.thoughts.of_run(run, "m")


def test_views_show_a_question_as_each_run_asked_it(db):
    texts = ("Will A happen?", "Will A come about?")
    accepted = [Rewording("a", *texts)]
    pair = AblationRecord("neither", "p", point(40), 0.9, 0.0, -10.0, 0.5)
    for text, rewordings in zip(texts, ([], accepted), strict=True):
        run = start(db, questions=[Question(text, id="a")], rewordings=rewordings)
        db.forecasts.save(run, forecast(ablations=(pair,)))
        db.thoughts.save(run, THOUGHT)
    for view in ("forecast_history", "ablation_pairs", "thoughts_read"):
        rows = db.connection.query(f"SELECT question FROM {view} ORDER BY run")
        assert tuple(row["question"] for row in rows) == texts, view


def test_a_column_that_is_gone_is_one_line_and_one_with_a_default_is_not_missed():
    with contextlib.closing(sqlite3.connect(":memory:")) as opened:
        opened.row_factory = sqlite3.Row
        found = opened.execute(
            "SELECT 'a' AS question_id, '2026-01-01' AS resolved_at, 1 AS outcome"
        )
        assert read(Resolution, found) == [Resolution("a", 1, "2026-01-01")]
        found = opened.execute("SELECT 'a' AS question_id, '2026-01-01' AS resolved_at")
        with pytest.raises(ForeignValueError, match=r"^a row has no outcome$"):
            read(Resolution, found)
