"""Backtests: what is read, what a model sees of it, and what a run says about leaks."""

from __future__ import annotations

import json

import numpy as np
import pytest

from database import Database
from evaluation.backtest import (
    leak_warnings,
    may_know,
    question_warnings,
    read_backtest,
    record_outcomes,
    sample,
    score_run,
)
from questions.question import QuestionError
from scoring.distribution import Distribution
from scoring.prompts import forecast_messages
from storage.new_records import EnsembleRecord, ForecastRecord
from tests.support.record_database import recorded_outcomes

ROW = {
    "id": "market:1:2025-10-26",
    "source": "SENTINEL-source",
    "source_type": "market",
    "question": "Will the ferry sail?",
    "background": "It sails in summer.",
    "resolution_criteria": "A timetable shows it.",
    "freeze_date": "2025-10-16",
    "forecast_due_date": "2025-10-26",
    "close_date": "2026-01-01",
    "resolution_date": "2025-12-24",
    "outcome": 1,
    "baseline_crowd": 0.123456,
    "crowd_at_due": 0.654321,
    "superforecaster_median": 0.777,
    "cluster": "SENTINEL-cluster",
    "split": "SENTINEL-split",
    "url": "https://SENTINEL-url",
}


def write(tmp_path, rows, name="b.jsonl"):
    path = tmp_path / name
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_every_question_has_its_own_as_of(tmp_path):
    rows = [
        ROW,
        {**ROW, "id": "b", "as_of": "2025-09-01"},
        {**ROW, "id": "c", "forecast_due_date": None},
    ]
    assert [q.as_of for q in read_backtest(write(tmp_path, rows)).questions] == [
        "2025-10-26",
        "2025-09-01",
        "2025-10-16",
    ]


def test_the_prompt_holds_no_answer_and_no_price(tmp_path):
    (question,) = read_backtest(write(tmp_path, [ROW])).questions
    prompt = json.dumps(forecast_messages(question, today=question.as_of))
    assert "Will the ferry sail?" in prompt
    assert "2026-01-01" in prompt  # the scheduled end was known then
    for hidden in (
        "SENTINEL",
        "2025-12-24",
        "outcome",
        "resolution_date",
        "0.123456",
        "0.654321",
        "0.777",
        "market:1",
    ):
        assert hidden not in prompt
    # Turning the answer over changes nothing that the model sees.
    turned = {
        **ROW,
        "outcome": 0,
        "resolution_date": "2025-11-11",
        "baseline_crowd": 0.9,
        "url": "x",
    }
    (other,) = read_backtest(write(tmp_path, [turned])).questions
    assert json.dumps(forecast_messages(other, today=other.as_of)) == prompt


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"outcome": 0.5}, "line 2: outcome is 0.5"),
        ({"resolution_date": None}, "line 2: resolution_date is missing"),
        ({"resolution_date": "soon"}, "line 2: resolution_date is 'soon'"),
        ({"forecast_due_date": "", "freeze_date": ""}, "line 2: no day to forecast from"),
        ({"forecast_due_date": "tomorrow"}, "line 2: forecast_due_date is 'tomorrow'"),
    ],
)
def test_bad_lines_are_named(tmp_path, change, words):
    with pytest.raises(QuestionError, match=words):
        read_backtest(write(tmp_path, [ROW, {**ROW, "id": "z", **change}]))


def test_what_ended_neither_yes_nor_no_is_skipped_by_name(tmp_path):
    changes = ({}, {"outcome": "N/A"}, {"outcome": "mkt"}, {"outcome": "void"}, {"outcome": ""})
    rows = [{**ROW, "id": f"q{n}", **change} for n, change in enumerate(changes)]
    reading = read_backtest(write(tmp_path, rows))
    assert [question.id for question in reading.questions] == ["q0"]
    path = tmp_path / "b.jsonl"
    assert reading.notes[-3:] == [
        f"{path}: 2 questions skipped (void): 'q1', 'q3'",
        f"{path}: 1 question skipped (MKT: resolved to a price): 'q2'",
        f"{path}: 1 open question skipped (no outcome yet): 'q4'",
    ]
    with pytest.raises(QuestionError, match="needs outcomes; no row has one"):
        read_backtest(write(tmp_path, rows[1:]))


def test_a_list_without_outcomes_is_refused(tmp_path):
    path = tmp_path / "q.txt"
    path.write_text("Will it rain?\n")
    with pytest.raises(QuestionError, match="needs outcomes"):
        read_backtest(path)


