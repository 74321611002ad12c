"""What is learnt from resolved questions: stored, equal to the plain way, and void when the record changes."""

from __future__ import annotations

import random
from datetime import date, timedelta
from typing import Any

import pytest

from database import Database
from evaluation import learnt_rule
from evaluation.applied_calibration import fit_applied
from evaluation.assistance import DEFAULTS, RULE_VERSION, learnt_weights
from evaluation.base_rates import Past, base_rate
from evaluation.learnt_rule import Rule, learn_ahead
from evaluation.past_record import PRICED, UNPRICED, PastRecord, past_questions
from evaluation.stored_past import StoredPast
from questions.question import Question
from storage import connection
from storage.final_numbers import FinalNumbers, OutsideView
from storage.new_records import EnsembleRecord
from storage.records import Resolution
from tests.support.record_database import around

FIRST = date(2025, 1, 6)
DAYS = ("2025-01-01", "2025-04-20", "2025-07-01", "2025-12-31")
TEXTS = (
    "Will Ann Lee win match {n} by 2025-03-01?",
    "Will the price of Copper rise above ${n} by 1 June 2025?",
    "Will the price of Copper fall below ${n} by 1 June 2025?",
    "Is {n} odd in the series of week {n}?",
)


def asked(n: int) -> Question:
    """A question: every fifth without a source, every seventh of a class, some of a series."""
    extra = {
        "source": "" if n % 5 == 0 else f"s{n % 3}",
        "cluster": "weekly" if n % 12 == 3 else f"c{n // 2}",
    }
    if n % 7 == 0:
        extra["reference_class"] = f" Class {n % 2}"
    closes = "2025-06-15" if n % 11 == 0 else None
    return Question(TEXTS[n % 4].format(n=n), id=f"q{n}", extra=extra, close_date=closes)


def likely(name: str) -> float:
    """The chance of a question."""
    return random.Random(name).random()


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """180 questions in six monthly runs, most of them resolved between the runs."""
    path = tmp_path_factory.mktemp("learnt") / "record.db"
    draw = random.Random(3)
    questions = [asked(n) for n in range(180)]
    with Database(path) as database, pytest.MonkeyPatch.context() as patch:
        database.connection.sql.execute("PRAGMA synchronous = OFF")
        for month in range(6):
            day = FIRST + timedelta(days=30 * month)
            patch.setattr(connection, "utc_now", lambda d=day: f"{d}T08:00:00Z")
            own = questions[24 * month : 24 * month + 60]
            store_run(database, own, draw)
            ended = own[:26] if month < 5 else own
            database.outcomes.add(
                [
                    Resolution(
                        q.id,
                        int(draw.random() < likely(q.id)),
                        str(day + timedelta(days=draw.randrange(1, 29))),
                    )
                    for q in ended
                ]
            )
    return path


def store_run(database: Database, questions: list[Question], draw: random.Random) -> int:
    """Store a run's pools and outside views."""
    run = database.runs.start(settings={}, versions={}, seed=1, as_of=None, questions=questions)
    views, numbers = [], []
    for n, question in enumerate(questions):
        pooled = around(min(97, max(3, 100 * likely(question.id) + draw.gauss(0, 9))))
        record = EnsembleRecord(
            question.id, "mean", pooled, 1, 1, 1.0, 0.9, 0.0, low_confidence=False
        )
        database.forecasts.save_ensemble(run, record)
        price = round(draw.random(), 2) if n % 3 else None
        view = OutsideView(question.id, market=price, base_rate=0.3, kind="template")
        views.append(OutsideView(**{**vars(view), "relatives": ("a", "b")}))
        p = pooled.probability
        kind = UNPRICED if price is None else PRICED
        numbers.append(FinalNumbers(question.id, 1, p, p, p, p, {}, {}, {}, kind, "2025-01-06"))
    database.final.save_outside_views(run, views)
    database.final.save(run, numbers)
    return run


@pytest.fixture
def db(filled, tmp_path):
    path = tmp_path / "copy.db"
    path.write_bytes(filled.read_bytes())
    with Database(path) as database:
        yield database


def learnt(database: Database) -> list[Any]:
    """All that a rule says on some days."""
    rule = Rule(database)
    kinds = (PRICED, UNPRICED)
    return [(rule.weights(day), *(rule.curve(kind, day) for kind in kinds)) for day in DAYS]


