"""A year of weekly runs on the command line; every output against the stored rows by hand.

Nothing of evaluation/ is used to say what is right: rows are read with SQL, and pools, changes and
scores are computed here from the stored distributions.
"""

from __future__ import annotations

import io
import json
import math
import re
import sqlite3
from collections import defaultdict
from contextlib import redirect_stdout
from datetime import date, datetime, timedelta
from statistics import mean

import pytest

import analysis
import config
import forecaster
from database import Database
from reporting import report
from tests.support.stub_cli import stub_main

WEEKS = 52
START = date(2026, 1, 5)
TEXTS = {
    "rate": "Will the central bank raise its rate before 2027?",
    "vote": "Will the parliament pass the budget before 2027?",
    "pact": "Will both countries sign the fishing treaty before 2027?",
    "strike": "Will the railway workers go on strike before 2027?",
    "levy": "Will the council approve the tourist levy before November 2026?",
    "cup": "Will the national team win the cup before 2028?",
}
REWORDED = "Will parliament adopt the budget before 2027?"
# The week of each: outcome, its day and how it is recorded; a strike is recorded four weeks late.
OUTCOMES = {
    20: ("vote", "no", -2),
    22: ("strike", "yes", -30),
    30: ("rate", "yes", -2),
    40: ("pact", "void", -2),
}
STUB_B_FAILS, ALL_FAIL, FEWER, REPLAY, REWORDING = 7, 15, 33, 12, 10


def monday(week: int) -> str:
    return (START + timedelta(days=7 * (week - 1))).isoformat()


def day(week: int, days: int) -> str:
    return (date.fromisoformat(monday(week)) + timedelta(days=days)).isoformat()


class Year:
    """A year's outputs by week, and what every other program reads in its database."""

    def __init__(self, folder):
        self.folder = folder
        self.codes: dict[int, int] = {}
        self.tables: dict[int, str] = {}
        self.runs: dict[int, int] = {}

    def rows(self, sql, *values):
        with sqlite3.connect(self.folder / "d.db") as connection:
            connection.row_factory = sqlite3.Row
            return connection.execute(sql, values).fetchall()

    def analyse(self, *words):
        printed = io.StringIO()
        with redirect_stdout(printed):
            assert analysis.main(["--database", "d.db", *words]) == 0
        return printed.getvalue()

    def write_questions(self, week):
        lines = ["id,question,close_date,market_price"]
        for name, text in TEXTS.items():
            if name == "cup" and week < 25:
                continue
            text = REWORDED if name == "vote" and week >= REWORDING else text
            closes = "2026-11-01" if name == "levy" else ""
            price = f"{0.2 + week % 9 / 20:.2f}" if name in ("rate", "cup") else ""
            lines.append(f"{name},{text},{closes},{price}")
        (self.folder / "q.csv").write_text("\n".join(lines))

    def write_documents(self, week):
        documents = self.folder / "documents"
        documents.mkdir(exist_ok=True)
        for path in documents.iterdir():
            path.unlink()
        for part in ("country", f"month {week // 4}", f"week {week}" if week % 3 else "holiday"):
            # Words of their own: near copies of each other would not be quoted.
            own = " ".join(f"{word}{part.replace(' ', '')}" for word in TEXTS for _ in range(3))
            said = f"Before 2027, {own}: central bank, parliament, treaty, strike, levy or cup? "
            (documents / f"{part}.txt").write_text(said * 2)

    def forecast(self, week, monkeypatch):
        self.write_questions(week)
        self.write_documents(week)
        failing = {STUB_B_FAILS: "stub-b", ALL_FAIL: "stub-a,stub-b,stub-c"}
        monkeypatch.setenv("STUB_FAIL", failing.get(week, ""))
        words = ["--questions", "q.csv", "--database", "d.db", "--documents", "documents"]
        words += ["--reworded", "vote"] if week == REWORDING else []
        words += ["--models", "owner/stub-a", "owner/stub-c"] if week == FEWER else []
        printed = io.StringIO()
        with redirect_stdout(printed):
            self.codes[week] = stub_main(words, today=monday(week))
        self.tables[week] = printed.getvalue()
        self.runs[week] = self.rows("SELECT max(id) AS id FROM runs")[0]["id"]


