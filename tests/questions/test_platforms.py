"""Files of forecasting platforms as questions: each row is read as its platform means it, or left out by name."""

from __future__ import annotations

import json
import logging

import pytest

import forecaster
from questions.files import read_question_file
from questions.question import QuestionError
from tests.support.stub_cli import stub_main

SERIES = {
    "id": "DGS10",
    "source": "fred",
    "question": "Will the yield have increased by {resolution_date} as compared to its value on {forecast_due_date}?",
    "resolution_criteria": "Resolves to the value published on {resolution_date}.",
    "background": "N/A",
    "market_info_open_datetime": "N/A",
    "market_info_close_datetime": "N/A",
    "market_info_resolution_criteria": "N/A",
    "freeze_datetime": "2026-01-25T00:00:00+00:00",
    "freeze_datetime_value": "4.4",
    "freeze_datetime_value_explanation": "The latest value.",
    "source_intro": "FRED provides data.",
    "url": "https://example.org",
    "resolution_dates": ["2027-02-10", "2028-02-10"],
}
MARKET = {
    **SERIES,
    "id": "8670",
    "source": "metaculus",
    "question": "Will it happen?",
    "resolution_criteria": "Resolves to the outcome of the question found at https://example.org.",
    "market_info_close_datetime": "2029-12-31T17:00:00+00:00",
    "market_info_resolution_criteria": "Yes if $f(x) = {n(1+o(1))}$.",
    "freeze_datetime_value": "0.95",
    "resolution_dates": "N/A",
}


def question_set(*rows, **head) -> str:
    return json.dumps(
        {"forecast_due_date": "2026-02-01", "question_set": "s", **head, "questions": rows},
        indent=1,
    )


@pytest.fixture
def read(tmp_path):
    def run(content, name="q.json"):
        path = tmp_path / name
        path.write_text(
            content if isinstance(content, str) else json.dumps(content), encoding="utf-8"
        )
        reading = read_question_file(path)
        return reading.questions, [note.replace(str(path), name) for note in reading.notes]

    return run


def test_a_question_set_of_forecastbench(read):
    questions, notes = read(question_set(SERIES, MARKET))
    assert notes == []
    assert [(q.id, q.subject, q.close_date, q.text) for q in questions] == [
        (f"DGS10@{day}", f"DGS10@{day}", day,
         f"Will the yield have increased by {day} as compared to its value on 2026-02-01?")
        for day in SERIES["resolution_dates"]
    ] + [("8670", "8670", "2029-12-31", "Will it happen?")]  # fmt: skip
    first, _, market = questions
    assert first.resolution_criteria == "Resolves to the value published on 2027-02-10."
    assert first.background == ""
    assert first.extra["cluster"] == "DGS10"
    assert "baseline_crowd" not in first.extra
    assert market.resolution_criteria == "Yes if $f(x) = {n(1+o(1))}$."
    assert (market.extra["baseline_crowd"], market.extra["freeze_date"]) == (0.95, "2026-01-25")
    assert "cluster" not in market.extra


def test_flattened_rows_are_filled_from_their_own_columns(read):
    row = {key: value for key, value in SERIES.items() if key != "resolution_dates"}
    rows = [
        {**row, "resolution_date": day, "forecast_due_date": "2026-02-01"}
        for day in SERIES["resolution_dates"]
    ]
    questions, _ = read("\n".join(map(json.dumps, rows)), "q.jsonl")
    assert [(q.id, q.text.split()[6]) for q in questions] == [
        (f"DGS10@{day}", day) for day in SERIES["resolution_dates"]
    ]