def plainly(database: Database) -> list[Any]:
    """The same from the whole record."""
    past = PastRecord.read(database)
    return [
        (
            learnt_weights(past.voices, day),
            *(fit_applied(past.forecasts, kind, day) for kind in (PRICED, UNPRICED)),
        )
        for day in DAYS
    ]


def test_what_is_learnt_is_that_of_the_whole_record_to_the_bit(db):
    expected = plainly(db)
    weights, priced, unpriced = expected[-1]
    assert weights.learnt_from >= 30
    assert weights != DEFAULTS
    assert priced.count > unpriced.count > 0
    assert priced.brier_after is not None
    assert learnt(db) == expected
    assert learnt(db) == expected  # some of them stored now


def test_a_later_run_reads_nothing_of_the_record(db, monkeypatch):
    learn_ahead(db, date(2025, 12, 30))
    monkeypatch.setattr(PastRecord, "read", None)
    monkeypatch.setattr(learnt_rule, "fit_applied", None)
    monkeypatch.setattr(db.runs, "known_questions", None)
    rule = Rule(db)
    for day in ("2025-12-31", "2026-05-01"):
        assert rule.weights(day).learnt_from >= 30
        assert rule.curve(PRICED, day).count > 0
    assert StoredPast(db).size(("source", "s1"), "2026-05-01") > 20


def test_nothing_that_ended_later_is_learnt_from(db):
    before = learnt(db)
    questions = [Question(f"Open {n}?", id=f"o{n}") for n in range(40)]
    store_run(db, questions, random.Random(1))
    db.outcomes.add([Resolution(q.id, 1, "2099-01-01") for q in questions])
    assert learnt(db) == before
    assert Rule(db).curve(PRICED, "2099-01-02").count > before[-1][1].count


def test_the_curves_of_a_run_name_the_forecasts_behind_them(db):
    past = PastRecord.read(db)
    run = db.runs.start(settings={}, versions={}, seed=1, as_of=None, questions=[asked(0)])
    for _ in range(2):  # learnt now, and stored
        rule = Rule(db)
        for day in ("2025-12-31", "2025-01-01"):
            rule.weights(day)
            rule.curve(PRICED, day)
        rule.store_applied(run)
        early, late = db.final.calibrations(run)
        assert (early.day, early.count, early.forecasts) == ("2025-01-01", 0, ())
        assert late.forecasts == past.keys
        expected = fit_applied(past.forecasts, PRICED, "2025-12-31")
        assert late.count == expected.count
        assert dict(late.parameters) == {k: list(v) for k, v in expected.parameters.items()}


def test_what_another_rule_learnt_does_not_count(db):
    learn_ahead(db, date(2025, 12, 30))
    cut, version = db.learnt.last_day("9999"), db.learnt.version()
    assert db.learnt.weights(cut, version, RULE_VERSION)
    assert db.learnt.weights(cut, version, RULE_VERSION + 1) is None
    assert db.learnt.curve(cut, PRICED, version, RULE_VERSION)
    assert db.learnt.curve(cut, PRICED, version, RULE_VERSION + 1) is None


def test_the_forecasts_behind_curves_are_stored_once_for_a_record(db, monkeypatch):
    keys = PastRecord.read(db).keys
    learn_ahead(db, date(2025, 12, 30))
    monkeypatch.setattr(PastRecord, "read", None)
    for day in ("2025-12-31", "2026-01-07"):
        run = db.runs.start(settings={}, versions={}, seed=1, as_of=None, questions=[asked(0)])
        rule = Rule(db)
        rule.weights(day), rule.curve(PRICED, day), rule.curve(UNPRICED, day)
        rule.store_applied(run)
        curves = db.final.calibrations(run)
        assert [curve.forecasts for curve in curves] == [keys, keys]
    assert db.connection.query("SELECT count(*) FROM id_lists WHERE ids LIKE '%:%'")[0][0] == 1


