"""Measure what the steps of a week cost beside records of different sizes.

    python benchmarks/weekly_loop.py [--forecasts 1000 10000 100000] [--keep FOLDER]

A year of weekly runs is stored as the program does it: questions of three models stay open for four
weeks, have sources, groups, base rates with relatives and mostly prices, and are resolved. Then five
new questions are asked on the stand-in engine, three of them resolved, and so on; at last somebody
changes an outcome by hand, after which a run learns anew. Printed are processor seconds (user and
system), rows read and steps of SQLite, and by how much the file has grown.
"""

from __future__ import annotations

import argparse
import shutil
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402 - the folder of the modules has to be known first

from benchmarks.record_scale import (  # noqa: E402
    MODELS,
    believed,
    cost,
    databases,
    run_counts,
    store_voices,
    today,
)  # fmt: skip
from database import Database  # noqa: E402
from evaluation.base_rates import Past, PastQuestion, base_rate  # noqa: E402
from evaluation.past_record import PRICED, UNPRICED  # noqa: E402
from questions.question import Question  # noqa: E402
from storage.final_numbers import FinalNumbers, OutsideView  # noqa: E402
from storage.records import Resolution  # noqa: E402

WEEKS = 52
# Weeks for which a question is open.
OPEN = 4
GROUPS = ("Albion", "Borneo", "Canton", "Dacia", "Epirus", "Fiji", "Galicia", "Hejaz")
SOURCES = ("market one", "market two", "editors")
# Later than any day of the record, and past: outcomes have no future dates.
LAST_DAY = datetime.now(UTC).date() - timedelta(days=1)
FIRST_DAY = LAST_DAY - timedelta(weeks=WEEKS + 4)


def question(n: int) -> Question:
    """Make a question; two of three have a price."""
    extra = {"source": SOURCES[n // 2 % 3], "cluster": f"c{n}"}
    return Question(f"Will lot {n} of {GROUPS[n % 8]} be sold?", id=f"q{n}", extra=extra)


def fill(path: Path, forecasts: int) -> int:
    """Store a year of weekly runs; returns the number of forecasts."""
    new = max(1, round(forecasts / len(MODELS) / WEEKS / OPEN))
    draw = np.random.default_rng(7)
    level = draw.uniform(5, 95, new * WEEKS)
    ended: list[PastQuestion] = []
    count = 0
    with Database(path) as database:
        # Nothing here must survive a power cut.
        database.connection.sql.execute("PRAGMA synchronous = OFF")
        for week in range(WEEKS):
            day = FIRST_DAY + timedelta(weeks=week)
            asked = [question(n) for n in range(new * max(0, week - OPEN + 1), new * (week + 1))]
            with today(day):
                _run(database, asked, day, level, draw, Past(ended))
            count += len(asked) * len(MODELS)
            over = asked[:new] if week >= OPEN - 1 else []
            _resolve(database, over, day + timedelta(days=6), level, draw, ended)
    return count


def _run(
    database: Database,
    asked: Sequence[Question],
    day: date,
    level: np.ndarray,
    draw: np.random.Generator,
    past: Past,
) -> None:
    run = database.runs.start(
        settings={"model_order": list(MODELS)}, versions={}, seed=1, as_of=None, questions=asked
    )
    views, numbers = [], []
    for one in asked:
        n = int(one.id[1:])
        centres = np.clip(level[n] + draw.normal(0, 8, len(MODELS)), 1, 99)
        store_voices(database, run, one, [believed(c) for c in centres], ())
        view = OutsideView(one.id)
        if n % 3:
            price = round(float(np.clip(level[n] + draw.normal(0, 10), 1, 99)) / 100, 2)
            view = replace(view, market=price, market_date=day.isoformat())
        rate = base_rate(one, day.isoformat(), past)
        if rate is not None:
            view = replace(
                view, base_rate=rate.probability, kind=rate.kind, family=rate.family, yes=rate.yes,
                relatives=rate.relatives, prior=rate.prior, strength=rate.strength,
            )  # fmt: skip
        views.append(view)
        p = float(centres.mean() / 100)
        kind = PRICED if n % 3 else UNPRICED
        numbers.append(FinalNumbers(one.id, 1, p, p, p, p, {}, {}, {}, kind, day.isoformat()))
    database.final.save_outside_views(run, views)
    database.final.save(run, numbers)
    database.runs.finish(run, "finished")


def _resolve(
    database: Database,
    over: Sequence[Question],
    day: date,
    level: np.ndarray,
    draw: np.random.Generator,
    ended: list[PastQuestion],
) -> None:
    outcomes = [int(draw.random() < level[int(one.id[1:])] / 100) for one in over]
    database.outcomes.add(
        [Resolution(q.id, y, day.isoformat()) for q, y in zip(over, outcomes, strict=True)]
    )
    ended += [
        PastQuestion(q.id, q.text, q.extra["source"], "", float(y), day.isoformat())
        for q, y in zip(over, outcomes, strict=True)
    ]


def loop(folder: Path, path: Path) -> None:
    """Ask, resolve, ask and so on; then let somebody change the record, and ask."""
    for week in range(3):
        day = LAST_DAY - timedelta(weeks=3 - week)
        asked = [question(n) for n in range(10**6 + 5 * week, 10**6 + 5 * (week + 1))]
        ask(f"week {week + 1}: ask 5 questions", folder, path, asked, day)
        name = folder / "outcomes.csv"
        over = day + timedelta(days=6)
        lines = [f"{one.id},{n % 2},{over}" for n, one in enumerate(asked[:3])]
        name.write_text("\n".join(["id,outcome,date", *lines]), encoding="utf-8")
        command = [sys.executable, "analysis.py", "--database", str(path), "--resolve", str(name)]
        seconds, memory = cost(command)
        print(f"  resolve 3 of them: {seconds:.2f} s, {memory:.0f} MB", flush=True)
    again = [question(n) for n in range(10**6 + 15, 10**6 + 20)]
    ask("ask 5 questions", folder, path, again, LAST_DAY)
    ask("ask them again", folder, path, again, LAST_DAY)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM resolutions WHERE question_id = ?", (question(10**6).id,))
    ask("an outcome was deleted by hand: ask them again", folder, path, again, LAST_DAY)


def ask(name: str, folder: Path, path: Path, asked: Sequence[Question], day: date) -> None:
    """Ask some questions, and print the cost."""
    before = path.stat().st_size
    found = run_counts(path, folder / "plots", asked, day.isoformat())
    grown = (path.stat().st_size - before) / 1e3
    print(
        f"  {name}: {found['rows']:,.0f} rows read, {found['steps']:,.0f} SQLite steps,"
        f" {found['seconds']:.2f} s, file +{grown:,.0f} kB",
        flush=True,
    )


def main() -> None:
    """Print the loop's costs for each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--forecasts", type=int, nargs="*", default=[1000, 10_000, 100_000])
    parser.add_argument("--keep", type=Path, help="folder for the databases")
    arguments = parser.parse_args()
    with databases(arguments.keep) as folder:
        for forecasts in arguments.forecasts:
            full, path = folder / f"full-{forecasts}.db", folder / f"loop-{forecasts}.db"
            if not full.exists():
                fill(full, forecasts)
            shutil.copyfile(full, path)
            if forecasts == arguments.forecasts[0]:  # the first run imports what others find
                run_counts(path, folder / "plots", [question(10**7)], LAST_DAY.isoformat())
                shutil.copyfile(full, path)
            print(f"{forecasts:,} forecasts, {full.stat().st_size / 1e6:,.0f} MB")
            loop(folder, path)


if __name__ == "__main__":
    main()
