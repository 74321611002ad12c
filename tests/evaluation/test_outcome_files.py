"""Files of outcomes on the command line: how they name a question, what contradicts, what is left out."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import unicodedata

import pytest

import analysis
from database import Database
from evaluation import resolving
from questions.checks import coherence_questions
from questions.question import Question
from tests.support.record_database import add_run, around

QUESTIONS = [
    Question("Will the bank raise rates?", id="AbC"),
    Question("Will the bank cut rates?", id="abc"),
    Question("Will B happen?", id="=cmd"),
    Question("Will São Tomé hold an election before 2027?"),
    Question("Will DGS10 rise by 2026-02-03?", id="DGS10@2026-02-03"),
    Question("Will DGS10 rise by 2026-03-05?", id="DGS10@2026-03-05"),
    Question("Will the ferry sail?", id="ferry@2025-06-01", subject="ferry", as_of="2025-06-01"),
    Question("Will the ferry sail?", id="ferry@2025-07-01", subject="ferry", as_of="2025-07-01"),
    Question("Will M happen?", id="0xabc"),
]
SAO_TOME = QUESTIONS[3].id


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "record.db"
    with Database(path) as db:
        add_run(db, QUESTIONS, {"one": [around(30)] * len(QUESTIONS)}, made="2026-01-05T10:00:00Z")
    return path


@pytest.fixture
def resolve(tmp_path, database, capsys):
    """Record a file of outcomes; returns the exit code, what was printed, and all outcomes by id."""

    def run(name, content):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        code = analysis.main(["--database", str(database), "--resolve", str(path)])
        said = capsys.readouterr()
        with contextlib.closing(sqlite3.connect(database)) as connection:
            rows = connection.execute(
                "SELECT question_id, outcome, resolved_at FROM resolutions"
            ).fetchall()
        if code == 2:
            assert rows == []
            assert len(said.err.splitlines()) == 1
        return (
            code,
            (said.out + said.err).replace(str(path), name),
            {row[0]: row[1:] for row in rows},
        )

    return run


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,question,outcome,date\nAbC,,yes,2026-02-20\n,Will the bank raise rates?,no,2026-02-20\n",
         "r.csv, line 3: 'Will the bank raise rates?' has another outcome in line 2 (both are AbC)"),
        ("id,question,outcome,date\nAbC,,yes,2026-02-20\n,Will the bank raise rates,yes,2026-02-21\n",
         "r.csv, line 3: 'Will the bank raise rates' has another date in line 2 (both are AbC): 2026-02-20 there, 2026-02-21 here"),
        ("id,outcome,date\nferry@2025-06-01,yes,2026-02-20\nferry@2025-07-01,no,2026-02-20\n",
         "line 3: 'ferry@2025-07-01' has another outcome in line 2 (both are ferry)"),
        ("id,outcome,date\nAbC,yes,2026-02-20\nAbC,yes,2026-02-10\n", "line 3: 'AbC' has another date in line 2: 2026-02-20 there, 2026-02-10 here"),
        ("id,outcome,date\nAbC,yes,2026-02-20\nAbC,void,2026-02-20\n", "line 3: 'AbC' has another outcome in line 2"),
        ("id,question,outcome,date\na,Will B happen?,1,2026-02-01\n",
         "line 2: id 'a' and the text 'Will B happen?' name two questions: that text has the id '=cmd'"),
        ("id,question,outcome,date\nAbC,Will B happen?,1,2026-02-01\n",
         "line 2: id 'AbC' and the text 'Will B happen?' name two questions: that id is 'Will the bank raise rates?', that text has the id '=cmd'"),
        ("id,question,outcome,date\nAbC,Will Norway join?,1,2026-02-01\n", "name two questions: that id is 'Will the bank raise rates?'"),
        ("id,outcome,date,outcome\nAbC,yes,2026-02-20,no\n", "line 1: two columns are named outcome; leave one out"),
        ("id,outcome,resolution,date\nAbC,yes,no,2026-02-20\n", "line 2: two columns are named outcome: outcome is 'yes', resolution is 'no'"),
        ("id,outcome,date,Resolved At\nAbC,yes,2026-02-20,2026-02-21\n", "line 2: date is '2026-02-20' and resolution_date is '2026-02-21'"),
        ("id,outcome,date\nAbC,yes,2026-02-20 or so\n", "line 2: date is '2026-02-20 or so', expected a date like"),
        ("id,outcome,date\nAbC,yes,2099-02-20\n", "line 2: date is '2099-02-20', which lies in the future"),
        ("id,outcome,date\nAbC,0.7,2026-02-20\n", "line 2: outcome is '0.7', expected 0, 1 (no, yes) or void"),
        ("id,outcome,date\nAbC,,\n,,\n", "r.csv: no outcome in it; 1 open question skipped"),
        *((f"id,outcome,resolved,date\nAbC,0,{word},2026-02-20\n", f"line 2: resolved is '{word}' and outcome is '0'; leave one")
          for word in ("unresolved", "pending", "not yet", "n", "F", "0.0")),
        *((f"id,outcome,resolved,date\nAbC,0,{word},2026-02-20\n", f"line 2: resolved is '{word}', expected true or false")
          for word in ("FALSCH", "nein", "-", "maybe")),
        ("id,outcome,is_resolved,date\nAbC,0,False,2026-02-20\n", "line 2: is_resolved is 'False' and outcome is '0'; leave one of them"),
        ("id,outcome,status,date\nAbC,0,Open,2026-02-20\n", "line 2: status is 'Open' and outcome is '0'; leave one of them blank"),
        ("id,outcome,resolved,date\nAbC,yes,no,2026-02-20\n",
         "line 2: resolved is 'no' and outcome is 'yes'; leave one of them blank"),
        ("i\0d,outcome,date\n", "line 1: holds NUL characters"),
    ],
)  # fmt: skip
def test_a_contradiction_records_nothing(resolve, content, message):
    code, said, _ = resolve("r.csv", content)
    assert code == 2
    assert message in said


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("id,outcome,date\nAbC,yes,2026-02-20\nabc,no,2026-02-20\n", {"AbC": (1, "2026-02-20"), "abc": (0, "2026-02-20")}),
        ("ID;Outcome;Resolution Date\nAbC;Yes;2026-02-20\n;;\n", {"AbC": (1, "2026-02-20")}),
        ("question_id\tresolution\tresolved_at\nAbC\tNO\t2026-02-20T10:00:00Z\n", {"AbC": (0, "2026-02-20T10:00:00Z")}),
        ("id,question,outcome,date\n=cmd,will b HAPPEN,yes,2026-02-20\n", {"=cmd": (1, "2026-02-20")}),
        ("id,outcome,date\nferry,yes,2026-02-20\n", {"ferry@2025-06-01": (1, "2026-02-20")}),
        ("id,outcome,date\nferry@2025-07-01,yes,2026-02-20\n", {"ferry@2025-06-01": (1, "2026-02-20")}),
        ("id,outcome,resolution_date\nDGS10,yes,2026-02-03\nDGS10,no,2026-03-05\n", {"DGS10@2026-02-03": (1, "2026-02-03"), "DGS10@2026-03-05": (0, "2026-03-05")}),
        ("id,outcome,date\nAbC,,\nabc,no,2026-02-20\n", {"abc": (0, "2026-02-20")}),
        ("id,outcome,date\nAbC,N/A,2026-02-20\nabc,void,2026-02-20\n", {"AbC": (None, "2026-02-20"), "abc": (None, "2026-02-20")}),
        ("id,outcome,date\nAbC,yes,2026-02-20\nAbC,1,2026-02-20\n", {"AbC": (1, "2026-02-20")}),
    ],
)  # fmt: skip
def test_outcomes_find_their_questions(resolve, content, expected):
    code, _, recorded = resolve("r.csv", content)
    assert code == 0
    assert recorded == expected


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_text_finds_its_question_in_either_form(resolve, form):
    text = unicodedata.normalize(form, "will SÃO Tomé hold an election before 2027?")
    _, _, recorded = resolve("r.csv", f"question,outcome,date\n{text},yes,2026-02-20\n")
    assert recorded == {SAO_TOME: (1, "2026-02-20")}


def test_a_stored_text_in_decomposed_form_is_found(resolve, database):
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        nfd = unicodedata.normalize("NFD", "Will São Tomé hold an election before 2027?")
        connection.execute("UPDATE questions SET text = ? WHERE id = ?", (nfd, SAO_TOME))
    _, _, recorded = resolve(
        "r.csv",
        "question,outcome,date\nWill São Tomé hold an election before 2027?,yes,2026-02-20\n",
    )
    assert recorded == {SAO_TOME: (1, "2026-02-20")}


def test_a_series_that_was_asked_for_other_dates_is_named(resolve):
    code, said, recorded = resolve("r.csv", "id,outcome,date\nDGS10,yes,2026-02-04\n")
    assert (code, recorded) == (1, {})
    assert "'DGS10': asked for other dates: DGS10@2026-02-03, DGS10@2026-03-05" in said


def test_what_is_skipped_left_out_and_unknown_is_said(resolve):
    rows = [
        {
            "id": "AbC",
            "source": "x",
            "resolution_date": "2026-02-20",
            "resolved_to": 1.0,
            "resolved": True,
        },
        {
            "id": "abc",
            "source": "x",
            "resolution_date": "2026-02-20",
            "resolved_to": 0.4,
            "resolved": False,
        },
        {
            "id": "=cmd",
            "source": "x",
            "resolution_date": "2026-02-20",
            "resolved_to": 0.4,
            "resolved": True,
        },
        {
            "id": ["AbC", "abc"],
            "source": "x",
            "resolution_date": "2026-02-20",
            "resolved_to": 1.0,
            "resolved": True,
        },
        {
            "id": "0xabc",
            "source": "x",
            "resolution_date": "2099-02-20",
            "resolved_to": 1.0,
            "resolved": True,
        },
        *(
            {"id": f"z{n}", "resolution_date": "2026-02-20", "resolved_to": 1, "resolved": True}
            for n in range(25)
        ),
    ]
    code, said, recorded = resolve("r.json", json.dumps({"question_set": "s", "resolutions": rows}))
    assert code == 1
    assert recorded == {"AbC": (1, "2026-02-20")}
    assert "1 outcomes recorded, 0 known already, 25 without a question" in said
    assert "1 open question skipped (no outcome yet)" in said
    assert (
        "3 left out, no yes/no outcome: line 1, entry 4: ['AbC', 'abc'] (a combination of questions)"
        in said
    )
    assert "'=cmd' (resolved to 0.4)" in said
    assert "'0xabc' (resolved, but its date 2099-02-20 lies in the future)" in said
    assert said.count("no such question in the database") == resolving.LISTED_ENTRIES
    assert "and 5 more that were not recorded" in said


def test_an_outcome_of_a_coherence_check_is_not_recorded(database, resolve):
    """It counts nowhere: that of the question it checks does."""
    checks = coherence_questions(
        Question("Will B happen?", id="b", extra={"negation": "Will B stay away?"})
    )
    with Database(database) as db:
        add_run(db, checks, {"one": [around(70)]}, made="2026-01-12T10:00:00Z")
    for row in ("b~not,,yes", ",Will B stay away,yes"):
        code, said, recorded = resolve("r.csv", f"id,question,outcome,date\n{row},2026-02-20\n")
        assert code == 1
        assert "it checks 'b'; give the outcome of that question" in said
        assert recorded == {}


def test_a_secret_in_the_address_of_a_source_is_not_stored(resolve, database):
    source = "https://user:PASSWORD-1@host/x?token=0123456789abcdef"
    code, _, _ = resolve("r.csv", f"id,outcome,date,source\nAbC,yes,2026-02-20,{source}\n")
    assert code == 0
    with Database(database) as db:
        assert db.outcomes.latest()["AbC"].source == "https://***@host/x?token=***"


# What platforms write about one yes/no question with the id AbC that ended yes on 14 November 2023 (a Tuesday).
YES = {
    "manifold": {"id": "AbC", "question": "Will the bank raise rates?", "outcomeType": "BINARY", "isResolved": True, "resolution": "YES",
                 "resolutionTime": 1700000000000, "closeTime": 1700000000000},
    "polymarket": {"conditionId": "AbC", "id": "7", "question": "Will the bank raise rates?", "endDate": "2023-11-14", "closed": True,
                   "umaResolutionStatus": "resolved", "outcomes": '["No", "Yes"]', "outcomePrices": '["0", "1"]'},
    "metaculus": {"id": 1, "title": "Post", "question": {"id": "AbC", "title": "Will the bank raise rates?", "type": "binary",
                  "resolution": "yes", "actual_resolve_time": "2023-11-14T22:13:20Z", "scheduled_close_time": "2024-01-01T00:00:00Z"}},
    "prophet": {"task_id": "AbC", "title": "Will the bank raise rates?", "outcomes": ["Yes", "No"], "predict_by": "2023-01-01",
                "resolved_outcome": {"value": ["Yes"], "resolved_at": "2023-11-14T22:13:20Z", "source": "x"}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("platform", "change"),
    [
        ("manifold", {"isResolved": 1}),
        ("manifold", {"isResolved": "yes"}),
        ("polymarket", {"closed": "1"}),
        ("polymarket", {"closed": 1, "outcomes": None, "umaResolutionStatus": None,
                        "tokens": [{"outcome": "No", "winner": False}, {"outcome": "Yes", "winner": True}]}),
    ],
)  # fmt: skip
def test_truth_in_a_platforms_file_has_several_forms(resolve, platform, change):
    row = {key: one for key, one in {**YES[platform], **change}.items() if one is not None}
    code, _, recorded = resolve("r.jsonl", json.dumps(row))
    assert (code, recorded["AbC"][0]) == (0, 1)


def test_what_is_resolved_without_an_outcome_is_not_open(resolve):
    rows = [{"id": "AbC", "resolved": word} for word in (True, "yes")]
    rows += [{"id": "abc", "resolved": "2026-02-20", "date": "2026-02-20", "outcome": 1}]
    _, said, recorded = resolve("r.jsonl", "\n".join(map(json.dumps, rows)))
    assert "2 left out, no yes/no outcome: line 1: 'AbC' (resolved, but its outcome is" in said
    assert recorded == {"abc": (1, "2026-02-20")}


@pytest.mark.parametrize("platform", YES)
def test_outcomes_of_platforms(resolve, platform):
    code, _, recorded = resolve("r.jsonl", json.dumps(YES[platform]) + "\n")
    assert code == 0
    assert recorded["AbC"][0] == 1
    assert recorded["AbC"][1][:10] == "2023-11-14"


@pytest.mark.parametrize(
    ("platform", "change", "said"),
    [
        ("manifold", {"resolution": "MKT"}, "'AbC' (resolved to 'MKT')"),
        ("manifold", {"isResolved": False}, "1 open question skipped"),
        ("manifold", {"isResolved": "f"}, "1 open question skipped"),
        ("manifold", {"isResolved": "WAHR"}, "line 1: isResolved is 'WAHR', expected true or false"),
        ("polymarket", {"closed": "ja"}, "line 1: closed is 'ja', expected true or false"),
        ("prophet", {"resolved_outcome": "{'value': ['Yes']}"}, "line 1: resolved_outcome is \"{'value': ['Yes']}\", expected an object"),
        ("manifold", {"outcomeType": "MULTIPLE_CHOICE"}, "'AbC' (MULTIPLE_CHOICE)"),
        ("manifold", {"resolutionTime": 1700000000}, "line 1: resolutionTime is 1700000000, expected milliseconds"),
        ("polymarket", {"outcomePrices": '["0.5", "0.5"]'}, "(resolved to '0.5')"),
        ("polymarket", {"outcomePrices": '["0", "0"]'}, "1 open question skipped"),
        ("polymarket", {"umaResolutionStatus": "proposed"}, "1 open question skipped"),
        ("polymarket", {"outcomes": '["Chiefs", "Eagles"]'}, "its outcomes are 'Chiefs', 'Eagles'"),
        ("metaculus", {"question": {"id": 5, "type": "numeric", "resolution": "12"}}, "5 (numeric)"),
        ("metaculus", {"question": {"id": 5, "type": "binary", "resolution": None}}, "1 open question skipped"),
        ("metaculus", {"question": None, "group_of_questions": {"questions": []}}, "'Post' (group of questions)"),
        ("prophet", {"resolved_outcome": None}, "1 open question skipped"),
        ("prophet", {"outcomes": ["A", "B"]}, "its outcomes are 'A', 'B'"),
    ],
)  # fmt: skip
def test_what_is_no_yes_or_no_is_said(resolve, platform, change, said):
    code, out, recorded = resolve("r.json", json.dumps([{**YES[platform], **change}]))
    assert code == 2
    assert said in out
    assert recorded == {}


def test_a_voided_question_of_a_platform(resolve):
    rows = [{**YES["manifold"], "resolution": "CANCEL"}]
    rows.append(
        {
            "question": {
                **YES["metaculus"]["question"],
                "id": "abc",
                "title": "Will the bank cut rates?",
                "resolution": "annulled",
            }
        }
    )
    _, _, recorded = resolve("r.json", json.dumps(rows))
    assert {name: outcome for name, (outcome, _) in recorded.items()} == {"AbC": None, "abc": None}


def test_an_outcome_from_before_the_first_forecast_is_warned_of(database, capsys):
    words = ["--database", str(database), "--resolve-one"]
    assert analysis.main([*words, "AbC", "yes", "--date", "2026-01-01"]) == 0
    out = capsys.readouterr().out
    assert "warning: 'AbC': the outcome was known before the first forecast" in out
    assert analysis.main([*words, "will the bank cut rates?", "no", "--date", "2026-02-01"]) == 0
    assert "warning" not in capsys.readouterr().out
    assert analysis.main([*words, "ferry", "no", "--date", "2025-06-15"]) == 0
    assert "warning" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "row",
    [
        "\u200bAbC\ufeff,,\u200byes,2026-02-20\u200b",
        ",Will\u200b the bank raise rates?\u200e,yes,2026-02-20",
    ],
)
def test_characters_of_no_width_do_not_hide_a_question(resolve, row):
    code, _, found = resolve("r.csv", f"id,question,outcome,date\n{row}\n")
    assert (code, found) == (0, {"AbC": (1.0, "2026-02-20")})


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("=CMD", "no such question in the database; is it '=cmd'?"),
        ("=cmd.0", "no such question in the database; is it '=cmd'?"),
        ("ABC", "no such question in the database; is it 'AbC', 'abc'?"),
        (
            "1.2E+17",
            "no such question in the database; a spreadsheet has cut the digits of this id",
        ),
        ("nothing", "no such question in the database\n"),
    ],
)
def test_an_id_that_is_nearly_known_is_guessed_and_not_recorded(resolve, name, said):
    code, out, found = resolve("r.csv", f"id,outcome,date\n{name},yes,2026-02-20\n")
    assert (code, found) == (1, {})
    assert said in out


def test_the_text_of_an_outcome_is_filled_as_that_of_a_question(resolve):
    row = {
        "question": "Will {country} happen?",
        "country": "B",
        "outcome": "yes",
        "date": "2026-02-20",
    }
    assert resolve("r.jsonl", json.dumps(row))[2] == {"=cmd": (1.0, "2026-02-20")}


def test_manifold_in_four_columns_has_milliseconds(resolve):
    row = {"id": "AbC", "resolution": "YES", "resolutionTime": 1771545600000, "isResolved": True}
    assert resolve("r.jsonl", json.dumps(row))[2] == {"AbC": (1.0, "2026-02-20T00:00:00Z")}


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ("no,2026-02-20", "changed: AbC from yes to no (the earlier record is kept)"),
        (
            "yes,2026-03-01",
            "changed: the date of AbC from 2026-02-20 to 2026-03-01 (the earlier record is kept)",
        ),
        ("yes,2026-02-20T00:00:00Z", ""),
    ],
)
def test_another_outcome_or_date_in_a_later_file_is_said(resolve, second, said):
    assert resolve("r.csv", "id,outcome,date\nAbC,yes,2026-02-20\n")[0] == 0
    code, out, _ = resolve("s.csv", f"id,outcome,date\nAbC,{second}\n")
    assert (code, said in out, "changed" in out) == (0, True, bool(said))