def test_forecasts_that_another_process_replaced_meanwhile_are_stored_all_the_same(db):
    keys = PastRecord.read(db).keys
    run = db.runs.start(settings={}, versions={}, seed=1, as_of=None, questions=[asked(0)])
    rule = Rule(db)
    rule.weights("2025-12-31"), rule.curve(PRICED, "2025-12-31")
    with db.connection.atomic() as sql:
        sql.execute("UPDATE learnt_weights SET version = version + 1")
    rule.store_applied(run)
    (curve,) = db.final.calibrations(run)
    assert curve.forecasts == keys


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE ensembles SET mean = 50 WHERE run_id = 1",
        "UPDATE ensembles SET created_at = '2026-01-01T00:00:00Z' WHERE run_id = 1",
        "UPDATE outside_views SET market = 0.5 WHERE run_id = 2",
        "DELETE FROM outside_views WHERE run_id = 2",
        "DELETE FROM runs WHERE id = 2",
        "UPDATE runs SET origin_run = 1 WHERE id = 2",
        "UPDATE run_questions SET as_of = '2025-01-01' WHERE run_id = 2",
        "UPDATE run_questions SET asked = json_set(asked, '$.extra.cluster', 'x') WHERE run_id = 2",
        "UPDATE questions SET subject = 'q1' WHERE id = 'q2'",
        "UPDATE questions SET text = 'Will it rain?' WHERE id = 'q2'",
        "UPDATE questions SET close_date = '2025-12-01' WHERE id = 'q2'",
        "UPDATE questions SET extra = '{}' WHERE id = 'q2'",
        "UPDATE resolutions SET outcome = 1 - outcome",
        "UPDATE resolutions SET resolved_at = '2025-03-03' WHERE question_id = 'q2'",
        "DELETE FROM resolutions WHERE question_id = 'q2'",
        "INSERT INTO resolutions VALUES (999, 'q2', NULL, '2025-03-03', '', '2025-03-03')",
        "UPDATE final_numbers SET coherent = 0.9 WHERE run_id = 1",
        "DELETE FROM final_numbers WHERE run_id = 1",
    ],
)
def test_a_change_by_anybody_makes_what_was_learnt_void(db, change):
    learnt(db), StoredPast(db)
    with db.connection.atomic() as sql:
        sql.execute(change)
    assert learnt(db) == plainly(db)
    assert rates(StoredPast(db)) == rates(Past(past_questions(db)))


def test_a_run_of_open_questions_changes_nothing_of_what_was_learnt(db):
    version = db.learnt.version()
    questions = [Question("Will it rain tomorrow?"), Question("Will it snow?")]
    store_run(db, questions, random.Random(1))
    store_run(db, questions, random.Random(2))  # known questions are stored again
    assert db.learnt.version() == version
    db.outcomes.add([Resolution(questions[0].id, 1, "2099-01-01")])
    assert db.learnt.version() > version


def rates(past: Any) -> list[Any]:
    """The base rates of many questions, known and new, on many days, without wider ones."""
    new = [Question(text.format(n=1000), extra={"source": "s1"}) for text in TEXTS]
    new += [Question("Who knows?", extra={"source": "s2"}), Question("Who knows?")]
    new += [Question("Will 5 rise?", extra={"reference_class": "class 1", "cluster": "c3"})]
    new += [Question(TEXTS[3].format(n=1000), extra={"cluster": "weekly"})]
    questions = [*new, *map(asked, range(0, 160, 7))]
    return [base_rate(q, day, past) for q in questions for day in (*DAYS, "2025-06-16")]


def test_questions_of_a_run_read_their_families_once(db, monkeypatch):
    past, statements, query = StoredPast(db), [], db.connection.query
    monkeypatch.setattr(
        db.connection, "query", lambda sql, given=(): statements.append(sql) or query(sql, given)
    )
    counts = []
    for n in range(1000, 1003):
        question = Question(TEXTS[0].format(n=n), id=f"new{n}", extra={"source": "s1"})
        rate = base_rate(question, DAYS[-1], past)
        assert len(rate.relatives) == rate.count > 5
        counts.append(len(statements))
    # Of later ones only that is read whether they, and a series of theirs, are known.
    assert counts[0] > 5
    assert counts[1:] == [counts[0] + 2, counts[0] + 4]


def test_stored_families_give_the_base_rates_of_the_whole_record_to_the_bit(db):
    plain = rates(Past(past_questions(db)))
    assert {rate.kind for rate in plain if rate} == {
        "source",
        "template",
        "reference_class",
        "series",
    }
    assert any(rate and rate.wider for rate in plain)
    assert rates(StoredPast(db)) == plain