@pytest.fixture(scope="module")
def year(tmp_path_factory):
    folder = tmp_path_factory.mktemp("year")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        monkeypatch.setenv("LOG_DIR", str(folder))
        monkeypatch.setenv("COLUMNS", "160")
        monkeypatch.setattr(forecaster, "draw", lambda *_: True)
        year = Year(folder)
        for week in range(1, WEEKS + 1):
            if week in OUTCOMES:
                name, outcome, days = OUTCOMES[week]
                year.analyse("--resolve-one", name, outcome, "--date", day(week, days))
            year.forecast(week, monkeypatch)
            if week == REPLAY:
                replayed = ["--replay", str(year.runs[week]), "--database", "d.db"]
                with redirect_stdout(io.StringIO()):
                    assert stub_main(replayed, today=monday(week)) == 0
        yield year


# --- by hand --------------------------------------------------------------------------------------


def stored_means(year):
    """Means (percent) by run and question, then model, from the 101 stored numbers."""
    found = defaultdict(dict)
    for row in year.rows(
        "SELECT f.* FROM forecasts f JOIN runs r ON r.id = f.run_id"
        " WHERE r.origin_run IS NULL AND f.error IS NULL"
    ):
        assert row["chunk"] == 0
        numbers = json.loads(row["probabilities"])
        assert math.fsum(numbers) == pytest.approx(1, abs=1e-9)
        found[row["run_id"], row["question_id"]][row["agent"]] = math.fsum(
            n * p for n, p in enumerate(numbers)
        )
    return found


def pooled(year):
    """The mean of the models' means: no voice of the stand-in is weak."""
    return {key: mean(models.values()) for key, models in stored_means(year).items()}


def finals(year):
    """The final number in percent: voices averaged in log-odds, moved away from 50 %."""
    found = pooled(year)
    for row in year.rows(
        "SELECT d.* FROM final_numbers d JOIN runs r ON r.id = d.run_id WHERE r.origin_run IS NULL"
    ):
        key = row["run_id"], row["question_id"]
        voices = {
            name: (one["probability"], one["weight"])
            for name, one in json.loads(row["voices"]).items()
            if one["weight"] > 0
        }
        assert voices["models"][0] == pytest.approx(found[key] / 100, abs=1e-12)
        if len(voices) == 1:
            continue
        total = sum(weight for _, weight in voices.values())
        odds = sum(w * math.log(p / (1 - p)) for p, w in voices.values()) / total
        alike = 1 - sum((w / total) ** 2 for _, w in voices.values())
        odds *= 1 + 2 * (json.loads(row["weights"])["sharpening"] - 1) * alike
        found[key] = 100 / (1 + math.exp(-odds))
    return found


def asked(year):
    """The ids that each run without a replay asked, in order."""
    found = defaultdict(list)
    for row in year.rows(
        "SELECT q.* FROM run_questions q JOIN runs r ON r.id = q.run_id WHERE r.origin_run IS NULL"
        " ORDER BY q.run_id, q.position"
    ):
        found[row["run_id"]].append(row["question_id"])
    return found


def quoted(year):
    """The passages in the prompts of each run and question."""
    found = defaultdict(set)
    for row in year.rows(
        "SELECT f.run_id, f.question_id, a.source, a.title, p.text FROM forecasts f"
        " JOIN evidence e ON e.forecast_id = f.id JOIN passages p ON p.id = e.passage_id"
        " JOIN articles a ON a.id = p.article_id WHERE e.used"
    ):
        found[row["run_id"], row["question_id"]].add((row["source"], row["title"], row["text"]))
    return found


