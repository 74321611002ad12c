"""What changed since the last run, against differences taken by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from database import Database
from evaluation.changes import Change, change_lines, changes, run_differences
from evaluation.run_differences import Difference
from questions.checks import KIND_KEY, PARENT_KEY
from questions.question import Question
from storage.new_records import ForecastRecord
from storage.points import StoredChange
from storage.records import Article, Passage
from tests.support.record_database import add_run, around, point

EU = Question("Will a country join the EU?", id="eu")
OIL = Question("Will oil rise?", id="oil")


@pytest.fixture
def database(tmp_path):
    with Database(tmp_path / "d.db") as database:
        yield database


def view(database, run):
    rows = database.connection.query("SELECT * FROM forecast_changes WHERE run = ?", (run,))
    return {row["question_id"]: row for row in rows}


def test_the_same_models_change_by_the_pools_difference(database):
    add_run(database, [EU, OIL], {"x": [point(10), point(50)], "y": [point(30), point(50)]})
    run = add_run(database, [OIL, EU], {"x": [point(53), point(20)], "y": [point(54), point(30)]})
    found = changes(database, run)
    assert [(one.stored.question_id, one.models, one.final) for one in found] == [
        ("eu", pytest.approx(5), pytest.approx(5)),
        ("oil", pytest.approx(3.5), pytest.approx(3.5)),
    ]
    assert changes(database, 1) == []
    stored = {name: row["models_change"] for name, row in view(database, run).items()}
    assert stored == pytest.approx({"eu": 5, "oil": 3.5})


def test_other_models_are_left_out_and_the_final_number_has_no_change(database):
    add_run(database, [EU], {"x": [point(10)], "y": [point(30)]})
    run = add_run(database, [EU], {"y": [point(36)], "z": [point(90)]})
    (one,) = changes(database, run)
    # y alone is in both: 36 - 30, where the pools differ by 63 - 20.
    assert one.models == pytest.approx(6)
    assert one.final is None
    assert one.differs == ("models",)
    assert view(database, run)["eu"]["models_change"] == pytest.approx(6)
    alone = add_run(database, [EU], {"w": [point(36)]})
    (one,) = changes(database, alone)
    assert (one.models, one.size) == (None, 0)
    assert view(database, alone)["eu"]["models_change"] is None
    assert change_lines(database, alone, 90)[2:4] == [
        "models  passages  differs  question",
        "  none  none      models   Will a country join the EU?",
    ]


def test_weak_voices_weigh_as_in_their_pools(database):
    given = {"x": 10, "y": 30}
    for percents in (given, {"x": 20, "y": 60, "z": 80}):
        add_run(database, [EU], {name: [point(value)] for name, value in percents.items()})
    with database.connection.atomic() as sql:
        sql.execute(
            "UPDATE forecasts SET captured_mass = 0.05 WHERE agent = 'y'",
        )
        weights = '{"x": 0.8, "y": 0.2}', '{"x": 0.4, "y": 0.1, "z": 0.5}'
        for run, text in enumerate(weights, start=1):
            sql.execute("UPDATE ensembles SET weights = ? WHERE run_id = ?", (text, run))
    assert view(database, 2)["eu"]["models_change"] == pytest.approx(
        (0.8 * 20 + 0.2 * 60) - (0.8 * 10 + 0.2 * 30)
    )


def test_other_records_replays_and_other_subjects_do_not_count(database):
    add_run(database, [EU], {"x": [point(10)]})
    back = replace(EU, as_of="2026-01-01")
    dated = add_run(database, [back], {"x": [point(70)]})
    assert changes(database, dated) == []
    other = replace(OIL, id="eu-2", subject="eu", text="Will any country join the EU?")
    run = add_run(database, [other, OIL], {"x": [point(14), point(2)]})
    (one,) = changes(database, run)
    assert (one.stored.run_before, one.stored.question_before) == (1, "eu")
    assert (one.models, one.differs) == (pytest.approx(4), ("wording",))
    settings = {"settings": {}, "versions": {}, "seed": 1, "as_of": None}
    replay = database.runs.start(**settings, questions=[EU], origin_run=1)
    database.forecasts.save(
        replay,
        ForecastRecord(
            "eu", "x", "owner/x", distribution=point(1), captured_mass=1, residual_mass=0
        ),
    )
    assert changes(database, replay) == []
    twice = add_run(database, [EU, other], {"x": [point(20), point(30)]})
    before = {
        one.stored.question_id: one.stored.question_before for one in changes(database, twice)
    }
    # Run 3 asked the subject as eu-2 only.
    assert before == {"eu": "eu-2", "eu-2": "eu-2"}
    third = add_run(database, [EU, other], {"x": [point(20), point(30)]})
    before = {
        one.stored.question_id: one.stored.question_before for one in changes(database, third)
    }
    assert before == {"eu": "eu", "eu-2": "eu-2"}


def test_coherence_checks_are_not_listed(database):
    check = Question(
        "Will no country join the EU?", id="not", extra={PARENT_KEY: "eu", KIND_KEY: "negation"}
    )
    for value in (10, 20):
        run = add_run(database, [EU, check], {"x": [point(value), point(90)]})
    assert [one.stored.question_id for one in changes(database, run)] == ["eu"]
    assert {*view(database, run)} == {"eu", "not"}


def quoted(database, run, texts, agent="z"):
    """Store a forecast whose prompt quotes passages, and one that did not fit."""
    ids = []
    for text in texts:
        article = Article("wikipedia", text, f"{run}", f"2026-01-0{run}T00:00:00Z", "", "text")
        database.articles.add(article, [Passage(text=text)])
        ids.append(database.connection.query("SELECT max(id) AS id FROM passages")[0]["id"])
    evidence = tuple(
        Passage(id=number, text="", rank=place, used=place < len(ids))
        for place, number in enumerate(ids, start=1)
    )
    for chunk in (0, 1):  # the same passages in two prompts count once
        record = ForecastRecord(
            "eu", agent, "m", chunk=chunk, distribution=around(50), captured_mass=1.0,
            residual_mass=0.0, evidence=evidence,
        )  # fmt: skip
        database.forecasts.save(run, record)


def test_passages_count_by_their_text_whatever_the_revision(database):
    for run, texts in ((1, ["a", "b", "c", "unfit"]), (2, ["b", "d", "e", "f", "unfit"])):
        add_run(database, [EU], {"x": [point(10)]})
        quoted(database, run, texts)
    (one,) = changes(database, 2)
    assert one.passages == "3 new, 2 gone"
    assert one.stored.passages == 4


def test_settings_are_named_and_long_lists_end(database):
    many = [
        Question(f"Will thing {n} happen at the end of a long text?", id=f"q{n}") for n in range(12)
    ]
    add_run(database, many, {"x": [point(10)] * 12})
    run = add_run(database, many, {"x": [point(10 + n) for n in range(12)]})
    with database.connection.atomic() as sql:
        sql.execute(
            "UPDATE runs SET settings = ? WHERE id = ?",
            (
                '{"pool_method": "median", "today": "2026-01-01", "models": {"x": {"path": "p", "a": 1}}}',
                run,
            ),
        )
        sql.execute("""UPDATE runs SET versions = '{"numpy": "1"}' WHERE id = ?""", (run,))
    lines = change_lines(database, run, 60)
    assert lines[1] == "What changed since run 1, in points (models that both have)"
    assert lines[2] == "models  passages  differs  question"
    assert lines[3] == " +11.0  none      models   Will thing 11 happen at the end …"
    assert all(len(line) <= 60 for line in lines[:-1])
    assert lines[-2:] == [
        "and 2 more, none by more than 1.0",
        "Differs between the runs: model x, pool_method.",
    ]
    assert Difference("seed", "1", "2").of_models is False


def test_the_larger_change_decides_the_place_and_what_is_gone_is_a_change(database):
    stored = StoredChange(
        2, "a", "A?", 1, "a", 50, 40, 10, 60, 58, 2, ("x",), ("x",), 3, 0, 1, False
    )
    assert Change(stored, -10.0, 2.0, ()).size == 10
    assert Change(stored, None, -2.0, ()).size == 2
    assert Change(stored, None, None, ()).size == 0
    assert Change(stored, 0.0, 0.0, ()).passages == "0 new, 1 gone"
    assert Change(replace(stored, passages_gone=0), 0.0, 0.0, ()).passages == "the same"


def test_columns_that_say_nothing_are_left_out(database):
    for value in (10, 20):
        run = add_run(database, [EU], {"x": [point(value)]})
    assert change_lines(database, run, 90)[2:] == [
        "models  passages  question",
        " +10.0  none      Will a country join the EU?",
    ]


def test_a_group_of_settings_that_one_run_lacks_is_one_difference(database):
    for value in (10, 20):
        add_run(database, [EU], {"x": [point(value)]})
    settings = (
        '{"retrieval": null, "today": "2026-01-01", "pool": {"a": 1, "b": 2}}',
        '{"retrieval": {"articles": 3, "wiki": {"url": "u"}}, "pool": {"a": 1, "b": 3}}',
    )
    with database.connection.atomic() as sql:
        for run, text in enumerate(settings, start=1):
            sql.execute("UPDATE runs SET settings = ? WHERE id = ?", (text, run))
    assert [str(one) for one in run_differences(database, 1, 2)] == [
        "pool.b was 2 and is now 3",
        "retrieval was null and is now set",
    ]
    assert [str(one) for one in run_differences(database, 2, 1)] == [
        "pool.b was 3 and is now 2",
        "retrieval was set and is now null",
    ]