def test_series_whose_texts_are_filled_already_have_an_id_for_each_date(read):
    rows = [
        {
            "id": "WIDG",
            "source": "yfinance",
            "question": f"Higher by {day}?",
            "resolution_date": day,
        }
        for day in ("2027-01-10", "2027-09-10")
    ]
    questions, _ = read(rows)
    assert [(q.id, q.extra["cluster"]) for q in questions] == [
        ("WIDG@2027-01-10", "WIDG"),
        ("WIDG@2027-09-10", "WIDG"),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**SERIES, "forecast_due_date": None}, r"line 2: the question holds \{forecast_due_date\}, and the row has no forecast_due_date"),
        ({**SERIES, "resolution_dates": "N/A", "forecast_due_date": "2026-02-01"}, r"line 2: the question holds \{resolution_date\}, and the row has no"),
        ({**SERIES, "resolution_dates": "soon", "forecast_due_date": "2026-02-01"}, "line 2: resolution_dates is 'soon', expected a list of dates"),
        ({**SERIES, "resolution_dates": ["soon"], "forecast_due_date": "2026-02-01"}, "line 2: resolution_dates is 'soon', expected a date like"),
        ({"id": "S", "question": "Will A?", "resolution_dates": [None, "2027-01-01"]}, "line 2: resolution_dates holds None, expected dates like"),
        ({"id": "S", "question": "Will A?", "resolution_dates": ["2027-01-01", "N/A"]}, "line 2: resolution_dates holds 'N/A', expected dates like"),
        ({"question": "Will it pass {threshold_value}?"}, r"line 2: the question holds \{threshold_value\}, and the row has no threshold_value"),
    ],
)  # fmt: skip
def test_a_placeholder_without_a_value_is_refused(read, row, message):
    with pytest.raises(QuestionError, match=message):
        read(json.dumps({"question": "Will A?"}) + "\n" + json.dumps(row), "q.jsonl")


def test_a_placeholder_is_filled_from_any_column(read):
    (question,), _ = read(
        "question,threshold value\nWill it pass { threshold_value }?,12\n", "q.csv"
    )
    assert question.text == "Will it pass 12?"


YES_NO = [
    ({"id": 38880, "title": "Post", "question": {"id": 38195, "title": "Will A?", "type": "binary", "description": "bg",
      "resolution_criteria": "rc", "fine_print": "fp", "scheduled_close_time": "2027-12-31T00:00:00Z", "status": "open"}},
     ("38195", "Will A?", "bg", "rc\n\nfp", "2027-12-31")),
    ({"id": 38880, "title": "Will A?", "question": {"id": 38195, "type": "binary"}}, ("38195", "Will A?", "", "", None)),
    ({"id": "m", "question": "Will A?", "description": {"type": "doc"}, "textDescription": "bg", "outcomeType": "BINARY",
      "closeTime": 1798675200000, "isResolved": False, "probability": 0.3, "creatorName": "u"}, ("m", "Will A?", "bg", "", "2026-12-31")),
    ({"id": "77", "conditionId": "0x1", "questionID": "0x9", "question": "Will A?", "description": "rules", "endDate": "2027-01-01T12:00:00Z",
      "endDateIso": "2027-01-01", "outcomes": '["No", "Yes"]', "outcomePrices": '["0.2", "0.8"]'}, ("77", "Will A?", "", "rules", "2027-01-01")),
    ({"conditionId": "0x1", "question": "Will A?", "outcomes": '["Yes", "No"]'}, ("0x1", "Will A?", "", "", None)),
    ({"id": 9, "name": "Will A?", "description": "bg", "type": "Forecast::YesNoQuestion", "ends_at": "2027-01-01T00:00:00Z",
      "answers": [{"name": "Yes", "probability": 0.3, "predictions_count": 4}, {"name": "No", "probability": 0.7}]},
     ("9", "Will A?", "bg", "", "2027-01-01")),
    ({"condition_id": "0x1", "question": "Will A?", "description": "rules", "end_date_iso": "2027-01-01T00:00:00Z", "closed": False,
      "tokens": [{"outcome": "Yes", "price": 0.4, "winner": False}, {"outcome": "No", "price": 0.6, "winner": False}]},
     ("0x1", "Will A?", "", "rules", "2027-01-01")),
    ({"task_id": "t", "title": "Will A?", "outcomes": ["Yes", "No"], "predict_by": "2027-01-01T00:00:00Z", "source": "k", "context": "bg"},
     ("t", "Will A?", "bg", "", "2027-01-01")),
]  # fmt: skip