def changes(year):
    """What changed by run and question: (models, final or None, new, gone)."""
    models, final, passages = stored_means(year), finals(year), quoted(year)
    found = {}
    for run, name in models:
        earlier = [key for key in models if key[1] == name and key[0] < run]
        if not earlier:
            continue
        before = max(earlier)
        now, then = models[run, name], models[before]
        shared = now.keys() & then.keys()
        moved = mean(now[one] for one in shared) - mean(then[one] for one in shared)
        finally_moved = final[run, name] - final[before] if now.keys() == then.keys() else None
        new, old = passages[run, name], passages[before]
        found[run, name] = before[0], moved, finally_moved, len(new - old), len(old - new)
    return found


# --- compared -------------------------------------------------------------------------------------


def test_what_is_asked_and_the_exit_codes(year):
    expected = dict.fromkeys(range(1, WEEKS + 1), 0) | {STUB_B_FAILS: 1, ALL_FAIL: 1}
    assert year.codes == expected
    for week, run in year.runs.items():
        open_now = [
            name
            for name in TEXTS
            if not any(n == name and week >= at for at, (n, _, _) in OUTCOMES.items())
            and not (name == "cup" and week < 25)
            and not (name == "levy" and monday(week) > "2026-11-01")
        ]
        assert asked(year)[run] == open_now
    assert year.rows("SELECT count(*) AS n FROM rewordings")[0]["n"] == 1
    statuses = {row["id"]: row["status"] for row in year.rows("SELECT id, status FROM runs")}
    failed = {year.runs[STUB_B_FAILS], year.runs[ALL_FAIL]}
    assert {run for run, status in statuses.items() if status == "partial"} == failed
    assert {*statuses.values()} == {"finished", "partial"}
    assert len(statuses) == WEEKS + 1


def test_every_table_shows_the_pools_and_the_final_numbers(year):
    pools, final = pooled(year), finals(year)
    for week, run in year.runs.items():
        table = year.tables[week].split("What changed")[0]
        both = re.search(r"final +models", table) is not None
        names = asked(year)[run]
        assert both == any(
            abs(final[run, name] - pools[run, name]) > 1e-9
            for name in names
            if (run, name) in pools
        )
        for name in names:
            text = REWORDED if name == "vote" and week >= REWORDING else TEXTS[name]
            (line,) = [line for line in table.splitlines() if line.startswith(text[:40])]
            numbers = re.findall(r"(\d+\.\d) %", line)
            if (run, name) not in pools:
                assert (week, numbers) == (ALL_FAIL, [])
                continue
            shown = [f"{pools[run, name]:.1f}"]
            assert numbers == ([f"{final[run, name]:.1f}"] if both else []) + shown
    lacking = year.tables[STUB_B_FAILS]
    assert lacking.count("2 of 3") == len(asked(year)[year.runs[STUB_B_FAILS]])
    assert year.tables[ALL_FAIL].count("0 of 3") == len(asked(year)[year.runs[ALL_FAIL]])


def signed(points):
    return "none" if points is None else f"{points:+.1f}"


def test_every_change_below_a_table_is_the_difference_of_stored_rows(year):
    expected, final, pools = changes(year), finals(year), pooled(year)
    assert "What changed" not in year.tables[1]
    assert "What changed" not in year.tables[ALL_FAIL]
    for week, run in year.runs.items():
        rows = {name: found for (one, name), found in expected.items() if one == run}
        if not rows:
            continue
        block = year.tables[week].partition("What changed since ")[2].splitlines()
        before = {found[0] for found in rows.values()}
        where = f"run {max(before)}" if len(before) == 1 else "the last run of each question"
        assert block[0] == f"{where}, in points (models that both have)"
        both = any(abs(final[run, name] - pools[run, name]) > 1e-9 for name in rows)
        shown = [line.split() for line in block[2 : 2 + len(rows)]]
        order = sorted(rows, key=lambda name: -max(abs(rows[name][1]), abs(rows[name][2] or 0)))
        for name, words in zip(order, shown, strict=True):
            _, moved, finally_moved, new, gone = rows[name]
            numbers = [signed(moved), *([signed(finally_moved)] if both else [])]
            passages = f"{new} new, {gone} gone" if new or gone else "the same"
            text = REWORDED if name == "vote" and week >= REWORDING else TEXTS[name]
            differs = ["wording"] if (name, week) == ("vote", REWORDING) else []
            apart = (STUB_B_FAILS, STUB_B_FAILS + 1, FEWER, FEWER + 1)
            differs += ["models"] if week in apart else []
            line = [*numbers, *passages.split(), *", ".join(differs).split(), *text.split()]
            assert words == line, week
        assert ("Differs between the runs: " in year.tables[week]) == (week in (FEWER, FEWER + 1))