def test_csv_backtest(tmp_path):
    path = tmp_path / "b.csv"
    path.write_text(
        "question,outcome,resolution_date,as_of\nWill it rain?,no,2025-02-03,2025-01-01\n"
    )
    (question,) = read_backtest(path).questions
    assert question.as_of == "2025-01-01"
    assert question.extra == {"outcome": "no", "resolution_date": "2025-02-03"}


def test_sample_is_seeded_and_keeps_order(tmp_path):
    questions = read_backtest(
        write(tmp_path, [{**ROW, "id": f"q{n:02d}"} for n in range(30)])
    ).questions
    drawn = sample(questions, 7, seed=4)
    assert drawn == sample(questions, 7, seed=4)
    assert [q.id for q in drawn] == sorted(q.id for q in drawn)
    assert len(sample(questions, 99, seed=1)) == 30


def test_leak_warnings(tmp_path):
    questions = read_backtest(
        write(tmp_path, [ROW, {**ROW, "id": "old", "as_of": "2024-06-30"}])
    ).questions
    lines = leak_warnings(
        {"phi": "microsoft/phi-4", "mine": "x/y", "llama": "meta-llama/Llama-3.1-8B"}, questions
    )
    assert len(lines) == 2  # Llama's training ends before both
    assert lines[0].startswith("phi: 1 of 2 questions")
    assert "stated cut-off 2024-06-30" in lines[0]
    assert lines[1].startswith("mine: no training cut-off is known of x/y")
    assert may_know("phi", "microsoft/phi-4", "2024-06-30")
    assert not may_know("phi", "microsoft/phi-4", "2024-07-01")


def test_question_warnings(tmp_path):
    early = {**ROW, "id": "e", "resolution_date": "2025-10-26"}
    lines = question_warnings(
        read_backtest(write(tmp_path, [ROW, early, {**ROW, "id": "n", "outcome": 0}])).questions
    )
    assert lines[0].startswith("1 questions were resolved on or before")
    # In UTC it is the next day, and the forecast counts.
    evening = {**early, "resolution_date": "2025-10-26T23:00:00-05:00"}
    later = question_warnings(read_backtest(write(tmp_path, [evening])).questions)
    assert not any("resolved on or before" in line for line in later)
    assert "3 questions form 1 clusters" in lines[1]
    assert lines[2].startswith("67 % of them ended yes")


def test_a_backtest_is_scored_beside_its_crowd(tmp_path):
    rows = [
        {
            **ROW,
            "id": f"q{n}",
            "cluster": f"c{n}",
            "outcome": n % 2,
            "baseline_crowd": 0.8 if n % 2 else 0.2,
        }
        for n in range(6)
    ]
    questions = read_backtest(write(tmp_path, rows)).questions
    p = np.zeros(101)
    p[90], p[70] = 0.5, 0.5
    d = Distribution(p)
    with Database(tmp_path / "d.db") as database:
        run = database.runs.start(settings={}, versions={}, seed=1, as_of=None, questions=questions)
        for q in questions:
            database.forecasts.save(
                run,
                ForecastRecord(
                    q.id,
                    "phi-4",
                    "microsoft/phi-4",
                    distribution=d,
                    captured_mass=1,
                    residual_mass=0,
                ),
            )
            database.forecasts.save_ensemble(
                run, EnsembleRecord(q.id, "mean", d, 1, 1, 1, 1, 0, False)
            )
        for _ in range(2):
            assert record_outcomes(database, questions, "b.jsonl") == []
            assert [len(recorded_outcomes(database, q.id)) for q in questions] == [1] * 6
        lines = score_run(database, run)
    text = "\n".join(lines)
    # p = 0.8 on three yes (0.04) and three no (0.64): 0.34. The crowd: 0.04 everywhere.
    ensemble = next(line for line in lines if line.startswith("ensemble"))
    assert ensemble.split()[1:4] == ["6", "6", "0.3400"]
    crowd = next(line for line in lines if line.startswith("crowd at freeze"))
    assert crowd.split()[3:6] == ["6", "0.0400", "0.3400"]
    assert "always 50 %" in text
    assert "base rate" in text
    after = text.split("training cut-off")[1]
    assert "0.3400" in after  # phi-4 ends in June 2024, before October 2025
