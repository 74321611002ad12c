"""Question files: every kind that is read, and every way one can be wrong."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from questions.files import closed_note, question_from, read_question_file, unique_questions
from questions.question import (
    MAX_BACKGROUND_CHARACTERS,
    MAX_QUESTION_CHARACTERS,
    Question,
    QuestionError,
    cluster_of,
    folded,
    text_id,
)


def write(folder, name: str, content: str | bytes):
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def asked(path) -> list[Question]:
    return read_question_file(path).questions


# --- what is read ---------------------------------------------------------------------------------


def test_text_file_has_one_question_a_line_and_comments(tmp_path):
    path = write(
        tmp_path, "q.txt", "# my questions\nWill A happen?\n\n   Will   B happen? \n  # no\n"
    )
    assert [q.text for q in asked(path)] == ["Will A happen?", "Will B happen?"]


def test_the_id_is_the_start_of_the_texts_sha256_with_white_space_folded():
    expected = hashlib.sha256(b"Will A happen?").hexdigest()[:12]
    assert Question("  Will\tA \n happen? ").id == expected
    assert Question("Will A happen?", id=" mine ").id == "mine"


def test_csv_columns_become_fields_and_the_unknown_ones_extra(tmp_path):
    path = write(
        tmp_path,
        "q.csv",
        "id,question,background,resolution_criteria,close_date,as_of,outcome,cluster\n"
        'a1,Will A happen?,"Some, facts",Counts if,2027-01-31T12:00:00Z,2026-11-01,1,elections\n',
    )
    (q,) = asked(path)
    assert q == Question(
        "Will A happen?",
        "a1",
        "Some, facts",
        "Counts if",
        "2027-01-31",
        "2026-11-01",
        {"outcome": "1", "cluster": "elections"},
    )


def test_csv_keeps_line_breaks_inside_quotes_and_counts_lines_of_the_file(tmp_path):
    text = 'question,background\n"Will A\nhappen?","first\nsecond"\nWill B happen?,\n"",x\n'
    with pytest.raises(QuestionError, match=r"q\.csv, line 6: the question is empty"):
        asked(write(tmp_path, "q.csv", text))
    first, second = asked(write(tmp_path, "q.csv", text.rsplit('""', 1)[0]))
    assert first.text == "Will A happen?"
    assert first.background == "first\nsecond"
    assert second.text == "Will B happen?"


def test_jsonl_keeps_what_it_does_not_know(tmp_path):
    row = {"text": "Will A happen?", "id": 7, "close_date": None, "outcome": 0, "tags": ["x"]}
    (q,) = asked(write(tmp_path, "q.jsonl", "\n" + json.dumps(row) + "\n\n"))
    assert (q.id, q.text, q.close_date) == ("7", "Will A happen?", None)
    assert q.extra == {"outcome": 0, "tags": ["x"]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("q.txt", "Will A happen?\r\n"),
        ("q.csv", "question\r\nWill A happen?\r\n"),
        ("q.jsonl", '{"question": "Will A happen?"}\r\n'),
        ("Q.TXT", "Will A happen?"),
    ],
)
def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_the_question(
    tmp_path, name, content
):
    (q,) = asked(write(tmp_path, name, b"\xef\xbb\xbf" + content.encode()))
    assert q.text == "Will A happen?"


def test_line_separators_inside_a_question_do_not_split_it(tmp_path):
    (q,) = asked(
        write(
            tmp_path,
            "q.jsonl",
            '{"question": "Will A\u2028or B\x0chappen?"}'.replace("\x0c", "\\f"),
        )
    )
    assert q.text == "Will A or B happen?"


def test_exact_repeats_are_dropped_and_the_order_kept(tmp_path):
    path = write(tmp_path, "q.txt", "Will B happen?\nWill A happen?\nWill  B happen?\n")
    assert [q.text for q in asked(path)] == ["Will B happen?", "Will A happen?"]


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.txt", "", r"q\.txt: no question in it"),
        ("q.txt", "# only a comment\n\n", "no question in it"),
        ("q.txt", "ok?\n" + "x" * (MAX_QUESTION_CHARACTERS + 1), "line 2: the question has 2001 characters"),
        ("q.txt", b"fine?\nna\xefve?\n", "line 2: not UTF-8"),
        ("q.csv", "", "line 1: the file is empty"),
        ("q.csv", "frage\nWill A happen?\n", "line 1: no known heading; it has 'frage'"),
        ("q.csv", "question\n", "no question in it"),
        ("q.csv", "question,id\nok?,1\nA?,2,3\n", "line 3: the line has more columns than the header"),
        ("q.csv", "question,id\n,1\n", "line 2: the question is empty"),
        ("q.csv", 'question\n"ok?"\n"never closed\n', "line 3 or later: malformed CSV"),
        ("q.csv", 'question\nok?\n"a" b\n', "line 3 or later: malformed CSV"),
        ("q.csv", "question,close_date\nok?,2027-01-01\nA?,31.12.2027\n", "line 3: close_date is '31.12.2027'"),
        ("q.csv", "question,as_of\nA?,2027-13-01\n", "line 2: as_of is '2027-13-01'"),
        ("q.jsonl", '{"question": "ok?"}\n{"question": \n', r"line 2: not JSON"),
        ("q.jsonl", '{"question": "ok?", "x": NaN}\n', r"line 1: not JSON \(NaN is not a JSON value\)"),
        ("q.jsonl", "[1]\n", "line 1: expected a JSON object, got list"),
        ("q.jsonl", "\n" + "[" * 100_000 + "\n", "line 2: not JSON"),
        ("q.jsonl", '{"question": [3]}\n', r"line 1: question is \[3\], expected text"),
        ("q.jsonl", '{"id": 3}\n', "line 1: the question is empty"),
        ("q.jsonl", '{"question": "A?", "background": ["x"]}\n', "line 1: background is .*, expected text"),
        ("q.jsonl", json.dumps({"question": "A?", "background": "x" * (MAX_BACKGROUND_CHARACTERS + 1)}), "line 1: background"),
        ("q.csv", "question,id\nA?,1\nB?,1\n", r"line 3: id '1' stands for two questions: text is 'A\?' in line 2 and 'B\?' here; give each an id"),
        ("q.xlsx", "A?", r"unknown kind of file; allowed: \.txt, \.csv, \.tsv, \.jsonl, \.json"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_its_name_and_line(tmp_path, name, content, message):
    with pytest.raises(QuestionError, match=message) as caught:
        asked(write(tmp_path, name, content))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(QuestionError, match="cannot be read"):
        asked(tmp_path / "none.txt")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(QuestionError, match="cannot be read"):
        asked(tmp_path / "folder.csv")


@pytest.mark.parametrize("text", ["", " \t\n"])
def test_an_empty_question_is_refused(text):
    with pytest.raises(QuestionError, match="empty"):
        Question(text)


def test_texts_may_be_as_long_as_the_limits():
    text, facts = "x" * MAX_QUESTION_CHARACTERS, "x" * MAX_BACKGROUND_CHARACTERS
    assert Question(text, background=facts, resolution_criteria=facts).text == text
    with pytest.raises(QuestionError, match="at most 2000"):
        Question(text + "x")
    for name in ("background", "resolution_criteria"):
        with pytest.raises(QuestionError, match=f"^{name} has more than 20000"):
            Question("A?", **{name: facts + "x"})


@pytest.mark.parametrize("name", ["text", "id", "background", "resolution_criteria", "close_date"])
def test_half_a_character_is_refused_in_every_text(name):
    with pytest.raises(QuestionError, match=f"^{name} holds half a character"):
        Question(**{"text": "A?", name: "x\udfff"})


def test_every_text_is_kept_in_composed_form():
    accent, composed = "e\u0301", "\u00e9"
    names = ("text", "id", "background", "resolution_criteria", "subject")
    question = Question(**dict.fromkeys(names, accent))
    assert [getattr(question, name) for name in names] == [composed] * 5
    assert Question(accent).id == text_id(composed)


def test_a_wording_is_folded_and_its_letters_are_not_confused():
    assert folded("  Will  STRASSE be\tclosed ?!") == folded("will straße be closed")
    assert folded("Ilıca?") != folded("Ilica?")
    assert folded("A.B?") == "a.b"


def test_what_has_no_width_belongs_to_no_wording_and_to_no_end_of_a_text():
    assert folded("Will\u200b A\u200e happen?") == folded("Will A happen?")
    assert folded("Ünder\u200b?") == "ünder"
    assert Question("\ufeff Will A happen?\u200b").text == "Will A happen?"
    assert Question("\u200bWill \u200eA\u200e happen?").text == "Will \u200eA\u200e happen?"


def test_fine_print_stands_below_the_criteria():
    assert question_from({"question": "A?", "fine_print": " F\n"}).resolution_criteria == "F"
    row = {
        "question": "A?",
        "fine_print": "F",
        "resolution_criteria": "C",
        "id": 5,
        "close_date": None,
        "x": 1,
    }
    question = question_from(row)
    assert (question.resolution_criteria, question.id, question.extra) == ("C\n\nF", "5", {"x": 1})
    for wrong in (True, 0.5, ["x"]):
        with pytest.raises(QuestionError, match=r"^background is .*, expected text"):
            question_from({"question": "A?", "background": wrong})


def test_a_question_is_closed_after_its_day_and_as_seen_from_the_day_it_is_asked_from():
    first, second = (
        Question("A?", id="a", close_date="2026-01-01"),
        Question("B?", id="b", close_date="2026-01-02"),
    )
    past = Question("C?", id="c", close_date="2026-01-01", as_of="2025-12-31")
    note = "1 question with a close_date in the past: 'a' (2026-01-01)"
    assert closed_note([first, second, past, Question("D?")], "2026-01-02") == note
    assert closed_note([first, second], "2026-01-03").startswith("2 questions with")
    assert closed_note([second, past], "2026-01-01") == ""


def test_two_questions_of_a_list_under_one_id_are_refused_with_its_name():
    with pytest.raises(QuestionError, match=r"^list: question 2: id 'x' stands for two questions"):
        unique_questions([Question("A?", id="x"), Question("B?", id="x")], "list")
    reading = unique_questions([Question("A?"), Question("B?"), Question("A?")], "list")
    assert [question.text for question in reading.questions] == ["A?", "B?"]
    assert reading.notes == ["list: 1 exact repeat dropped: question 3"]


def rows_of(tmp_path, header: str, *lines: str) -> list[Question]:
    return asked(write(tmp_path, "q.csv", "\n".join([header, *lines]) + "\n"))


def test_forecasts_from_two_days_may_differ_in_what_was_known_and_not_in_when_it_closes(tmp_path):
    header = "id,question,as_of,close_date,background,resolution_criteria"
    first, second = rows_of(
        tmp_path, header, "a,A?,2025-01-01,2025-05-01,little,C", "a,A?,2025-02-01,2025-05-01,much,D"
    )
    assert (first.id, second.id, first.subject, second.subject) == (
        "a@2025-01-01",
        "a@2025-02-01",
        "a",
        "a",
    )
    assert (first.background, second.background) == ("little", "much")
    with pytest.raises(
        QuestionError, match="line 3: id 'a' stands for two questions: close_date is"
    ):
        rows_of(tmp_path, header, "a,A?,2025-01-01,2025-05-01,,", "a,A?,2025-02-01,2025-06-01,,")
    with pytest.raises(
        QuestionError, match="line 3: id 'a' stands for two questions: background is"
    ):
        rows_of(tmp_path, header, "a,A?,2025-01-01,,little,", "a,A?,2025-01-01,,much,")


def test_one_question_with_two_answers_is_told_before_anything_else(tmp_path):
    header = "id,question,as_of,close_date,outcome,resolution_date"
    first = "a,A?,2025-01-01,2025-05-01,1,2025-05-02"
    for second, column in (
        ("a,A?,2025-02-01,2025-06-01,0,2025-05-02", "outcome"),
        ("a,A?,2025-02-01,2025-06-01,1,2025-05-03", "resolution_date"),
    ):
        with pytest.raises(QuestionError, match=f"line 3: 'a' has another {column} in line 2"):
            rows_of(tmp_path, header, first, second)
    known_once = rows_of(tmp_path, header, first, "a,A?,2025-02-01,2025-05-01,,")
    assert [question.id for question in known_once] == ["a@2025-01-01", "a@2025-02-01"]
    same = rows_of(tmp_path, header, first, "a,A?,2025-02-01,2025-05-01,yes,2025-05-02T00:00:00Z")
    assert [question.id for question in same] == ["a@2025-01-01", "a@2025-02-01"]


def test_resolution_dates_of_a_series_are_questions_of_their_own(tmp_path):
    header = "id,question,source,resolution_date"
    lines = ("s,Will the rate rise?,FRED,2025-01-01", "s,Will the rate rise?,fred,2025-02-01")
    first, second = rows_of(tmp_path, header, *lines)
    assert (first.id, first.subject, first.extra["cluster"]) == (
        "s@2025-01-01",
        "s@2025-01-01",
        "s",
    )
    assert (second.id, second.subject) == ("s@2025-02-01", "s@2025-02-01")
    with pytest.raises(QuestionError, match="line 3"):
        rows_of(tmp_path, header, lines[0], lines[1].replace("fred", "somewhere"))


def test_an_id_that_equals_a_derived_one_is_refused(tmp_path):
    lines = ("a,A?,2025-01-01", "a,A?,2025-02-01", "a@2025-01-01,B?,")
    with pytest.raises(QuestionError, match="line 4: id 'a@2025-01-01' is also that of line 2"):
        rows_of(tmp_path, "id,question,as_of", *lines)


def test_a_question_without_an_id_is_called_by_its_text(tmp_path):
    with pytest.raises(
        QuestionError, match=r"line 3: 'Will A\?' stands for two questions: close_date"
    ):
        rows_of(tmp_path, "question,close_date", "Will A?,2030-01-01", "Will A?,2031-01-01")
    assert text_id("Will  A?") == text_id("Will A?")


# --- anything at all ------------------------------------------------------------------------------

fragments = st.sampled_from(
    ["question", "text", "id", "close_date", ",", '"', "\n", "\r", "\r\n", "{", "}", ":", "[", "null", "\0", "\ufeff", "1e999"]
)  # fmt: skip
contents = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=100).map(lambda t: t.encode("utf-8", "surrogatepass")),
    st.lists(st.one_of(fragments, st.text(max_size=5)), max_size=30).map(lambda parts: "".join(parts).encode("utf-8", "replace")),
    st.dictionaries(
        st.sampled_from(["question", "text", "id", "as_of", "background", "x"]),
        st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=3),
    ).map(lambda d: json.dumps(d).encode()),
)  # fmt: skip


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from([".txt", ".csv", ".jsonl"]), contents)
def test_no_file_raises_anything_but_a_question_error(tmp_path, suffix, content):
    path = tmp_path / f"fuzz{suffix}"
    path.write_bytes(content)
    try:
        questions = asked(path)
    except QuestionError:
        return
    assert questions
    assert all(q.text.strip() and q.id for q in questions)
    assert len({q.id for q in questions}) == len(questions)


def test_a_subject_is_the_id_unless_given_and_never_a_column(tmp_path):
    assert Question("Will it rain?", id="rain").subject == "rain"
    assert Question("Will it rain?", id="rain@2025-01-06", subject="rain").subject == "rain"
    file = tmp_path / "q.csv"
    file.write_text("question,id,subject\nWill it rain?,rain,weather\n", encoding="utf-8")
    (question,) = asked(file)
    assert (question.subject, question.extra) == ("rain", {"subject": "weather"})


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        (0, "0"),
        ("0", "0"),
        (" oil ", "oil"),
        ("oil\u200b", "oil"),
        ("", "q"),
        (None, "q"),
        ("N/A", "q"),
    ],
)
def test_a_cluster_is_its_text_or_the_question_alone(cluster, expected):
    assert cluster_of({"cluster": cluster}, "q") == expected
    assert cluster_of({}, "q") == "q"
