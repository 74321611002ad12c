"""--explain: each step from the models to the final number, with its data."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import analysis
from database import Database
from evaluation.explanation import explain
from evaluation.resolved import AnalysisError
from questions.question import Question
from storage.final_numbers import AppliedCalibration
from storage.records import Resolution
from tests.storage.test_three_numbers import CURVE, NUMBERS, VIEW
from tests.support.record_database import add_run, point


@pytest.fixture
def path(tmp_path):
    with Database(tmp_path / "d.db") as db:
        questions = [Question("Will A?", id="a"), Question("Will R one?", id="r1")]
        add_run(db, questions, {"x": [point(50), point(20)], "y": [point(70), point(20)]})
        db.outcomes.add([Resolution("r1", 1, "2026-01-02")])
        voices = {
            "models": {"probability": 0.6, "weight": 1.0, "note": ""},
            "market": {"probability": 0.3, "weight": 0.8, "note": "price of 2026-01-01"},
        }
        db.final.save_outside_views(1, [VIEW])
        db.final.save(1, [replace(NUMBERS, voices=voices)], [CURVE])
    return tmp_path / "d.db"


def test_every_step_is_shown_with_its_data(path, capsys):
    assert analysis.main(["--database", str(path), "--explain", "a"]) == 0
    assert capsys.readouterr().out.splitlines()[3:] == [
        "1. Models:",
        "     x: 50.0 %, 80 % range 50 to 50 %, captured 0.90",
        "     y: 70.0 %, 80 % range 70 to 70 %, captured 0.90",
        "2. Pool (mean):           60.0 %",
        "3. Market price:          30.0 %",
        "     of 2026-01-01, shown to the models; weight 0.80 beside the models' 1",
        "4. Base rate:             40.0 %",
        "     7 of 2 questions of the same form ended yes (350 %): will <name> win ?",
        "     shrunk towards 35.0 %, which counts as 5 questions; shown to the models; not a voice"
        " of the assisted pool",
        "       r1: yes on 2026-01-02: Will R one?",
        "       r2: open now: ",
        "5. Assisted:              45.0 %",
        "     mean in log-odds of 1.00 x 60.0 % and 0.80 x 30.0 %; default or configured weights",
        "     moved away from 50 %: 1.00 for equal voices",
        "6. Coherence:             44.0 %",
        "     negation (turned round): from 45.0 to 44.0 %, by a~not 57.0 %",
        "7. Calibration:           42.0 %",
        "     beta for market questions, from 2 resolved forecasts before 2026-01-05",
        "     Brier score on later forecasts 0.2000 without, 0.1900 with",
        "     used: a [1.0]",
        "8. Final:                 42.0 %",
        "     version 1 of the rule",
    ]


def test_relatives_beyond_the_tenth_are_in_the_json_only(path):
    names = [f"r{n}" for n in range(12)]
    with Database(path) as db:
        db.connection.sql.execute("UPDATE id_lists SET ids = ?", (json.dumps(names),))
        shown = explain(db, "a")
    text = "\n".join(shown.lines())
    assert "  r9: open now" in text
    assert "r10" not in text
    assert "  and 2 more (--json has all)" in text
    assert list(shown.document()["steps"][3]["relatives"]) == names


def test_the_forecasts_of_a_kind_and_of_all_kinds_are_told_apart(path):
    """The text gave the number of all kinds, the document that of the kind."""
    voices = {
        name: {"probability": 0.6, "weight": 1.0, "note": ""} for name in ("models", "market")
    }
    numbers = replace(NUMBERS, voices=voices, weights={**NUMBERS.weights, "sharpening": 0.8})
    with Database(path) as db:
        db.final.save(1, [numbers], [replace(CURVE, count=1)])
        steps = explain(db, "a")
    text = "\n".join(steps.lines())
    assert "from 1 of their kind among 2 resolved forecasts before" in text
    assert "moved towards 50 %: 0.80 for equal voices" in text


@pytest.mark.parametrize(
    ("relatives", "few"), [(("r1",), "1 month"), (("r1", "r2"), "so few months")]
)
def test_a_base_rate_held_near_one_half_says_why(path, relatives, few):
    """What is still open has no month."""
    with Database(path) as db:
        db.connection.sql.execute("UPDATE outside_views SET strength = 13")
        db.connection.sql.execute("UPDATE id_lists SET ids = ?", (json.dumps(relatives),))
        text = "\n".join(explain(db, "a").lines())
    line = f"held near 50 %: what ends in one month moves together; {few} cannot show such a share"
    assert line in text


def test_a_price_of_1_says_what_it_is_taken_as(path):
    voices = {
        "models": {"probability": 0.6, "weight": 1.0, "note": ""},
        "market": {"probability": 1.0, "weight": 0.8, "note": ""},
    }
    with Database(path) as db:
        db.final.save(1, [replace(NUMBERS, voices=voices, projections={})], [CURVE])
        text = "\n".join(explain(db, "a").lines())
    assert "0.80 x 100.0 %; default or configured weights" in text
    assert "each taken as 0.1 % at the least, 99.9 % at the most" in text
    assert "no negation or paraphrase was asked, and no deadline is out of order" in text


def test_a_curve_that_is_not_used_says_why_and_an_older_run_is_its_models(path):
    with Database(path) as db:
        bad: AppliedCalibration = replace(CURVE, used=False, reason="it lost on later forecasts")
        same = replace(NUMBERS, assisted=0.6, coherent=0.6, final=0.6, projections={})
        db.final.save(1, [same], [bad])
        text = "\n".join(explain(db, "will a").lines())
        assert "not used: it lost on later forecasts" in text
        assert "8. Final = models:        60.0 %" in text
        assert "3. Final = models:        20.0 %" in "\n".join(explain(db, "r1", "1").lines())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("b",), "no run asked 'b'; give an id or the whole question"),
        (("b", "1"), "run 1 did not ask 'b'"),
        (("a", "2"), "there is no run '2'; stored: 1"),
        (("a", "one"), "there is no run 'one'"),
    ],
)
def test_what_is_not_there_is_one_line(path, words, message):
    with Database(path) as db, pytest.raises(AnalysisError, match=message):
        explain(db, *words)
