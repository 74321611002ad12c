"""Price, base rate, coherence and calibration on the way to the final number, on the command line."""

from __future__ import annotations

import json
import logging
import math
import sqlite3

import pytest

import analysis
import forecaster
from database import Database
from evaluation import applied_calibration, learnt_rule
from evaluation.applied_calibration import CalibrationCurve
from evaluation.resolved import LIVE
from reporting.histories import histories
from reporting.history_plot import history_figure
from tests.support.stub_cli import stub_main

HEAD = "id,question,market_probability,market_date,source,reference_class,negation,paraphrases\n"
WEEKLY = "".join(
    f"w{n},Will team {name} win its match on {day}?,,,league,,,\n"
    for n, (name, day) in enumerate(
        [("Ajax", "2026-05-06"), ("Basel", "2026-05-07"), ("Celtic", "2026-05-20")]
    )
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder that the runs write to, without plots."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setattr(forecaster, "draw", lambda *_: True)
    return tmp_path


def ask(content: str, today: str = "2026-05-04", *arguments: str, **settings) -> int:
    """Run a file of questions; the arguments may say what to do instead."""
    words = list(arguments)
    if content:
        with open("q.csv", "w", encoding="utf-8") as file:
            file.write(HEAD + content)
        words = ["--questions", "q.csv", "--no-retrieval", *words]
    return stub_main([*words, "--database", "d.db"], today=today, **settings)


RELATIVES = "(SELECT ids FROM id_lists l WHERE l.id = relative_list)"


def rows(sql: str):
    with sqlite3.connect("d.db") as connection:
        return connection.execute(sql).fetchall()


def finals(run: int = 1):
    """The four numbers of each question, rounded."""
    found = rows(
        "SELECT question_id, models, assisted, coherent, final FROM final_numbers"
        f" WHERE run_id = {run}"
    )
    return {name: numbers for name, *numbers in found}


def prompts(run: int, question: str) -> list[str]:
    return [
        text
        for (text,) in rows(
            "SELECT DISTINCT p.text FROM forecasts f JOIN prompts p ON p.sha256 = f.prompt_sha256"
            f" WHERE f.run_id = {run} AND f.question_id = '{question}'"
        )
    ]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def logit(p: float) -> float:
    return math.log(p / (1 - p))


# --- price ----------------------------------------------------------------------------------------


def test_without_anything_to_go_on_the_final_number_is_the_models_exactly(place, capsys):
    assert ask("a,Will A happen?,,,,,,\n") == 0
    ((models, assisted, coherent, final),) = finals().values()
    assert models == assisted == coherent == final
    ((mean, shown),) = rows("SELECT mean, final FROM latest_forecasts WHERE agent = 'ensemble'")
    assert mean == shown
    assert "Final = models" in capsys.readouterr().out


@pytest.mark.parametrize("show", [True, False])
def test_a_price_is_shown_with_its_day_and_is_a_voice_in_log_odds(place, show):
    content = "a,Will A happen?,0.9,2026-05-01,,,,\nb,Will B happen?,,,,,,\n"
    assert ask(content, SHOW_MARKET=show, MARKET_WEIGHT=3) == 0
    models, assisted, *_ = finals()["a"]
    # Shares of 1/4 and 3/4 are 0.75 as diverse as two equal voices, which count 1.2 times.
    factor = 1 + 0.2 * 0.75
    assert assisted == pytest.approx(sigmoid(factor * (logit(models) + 3 * logit(0.9)) / 4))
    (text, *_), (other, *_) = prompts(1, "a"), prompts(1, "b")
    assert ("probability of yes at 90 percent on 2026-05-01." in text) == show
    assert "Known beside the evidence" not in other
    assert rows("SELECT question_id, market_shown FROM final_forecasts ORDER BY 1") == [
        ("a", int(show)),
        ("b", 0),
    ]


def test_a_user_who_turns_both_off_has_independent_forecasts(place):
    content = "a,Will A happen?,0.9,2026-05-01,,,,\n"
    assert ask(content, SHOW_MARKET=False, MARKET_WEIGHT=0) == 0
    models, assisted, _, final = finals()["a"]
    assert models == assisted == final
    assert not any("percent on 2026-05-01" in text for text in prompts(1, "a"))


@pytest.mark.parametrize(
    ("price", "day", "line"),
    [
        ("62", "2026-05-01", "1 market price not used, line 2: market_probability is '62'"),
        ("-0.2", "2026-05-01", "1 market price not used, line 2: market_probability is '-0.2'"),
        ("0.6", "2026-05-05", "it is dated after the day of the forecast: 'a' (2026-05-05)"),
        ("0.6", "yesterday", "1 market price not used, line 2: market_date is 'yesterday'"),
    ],
)
def test_a_price_that_cannot_be_used_is_one_line_and_the_forecast_goes_on(
    place, caplog, price, day, line
):
    with caplog.at_level(logging.WARNING):
        assert ask(f"a,Will A happen?,{price},{day},,,,\n") == 0
    told = [record.getMessage() for record in caplog.records if "price" in record.getMessage()]
    assert len(told) == 1
    assert line in told[0]
    models, *others = finals()["a"]
    assert others == [models] * 3


def test_a_back_dated_run_uses_no_price_without_a_day_or_of_a_later_one(place, caplog):
    content = (
        "a,Will A happen?,0.6,,,,,\n"
        "b,Will B happen?,0.6,2026-04-02,,,,\n"
        "c,Will C happen?,0.6,2026-04-01,,,,\n"
    )
    with caplog.at_level(logging.WARNING):
        assert ask(content, "2026-05-04", "--as-of", "2026-04-01") == 0
    assert (
        "1 market price not used, it has no date, so it may be later than as_of: 'a'" in caplog.text
    )
    assert "after the day of the forecast: 'b' (2026-04-02)" in caplog.text
    assert rows("SELECT question_id FROM outside_views WHERE market IS NOT NULL") == [("c",)]


# --- base rate ------------------------------------------------------------------------------------


def test_resolved_questions_become_base_rates_and_nothing_leaks(place, caplog):
    assert ask(WEEKLY) == 0
    assert rows("SELECT count(*) FROM outside_views WHERE base_rate IS NOT NULL") == [(0,)]
    outcomes = "id,outcome,date\nw0,yes,2026-05-06\nw1,no,2026-05-07\n"
    (place / "o.csv").write_text(outcomes)
    assert analysis.main(["--database", "d.db", "--resolve", "o.csv"]) == 0
    new = "n,Will team Derby win its match on 2026-06-01?,,,league,,,\n"
    # On the day of the second outcome only the first is known, two weeks later both are.
    for run, today, ids, yes in ((2, "2026-05-07", ["w0"], 1), (3, "2026-05-18", ["w1", "w0"], 1)):
        assert ask(WEEKLY + new, today) == 0
        ((found, count, kind),) = rows(
            f"SELECT {RELATIVES}, yes, kind FROM outside_views WHERE run_id = {run}"
            " AND question_id = 'n'"
        )
        assert (json.loads(found), count, kind) == (ids, yes, "template")
        line = f"Of {len(ids)} earlier questions of the same form as this one"
        assert all(line in text for text in prompts(run, "n"))
        # A question that is still open is nobody's relative.
        assert all("w2" not in json.loads(ids) for (ids,) in rows("SELECT ids FROM id_lists"))
    models, assisted, *_ = finals(3)["n"]
    assert models != assisted
    # The past as it was on the first day, although the outcomes are known by now.
    assert ask(WEEKLY + new, "2026-05-19", "--as-of", "2026-05-05", "--ask-closed") == 0
    assert rows(
        "SELECT count(*) FROM outside_views WHERE run_id = 4 AND base_rate IS NOT NULL"
    ) == [(0,)]


def test_a_text_that_ended_under_many_ids_is_one_relative(place):
    again = "".join(f"a{n},Will Ajax win its match on 2026-05-06?,,,league,,,\n" for n in range(9))
    assert ask(again + WEEKLY) == 0
    ended = "".join(f"a{n},yes,2026-05-06\n" for n in range(9))
    (place / "o.csv").write_text(f"id,outcome,date\n{ended}w1,no,2026-05-07\n")
    assert analysis.main(["--database", "d.db", "--resolve", "o.csv"]) == 0
    assert ask("n,Will team Derby win its match on 2026-06-01?,,,league,,,\n", "2026-05-18") == 0
    ((relatives, yes),) = rows(f"SELECT {RELATIVES}, yes FROM outside_views WHERE run_id = 2")
    assert (len(json.loads(relatives)), yes) == (1, 0)
    assert ask("m,Will Celtic win its match on 2026-06-01?,,,league,,,\n", "2026-05-18") == 0
    ((relatives, yes),) = rows(f"SELECT {RELATIVES}, yes FROM outside_views WHERE run_id = 3")
    assert (len(json.loads(relatives)), yes) == (1, 1)


def test_a_reference_class_with_no_past_is_one_line(place, caplog):
    content = "a,Will A happen?,,,,wars,,\nb,Will B happen?,,,,wars,,\n"
    with caplog.at_level(logging.WARNING):
        assert ask(content) == 0
    told = [r.getMessage() for r in caplog.records if "reference class" in r.getMessage()]
    assert told == [
        "2 questions with a reference class of which nothing was resolved before:"
        " 'a' ('wars'), 'b' ('wars')"
    ]


def test_a_class_is_the_same_whatever_its_case_and_the_space_around_it(place):
    assert ask("a,Will A happen?,,,,Big  Wars ,,\n") == 0
    assert (
        analysis.main(["--database", "d.db", "--resolve-one", "a", "yes", "--date", "2026-05-05"])
        == 0
    )
    assert ask("b,Does B occur?,,,, big wars,,\n", "2026-05-08") == 0
    assert rows(f"SELECT kind, family, yes, {RELATIVES} FROM outside_views WHERE run_id = 2") == [
        ("reference_class", "big wars", 1.0, '["a"]')
    ]
    assert "Of 1 earlier questions of the class “big wars”" in prompts(2, "b")[0]


def test_a_backtest_learns_nothing_from_its_own_outcomes(place):
    table = "id,question,as_of,outcome,resolution_date,source\n" + "".join(
        f"b{n},Will team {name} win its match on 2026-02-0{n}?,2026-04-01,{n % 2},2026-04-2{n},x\n"
        for n, name in enumerate(("Ajax", "Basel", "Celtic", "Derby"), 1)
    )
    (place / "b.csv").write_text(table)
    for run in (1, 2):  # the second time every outcome is in the record, resolved later than as_of
        assert ask("", "2026-05-04", "--backtest", "b.csv", "--no-retrieval") == 0
        assert rows(
            f"SELECT count(base_rate), count(*) FROM outside_views WHERE run_id = {run}"
        ) == [(0, 4)]


def test_a_backtest_shows_the_price_of_its_day_and_nothing_of_what_came_later(place):
    row = {
        "id": "m", "question": "Will the ferry sail?", "source": "manifold", "as_of": "2026-02-01",
        "outcome": 1, "resolution_date": "2026-03-09", "baseline_crowd": 0.123,
        "freeze_date": "2026-01-22", "crowd_at_due": 0.777, "superforecaster_median": 0.888,
        "forecast_due_date": "2026-02-01", "cluster": "SENTINEL", "url": "https://SENTINEL",
    }  # fmt: skip
    later = {**row, "id": "n", "question": "Will it snow?", "freeze_date": "2026-02-02"}
    (place / "b.jsonl").write_text("\n".join(map(json.dumps, (row, later))))
    assert ask("", "2026-05-04", "--backtest", "b.jsonl", "--no-retrieval") == 0
    (shown, *_), (hidden, *_) = prompts(1, "m"), prompts(1, "n")
    assert "probability of yes at 12.3 percent on 2026-01-22." in shown
    assert "Known beside the evidence" not in hidden
    for secret in ("SENTINEL", "77.7", "0.777", "88.8", "2026-03-09", "outcome"):
        assert secret not in shown + hidden


# --- resume, replay -------------------------------------------------------------------------------


def test_a_resumed_run_tells_all_models_the_same_and_finishes_the_numbers(place, monkeypatch):
    content = "a,Will A happen?,0.9,2026-05-01,,,,\n" + WEEKLY
    monkeypatch.setenv("STUB_FAIL", "stub-c")
    assert ask(content) == 1
    before = finals()
    monkeypatch.delenv("STUB_FAIL")
    (place / "o.csv").write_text("id,outcome,date\nw0,yes,2026-05-01\n")  # known by the day
    assert analysis.main(["--database", "d.db", "--resolve", "o.csv"]) == 0
    assert ask("", "2026-05-09", "--resume", "1") == 0
    after = finals()
    assert after.keys() == before.keys()
    assert after["a"][0] != before["a"][0]
    assert rows("SELECT count(*) FROM outside_views WHERE base_rate IS NOT NULL") == [(0,)]
    for name in after:  # stub-c, which was asked later, is told what the others were
        assert len({text.split("Question: ")[1] for text in prompts(1, name)}) == 1


def test_a_changed_weight_is_not_mixed_into_a_run(place, monkeypatch, capsys):
    monkeypatch.setenv("STUB_FAIL", "stub-c")
    assert ask("a,Will A happen?,0.9,2026-05-01,,,,\n") == 1
    monkeypatch.delenv("STUB_FAIL")
    assert ask("", "2026-05-04", "--resume", MARKET_WEIGHT=2.0) == 2
    assert "assistance.market_weight was null and is now 2.0" in capsys.readouterr().err


def test_a_replay_has_the_prompts_and_numbers_of_its_origin(place, capsys):
    assert (
        ask("a,Will A happen?,0.9,2026-05-01,,,Will A not happen?,\n", "2026-05-04", "--coherence")
        == 0
    )
    assert ask("", "2026-05-20", "--replay", "1") == 0
    assert finals(2) == finals(1)
    assert "differs" not in capsys.readouterr().out
    assert prompts(2, "a") == prompts(1, "a")
    assert rows("SELECT count(*) FROM final_forecasts") == [(2,)]  # a replay counts in no view


# --- coherence ------------------------------------------------------------------------------------


def test_a_negation_and_a_paraphrase_are_projected_and_keep_their_raw_values(place):
    content = "a,Will A happen?,0.9,2026-05-01,,,Will A not happen?,Is A to happen?\n"
    assert ask(content, "2026-05-04", "--coherence") == 0
    found = finals()
    own, negation, paraphrase = (found[name] for name in ("a", "a~not", "a~p1"))
    p = (own[1] + 1 - negation[1] + paraphrase[1]) / 3
    assert [own[2], negation[2], paraphrase[2]] == pytest.approx([p, 1 - p, p])
    assert own[3] + negation[3] == 1
    means = dict(rows("SELECT question_id, mean / 100 FROM ensembles"))
    assert {name: pytest.approx(numbers[0]) for name, numbers in found.items()} == means
    assert rows("SELECT question_id, market FROM outside_views ORDER BY 1") == [
        ("a", 0.9), ("a~not", pytest.approx(0.1)), ("a~p1", 0.9)
    ]  # fmt: skip
    (steps,) = rows("SELECT projections FROM final_numbers WHERE question_id = 'a'")[0]
    assert json.loads(steps)["negation"]["before"] == own[1]


def test_an_event_is_not_less_probable_before_a_later_day(place):
    days = {"x": "1 July 2027", "y": "1 January 2028", "z": "1 January 2029"}
    prices = {"x": 0.7, "y": 0.2, "z": 0.8}
    content = "".join(
        f"{name},Will Austria join NATO before {day}?,{prices[name]},2026-05-01,,,,\n"
        for name, day in days.items()
    )
    assert ask(content + "o,Will it rain before 2029?,,,,,,\n", MARKET_WEIGHT=50) == 0
    found = finals()
    assert found["x"][1] > found["y"][1]
    mean = (found["x"][1] + found["y"][1]) / 2
    assert [found["x"][3], found["y"][3]] == pytest.approx([mean, mean])
    assert found["z"][1] == found["z"][3]
    assert found["o"][0] == found["o"][3]


def test_one_day_in_other_words_is_one_number_and_a_text_asked_twice_stays_two(place):
    content = (
        "x,Will Austria join NATO before July 2027?,0.2,2026-05-01,,,,\n"
        "y,Will Austria join NATO no later than 30 June 2027?,0.4,2026-05-01,,,,\n"
        "z,Will the firm report before July 2027?,0.2,2026-05-01,Acme,,,\n"
        "w,Will the firm report before July 2027?,0.4,2026-05-01,Bolt,,,\n"
        "v,Will the firm report before July 2028?,0.1,2026-05-01,Bolt,,,\n"
    )
    assert ask(content) == 0
    found = finals()
    assert found["x"][1] != found["y"][1]
    assert found["x"][3] == found["y"][3] == pytest.approx((found["x"][1] + found["y"][1]) / 2)
    assert all(found[name][3] == found[name][1] for name in "zwv")


# --- calibration ----------------------------------------------------------------------------------


@pytest.mark.parametrize("used", [True, False])
def test_a_curve_makes_the_final_number_only_where_it_wins(place, monkeypatch, used):
    class Curve(CalibrationCurve):
        def apply(self, p: float) -> float:
            return p / 2 if self.used else p

    def fit(past, kind, as_of):
        assert {one.question_id for one in past} <= {"w0"}
        return Curve(kind, "beta", {"a": [1.0]}, len(past), 0.2, 0.1, used, "because")

    assert ask(WEEKLY) == 0
    (place / "o.csv").write_text("id,outcome,date\nw0,yes,2026-05-06\n")
    monkeypatch.setattr(learnt_rule, "fit_applied", fit)
    monkeypatch.setattr(learnt_rule, "CalibrationCurve", Curve)
    assert analysis.main(["--database", "d.db", "--resolve", "o.csv"]) == 0
    assert ask(WEEKLY, "2026-05-10") == 0
    _, _, coherent, final = finals(2)["w2"]
    assert final == (coherent / 2 if used else coherent)
    assert rows(
        "SELECT kind, day, used, reason, ids FROM applied_calibrations"
        " JOIN id_lists l ON l.id = forecast_list WHERE run_id = 2"
    ) == [("unpriced", "2026-05-10", int(used), "because", '["1:w0"]')]


def test_a_later_day_stays_the_more_probable_one_where_only_one_has_a_price(place, monkeypatch):
    class Curve(CalibrationCurve):
        def apply(self, p: float) -> float:
            return p if self.kind == "priced" else p / 2

    monkeypatch.setattr(
        learnt_rule, "fit_applied", lambda past, kind, day: Curve(kind, "beta", used=True)
    )
    content = (
        "x,Will Austria join NATO before 2028?,0.5,2026-05-01,,,,\n"
        "y,Will Austria join NATO before 2029?,,,,,,\n"
        "z,Will it rain?,,,,,,\n"
    )
    assert ask(content) == 0
    found = finals()
    assert found["x"][3] == found["x"][2] <= found["y"][2] == found["y"][3]
    assert found["z"][3] == found["z"][2] / 2


def test_the_real_fit_is_called_with_what_was_resolved(place):
    assert ask(WEEKLY) == 0
    assert rows("SELECT kind, count, used FROM applied_calibrations") == [("unpriced", 0, 0)]
    assert applied_calibration.fit_applied is learnt_rule.fit_applied


# --- scores and pictures --------------------------------------------------------------------------


def test_the_three_numbers_are_scored_apart_and_by_what_the_models_saw(place, capsys):
    content = "a,Will A happen?,0.9,2026-05-01,,,,\nb,Will B happen?,,,,,,\n"
    assert ask(content) == 0
    assert ask(content, "2026-05-05", SHOW_MARKET=False) == 0
    (place / "o.csv").write_text("id,outcome,date\na,yes,2026-05-09\nb,no,2026-05-09\n")
    assert analysis.main(["--database", "d.db", "--resolve", "o.csv"]) == 0
    capsys.readouterr()
    groups = ["--by", "model", "price", "--no-plots"]
    assert analysis.main(["--database", "d.db", "--score", *groups]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "(live forecasts, final;" in lines[0]
    assert "on the 1 question with a price" in lines[2]
    assert lines[6] == "# Record of live forecasts: 16 forecasts of 2 resolved questions count"
    start = lines.index("## Scores: last forecast of each question before its resolution") + 2
    scores = {line.split()[0]: line.split()[3] for line in lines[start : start + 6]}
    assert list(scores) == ["final", "assisted", "ensemble", "stub-a", "stub-b", "stub-c"]
    for place_, name in ((3, "final"), (1, "assisted"), (0, "ensemble")):
        found = finals(2)
        brier = ((found["a"][place_] - 1) ** 2 + found["b"][place_] ** 2) / 2
        assert float(scores[name]) == pytest.approx(brier, abs=5e-5)
    start = lines.index("## By market price") + 2
    groups = [line.rsplit("  ", 9)[0].split("  ")[0] for line in lines[start : start + 9]]
    assert groups[:3] == [
        "final, price not shown to the models",
        "final, price shown to the models",
        "final, no price",
    ]


def test_a_record_without_assistance_has_no_rows_of_its_own(place, capsys):
    assert ask("b,Will B happen?,,,,,,\n") == 0
    assert (
        analysis.main(["--database", "d.db", "--resolve-one", "b", "no", "--date", "2026-05-09"])
        == 0
    )
    capsys.readouterr()
    assert analysis.main(["--database", "d.db", "--score", "--by", "model", "price"]) == 0
    text = capsys.readouterr().out
    assert "\nfinal" not in text
    assert "assisted" not in text
    assert "By market price" not in text


def test_histories_have_the_final_number_and_the_price(place):
    content = "a,Will A happen?,0.9,2026-05-01,,,,\n"
    assert ask(content, "2026-05-04", MARKET_WEIGHT=0) == 0
    assert ask(content, "2026-05-05") == 0
    with Database("d.db") as database:
        (history,) = histories(database, LIVE, database.runs.latest_questions(LIVE))
        row = history.overview_row()
    first, last = history.ensemble
    assert (first.final, first.market) == (None, 90)
    assert last.final == pytest.approx(100 * finals(2)["a"][3])
    assert (row.final, row.previous) == (last.final, first.mean)
    labels = history_figure("Q?", {}, history.ensemble).axes[0].get_legend_handles_labels()[1]
    assert labels[-2:] == ["market price", "final"]


# --- wordings -------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [(), ("--logic", "--ablate")])
def test_wordings_are_averaged_and_their_spread_is_kept_apart(place, capsys, arguments):
    content = "a,Will A happen?,,,,,,\nb,Will B happen?,,,,,,\n"
    assert ask(content, "2026-05-04", *arguments, SCORING_WORDINGS=3, SCORING_TOLERANCE=0.0) == 0
    found = rows(
        "SELECT f.id, f.mean, f.wording_deviation, f.samples, group_concat(w.mean), count(*)"
        " FROM forecasts f JOIN scored_wordings w ON w.forecast_id = f.id GROUP BY f.id"
    )
    assert len(found) == 6
    for _, mean, deviation, samples, means, count in found:
        values = [float(value) for value in means.split(",")]
        assert count == 3
        assert samples == (3 if arguments else 0)
        assert mean == pytest.approx(sum(values) / 3, abs=0.05)
        # The one that asks for no is turned round: the stand-in answers it with the opposite.
        assert max(values) - min(values) < 25
        spread = (sum((value - sum(values) / 3) ** 2 for value in values) / 3) ** 0.5
        assert deviation == pytest.approx(spread, abs=0.05)
    assert "Asked in several wordings, one of them for no" in capsys.readouterr().out
    texts = [text for (text,) in rows("SELECT text FROM prompts")]
    assert sum("that the answer to the question is no?" in text for text in texts) == 0


def test_one_wording_is_as_before_and_another_count_is_not_resumed(place, monkeypatch, capsys):
    content = "a,Will A happen?,,,,,,\n"
    monkeypatch.setenv("STUB_FAIL", "stub-c")
    assert ask(content) == 1
    assert rows("SELECT count(*), count(wording_deviation) FROM forecasts") == [(3, 0)]
    assert rows("SELECT count(*) FROM scored_wordings") == [(0,)]
    monkeypatch.delenv("STUB_FAIL")
    assert ask("", "2026-05-04", "--resume", SCORING_WORDINGS=2) == 2
    assert "scoring_wordings was not set" in capsys.readouterr().err