@pytest.mark.parametrize(("row", "expected"), YES_NO)
@pytest.mark.parametrize("container", ["questions", "results", "jsonl", "list"])
def test_yes_no_questions_of_platforms(read, row, expected, container):
    if container == "jsonl":
        (question,), notes = read(json.dumps(row), "q.jsonl")
    else:
        (question,), notes = read([row] if container == "list" else {"count": 1, container: [row]})
    assert (
        question.id,
        question.text,
        question.background,
        question.resolution_criteria,
        question.close_date,
    ) == expected
    assert notes == []


OTHER_KINDS = [
    ({"id": "m", "question": "Who?", "outcomeType": "MULTIPLE_CHOICE"}, "'m' (MULTIPLE_CHOICE)"),
    ({"id": "m", "question": "How many?", "outcomeType": "PSEUDO_NUMERIC"}, "'m' (PSEUDO_NUMERIC)"),
    ({"id": 1, "title": "How many?", "question": {"id": 2, "type": "numeric"}}, "2 (numeric)"),
    ({"id": 1, "title": "Group", "group_of_questions": {"questions": []}}, "'Group' (group of questions)"),
    ({"id": 1, "title": "If", "conditional": {"condition": {}}}, "'If' (conditional)"),
    ({"id": 3, "title": "When?", "type": "date", "resolution_criteria": "x"}, "3 (date)"),
    ({"Question ID": 3, "Question Title": "Which?", "Question Type": "multiple_choice"}, "3 (multiple_choice)"),
    ({"id": "7", "question": "A vs B", "outcomes": '["A", "B"]', "endDate": "2027-01-01"}, "'7' (its outcomes are 'A', 'B')"),
    ({"id": 9, "name": "Who?", "type": "Forecast::Question", "answers": [{"name": "A"}, {"name": "B"}]}, "9 (its answers are 'a', 'b')"),
    ({"task_id": "t", "title": "Who?", "outcomes": ["A", "B"], "predict_by": "2027-01-01"}, "'t' (its outcomes are 'A', 'B')"),
    ({"condition_id": "0x1", "question": "A vs B", "tokens": [{"outcome": "A"}, {"outcome": "B"}]}, "'0x1' (its outcomes are 'A', 'B')"),
    ({"id": 9, "name": "Who?", "answers": "[{'name': 'A'}, {'name': 'B'}]"}, "9 (its answers are 'a', 'b')"),
    ({"ticker": "K", "title": "How high?", "market_type": "scalar", "close_time": "2027-01-01T00:00:00Z"}, "'How high?' (scalar)"),
    ({"id": ["A", "B"], "source": "fred", "question": "Both?", "combination_of": [{"id": "A"}]}, "['A', 'B'] (a combination of questions)"),
    ({"id": "A_B", "source": "fred", "question": "Both?", "combination_of": [{"id": "A"}]}, "'A_B' (a combination of questions)"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "name"), OTHER_KINDS)
def test_other_kinds_are_left_out_by_name(read, row, name):
    (question,), (note,) = read([{"question": "Will A?"}, row])
    assert question.text == "Will A?"
    assert note == f"q.json: 1 left out, not yes/no questions: line 1, entry 2: {name}"
    with pytest.raises(
        QuestionError, match="no question in it; 1 left out, not yes/no questions: line 1: "
    ):
        read(json.dumps(row), "q.jsonl")