def test_the_view_of_changes_is_the_same(year):
    expected = changes(year)
    found = {
        (row["run"], row["question_id"]): row for row in year.rows("SELECT * FROM forecast_changes")
    }
    assert found.keys() == expected.keys()
    for key, (before, moved, final, new, gone) in expected.items():
        row = found[key]
        assert row["run_before"] == before
        assert row["models_change"] == pytest.approx(moved, abs=1e-9)
        assert row["final_change"] == (None if final is None else pytest.approx(final, abs=1e-9))
        assert (row["passages_new"], row["passages_gone"]) == (new, gone)
        assert row["wording_differs"] == (key == (year.runs[REWORDING], "vote"))
    assert sum(new for *_, new, _ in expected.values()) > 50


# --- the record -----------------------------------------------------------------------------------


def resolutions():
    """Outcome (0 or 1) and moment of what was not voided."""
    return {
        name: (int(outcome == "yes"), datetime.fromisoformat(f"{day(week, days)}T00:00:00+00:00"))
        for week, (name, outcome, days) in OUTCOMES.items()
        if outcome != "void"
    }


def scored(year, numbers):
    """The last number of each question that was made before its resolution."""
    made = {
        (row["run_id"], row["question_id"]): datetime.fromisoformat(row["created_at"])
        for row in year.rows("SELECT * FROM ensembles")
    }
    found = {}
    for name, (outcome, when) in resolutions().items():
        key = max(key for key in numbers if key[1] == name and made[key] < when)
        days = (when - made[key]).total_seconds() / 86400
        found[name] = key[0], numbers[key] / 100, outcome, days
    return found


def test_scores_are_those_of_the_last_forecast_before_each_outcome(year):
    rows = json.loads(year.analyse("--score", "--json"))
    by_model = defaultdict(dict)
    for key, models in stored_means(year).items():
        for name, value in models.items():
            by_model[name][key] = value
    expected = {
        "ensemble": pooled(year),
        "final": finals(year),
        "assisted": finals(year),
        **by_model,
    }
    # With --models a path names its model by its last part.
    assert {row["forecaster"] for row in rows} == {*expected}
    for forecaster_, numbers in expected.items():
        found = {row["id"]: row for row in rows if row["forecaster"] == forecaster_}
        hand = scored(year, numbers)
        assert found.keys() == hand.keys() == {"vote", "strike", "rate"}
        for name, (run, probability, outcome, days) in hand.items():
            row = found[name]
            assert (row["run"], row["outcome"], row["record"]) == (run, outcome, "live")
            assert row["forecast"] == pytest.approx(probability, abs=1e-9)
            assert row["brier"] == pytest.approx((probability - outcome) ** 2, abs=1e-9)
            assert row["days_before"] == pytest.approx(days, abs=0.051)