def test_the_question_set_runs_and_what_is_left_out_is_logged(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setattr(forecaster, "draw", lambda *_: True)
    path = tmp_path / "set.json"
    path.write_text(question_set(SERIES, MARKET, {**MARKET, "id": ["a", "b"]}), encoding="utf-8")
    words = ["--database", str(tmp_path / "run.db"), "--models", "stub-a", "--no-retrieval"]
    with caplog.at_level(logging.WARNING):
        assert stub_main(["--questions", str(path), *words], today="2026-02-01") == 0
    assert (
        f"{path}: 1 left out, not yes/no questions: line 40: ['a', 'b'] (a combination of questions)"
        in caplog.text
    )


@pytest.mark.parametrize("time", [1798675200, 10**30, "1798675200"])
def test_times_of_manifold_are_milliseconds(read, time):
    row = {"id": "m", "question": "Will A?", "outcomeType": "BINARY", "closeTime": time}
    with pytest.raises(
        QuestionError,
        match=f"line 1: closeTime is {time}, expected milliseconds since 1970 or a date",
    ):
        read(json.dumps(row), "q.jsonl")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"question": "Who?", "endDate": "2099-01-01", "outcomes": "['A', 'B']"}, "its outcomes are 'A', 'B'"),
        ({"question": "Who?", "options": "Alice|Bob"}, "its options are 'Alice', 'Bob'"),
        ({"question": "Who?", "options": "Alice; Bob; Eve"}, "its options are 'Alice', ' Bob', ' Eve'"),
        ({"title": "How many?", "possibilities": {"type": "continuous"}}, "continuous"),
        ({"question": "Who?", "outcomes": {"Alice": 0.4, "Bob": 0.6}}, "its outcomes are 'Alice', 'Bob'"),
        ({"question": "Who?", "options": [{"name": "Alice"}, {"label": "Bob"}]}, "its options are 'Alice', 'Bob'"),
        ({"question": "Who?", "choices": ["Alice", "Bob"]}, "its choices are 'Alice', 'Bob'"),
        ({"question": "Who?", "answers": [{"text": "Alice"}, {"text": "Bob"}]}, "its answers are 'Alice', 'Bob'"),
        ({"question": "Who?", "type": "Categorical"}, "Categorical"),
        ({"question": "Who?", "type": "multi-choice"}, "multi-choice"),
        ({"question": "How many?", "type": "numerical"}, "numerical"),
        ({"title": "Fed decision?", "markets": [{"question": "Cut?"}, {"question": "Rise?"}]}, "a group of 2 markets"),
    ],
)  # fmt: skip
def test_kinds_that_are_told_by_their_answers_are_left_out(read, row, reason):
    questions, notes = read([row, {"question": "Will A?", "options": "Yes / No"}])
    assert [q.text for q in questions] == ["Will A?"]
    assert "1 left out, not yes/no questions: " in notes[-1]
    assert reason in notes[-1]


@pytest.mark.parametrize("outcomes", [{"Yes": 0.4, "No": 0.6}, [{"name": "no"}, {"name": "YES"}]])
def test_answers_that_are_yes_and_no_are_a_yes_no_question(read, outcomes):
    assert len(read([{"question": "Will A?", "outcomes": outcomes, "type": "geopolitics"}])[0]) == 1


def test_an_object_is_a_question_of_metaculus_by_its_own_columns_alone(read):
    own = {"id": "x", "question": {"title": "Will A?"}, "close_date": "2027-01-01"}
    with pytest.raises(
        QuestionError, match=r"line 1: question is \{'title': 'Will A\?'\}, expected"
    ):
        read([own])
    post = {"id": 1, "title": "Post", "status": "open", "question": {"id": 2, "title": "Will A?"}}
    added = {"as_of": "2026-01-01", "cluster": "k", "reference_class": "c", "Crowd": 0.4}
    (question,), _ = read([{**post, **added}])
    assert (question.id, question.as_of) == ("2", "2026-01-01")
    assert question.extra == {"cluster": "k", "reference_class": "c", "crowd": 0.4}


def test_an_end_date_is_no_sign_of_polymarket(read):
    row = {
        "question": "Will A?",
        "description": "bg",
        "End date": "2027-01-01",
        "outcomes": "Yes/No",
    }
    (question,), _ = read([row])
    assert (question.background, question.resolution_criteria) == ("bg", "")


def test_the_source_of_a_market_is_told_without_white_space(read):
    (question,), _ = read(question_set({**MARKET, "source": "Metaculus "}))
    assert question.extra["baseline_crowd"] == 0.95


def test_lists_as_python_writes_them_are_lists(read):
    (first, second), _ = read(
        question_set({**SERIES, "resolution_dates": "['2027-02-10', '2028-02-10']"})
    )
    assert (first.id, second.id) == ("DGS10@2027-02-10", "DGS10@2028-02-10")
    with pytest.raises(QuestionError, match="resolution_dates is"):
        read(question_set({**SERIES, "resolution_dates": "[__import__('os').getcwd()]"}))