def test_the_score_lines_are_the_means_of_stored_rows(year):
    lines = year.analyse("--score", "--no-plots").splitlines()
    hand = scored(year, finals(year))
    briers = {name: (p - outcome) ** 2 for name, (_, p, outcome, _) in hand.items()}
    assert lines[0].startswith(f"Brier {mean(briers.values()):.3f} on 3 resolved questions (live")
    share = mean(outcome for _, _, outcome, _ in hand.values())
    always = mean((share - outcome) ** 2 for _, _, outcome, _ in hand.values())
    difference = mean(briers.values()) - always
    assert lines[1].startswith(f"always the base rate {always:.3f}; difference {difference:+.3f} ")
    run = hand["rate"][0]
    price = year.rows(
        "SELECT market FROM outside_views WHERE run_id = ? AND question_id = 'rate'", run
    )[0]["market"]
    theirs = (price - 1) ** 2
    assert lines[2].startswith(
        f"the market {theirs:.3f}; difference {briers['rate'] - theirs:+.3f} "
    )
    assert lines[2].endswith(f"on the 1 question with a price, where ours is {briers['rate']:.3f}")
    table = lines[lines.index("## By question, worst first") + 2 :][: len(hand)]
    worst = sorted(briers, key=lambda name: -briers[name])
    for name, line in zip(worst, table, strict=True):
        probability, outcome = hand[name][1], ("no", "yes")[hand[name][2]]
        words = [name, f"{100 * probability:.1f}", "%", outcome, f"{briers[name]:.3f}"]
        assert line.split()[-6:-1] == words


def test_forecasts_that_do_not_count_are_counted(year):
    text = year.analyse("--score", "--no-plots")
    made = {
        (row["run_id"], row["question_id"]): datetime.fromisoformat(row["created_at"])
        for row in year.rows("SELECT * FROM ensembles")
    }
    means = stored_means(year)
    late, voided, counted = 0, 0, 0
    for key, models in means.items():
        size = len(models) + 1  # and their pool
        if key[1] == "pact":
            voided += size
        elif key[1] in resolutions():
            is_late = made[key] >= resolutions()[key[1]][1]
            late += size * is_late
            counted += size * (not is_late)
    assert f"{counted} forecasts of 3 resolved questions count" in text
    assert f"{late} forecasts, made after the resolution (strike" in text
    assert f"{voided} forecasts, the question was voided (pact" in text
    assert late > 0


def test_the_lists_agree_with_the_rows(year):
    questions = {
        row["id"]: row for row in json.loads(year.analyse("--list", "questions", "--json"))
    }
    final = finals(year)
    outcomes = {name: outcome for name, outcome, _ in OUTCOMES.values()}
    assert questions.keys() == TEXTS.keys()
    for name, row in questions.items():
        runs = [run for run, names in asked(year).items() if name in names]
        assert (row["runs"], row["last run"]) == (len(runs), max(runs))
        assert row["outcome"] == outcomes.get(name)
        assert row["question"] == (REWORDED if name == "vote" else TEXTS[name])
        assert row["forecast"] == pytest.approx(final[max(runs), name] / 100, abs=1e-5)
    due = json.loads(year.analyse("--list", "due", "--json"))
    assert [row["id"] for row in due] in (["levy"], [])  # by the clock of the machine
    errors = {
        row["run_id"]: row["n"]
        for row in year.rows(
            "SELECT run_id, count(*) AS n FROM forecasts WHERE error IS NOT NULL GROUP BY run_id"
        )
    }
    means = stored_means(year)
    listed = {row["run"]: row for row in json.loads(year.analyse("--list", "runs", "--json"))}
    assert len(listed) == WEEKS + 1
    for run, names in asked(year).items():
        forecasts = sum(len(models) for key, models in means.items() if key[0] == run)
        row = listed[run]
        assert (row["questions"], row["forecasts"], row["errors"]) == (
            len(names), forecasts, errors.get(run, 0),
        )  # fmt: skip


def test_the_report_names_the_last_changes(year, monkeypatch):
    monkeypatch.setattr(report, "inline", lambda *_: "")
    run = year.runs[WEEKS]
    with Database(year.folder / "d.db") as database:
        page = report.render(database, run)
    table = page.partition(">What changed</h2>")[2].partition("</table>")[0]
    number = r'<td class="n"[^>]*>(.*?)</td>'
    cells = re.findall(rf"<tr><td>(.*?)</td>{number}{number}", table)
    expected = {
        TEXTS[name]: (signed(moved), signed(final))
        for (one, name), (_, moved, final, *_) in changes(year).items()
        if one == run
    }
    assert {text: (moved, final) for text, moved, final in cells} == expected
    assert len(cells) < config.MAX_PLOTTED_QUESTIONS
