"""Measure what a growing record costs: scores, starts, runs and figures.

    python benchmarks/record_scale.py [--forecasts 10000] [--weeks 4 52] [--keep FOLDER]

Databases are filled through the program's own stores: weekly runs of three models over the same
questions, with evidence, pools and outcomes. Printed are processor seconds (user and system) of
whole commands, peak memory, and for one more run on the stand-in engine the rows it reads and the
steps SQLite takes, which no other load on the machine can change.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402 - the folder of the modules has to be known first

from database import Database  # noqa: E402
from questions.question import Question  # noqa: E402
from scoring.distribution import Distribution, agreement  # noqa: E402
from scoring.pooling import pool  # noqa: E402
from scoring.prompts import Passage  # noqa: E402
from storage import connection  # noqa: E402
from storage.new_records import (  # noqa: E402
    EnsembleRecord,
    ForecastRecord,
)
from storage.records import Article, Resolution  # noqa: E402

MODELS = ("one", "two", "three")
FIRST_DAY = date(2025, 1, 6)
GRID = np.arange(101)
# Passages in a prompt.
QUOTED = 10
BARE = "import argparse; argparse.ArgumentParser().parse_args()"


# --- databases ------------------------------------------------------------------------------------


@contextmanager
def today(day: date) -> Iterator[None]:
    """Let the stores' clock be a day's morning."""
    with patch.object(connection, "utc_now", lambda: f"{day.isoformat()}T08:00:00Z"):
        yield


def asked(count: int) -> list[Question]:
    """Make questions; every fourth shares its cluster with the one before."""
    return [
        Question(
            f"Will event number {n} happen before 2027?",
            id=f"q{n}",
            extra={"crowd": f"{(n * 37 % 97 + 1) / 100}", "cluster": f"c{n - (n % 4 == 3)}"},
        )
        for n in range(count)
    ]


def believed(centre: float) -> Distribution:
    """Make a bell around a percentage that has all 101 numbers."""
    return Distribution.from_weights(np.exp(-(((GRID - centre) / 12) ** 2) / 2) + 1e-6)


def fill(path: Path, questions: int, weeks: int, *, resolved: bool = True, words: int = 2) -> int:
    """Store weekly runs of three models, prompted with passages of so many words.

    Returns the number of forecasts.
    """
    random = np.random.default_rng(7)
    events = asked(questions)
    level = random.uniform(5, 95, questions)
    with Database(path) as database:
        # Nothing here must survive a power cut.
        database.connection.sql.execute("PRAGMA synchronous = OFF")
        passages = _evidence(database, words)
        for week in range(weeks):
            with today(FIRST_DAY + timedelta(weeks=week)):
                run = database.runs.start(
                    settings={"model_order": list(MODELS)}, versions={}, seed=1, as_of=None,
                    questions=events,
                )  # fmt: skip
                links = tuple(
                    replace(passages[(week + k) % len(passages)], rank=k + 1, score=0.5)
                    for k in range(QUOTED)
                )
                for n, question in enumerate(events):
                    centres = np.clip(level[n] + random.normal(0, 8, len(MODELS)), 1, 99)
                    store_voices(database, run, question, [believed(c) for c in centres], links)
                database.runs.finish(run, "finished")
        if resolved:
            day = (FIRST_DAY + timedelta(weeks=weeks)).isoformat()
            ended = random.random(questions) < level / 100
            database.outcomes.add(
                [Resolution(q.id, int(y), day) for q, y in zip(events, ended, strict=True)]
            )
    return questions * weeks * len(MODELS)


def _evidence(database: Database, words: int) -> list[Passage]:
    for n in range(20):
        article = Article("wikipedia", f"Title {n}", f"r{n}", "2025-01-01T00:00:00Z", "", "text")
        text = " ".join(["Passage", *[f"word{n}"] * (words - 1)]) + "."
        database.articles.add(article, [Passage(text=text, section="History", tokens=words + 1)])
    rows = database.connection.query("SELECT id, text FROM passages ORDER BY id")
    return [Passage(id=row["id"], text=row["text"]) for row in rows]


def store_voices(
    database: Database,
    run: int,
    question: Question,
    voices: Sequence[Distribution],
    links: tuple[Passage, ...],
) -> None:
    """Store a question's forecasts and their pool."""
    quoted = "\n".join(passage.text for passage in links)
    for name, distribution in zip(MODELS, voices, strict=True):
        record = ForecastRecord(
            question.id, name, f"owner/{name}", distribution=distribution, captured_mass=0.9,
            residual_mass=0.0, evidence=links, prompt=f"{quoted}\n{question.text}",
        )  # fmt: skip
        database.forecasts.save(run, record)
    count = len(voices)
    database.forecasts.save_ensemble(
        run,
        EnsembleRecord(
            question.id, "mean", pool(voices, "mean"), count, count, agreement(voices), 0.9, 0.0,
            low_confidence=False,
        ),
    )  # fmt: skip


# --- measuring ------------------------------------------------------------------------------------


def cost(command: Sequence[str], tries: int = 1, **variables: str) -> tuple[float, float]:
    """Run a command; returns its least processor seconds and largest memory in MB."""
    best, peak = float("inf"), 0.0
    for _ in range(tries):
        process = subprocess.Popen(  # noqa: S603 - this program's own commands
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, **variables},
        )  # fmt: skip
        _, _, used = os.wait4(process.pid, 0)
        best = min(best, used.ru_utime + used.ru_stime)
        peak = max(peak, used.ru_maxrss / 1000)
    return best, peak


def starts() -> None:
    """Print what a usage error costs beside a bare argparse program."""
    bare, _ = cost([sys.executable, "-c", BARE, "--nonsense"], 15)
    print(f"bare argparse program: {bare:.3f} s")
    for name in ("forecaster.py", "analysis.py"):
        own, _ = cost([sys.executable, name, "--nonsense"], 15)
        print(f"{name} --nonsense: {own:.3f} s, {own / bare:.1f} times")


def scores(folder: Path, forecasts: int) -> None:
    """Print what scoring costs: few questions over many weeks, and many over few."""
    for weeks in (50, 4):
        questions = max(1, round(forecasts / weeks / len(MODELS)))
        path = folder / f"score-{questions}-{weeks}.db"
        count = questions * weeks * len(MODELS)
        if not path.exists():
            fill(path, questions, weeks)
        plots = str(folder / "plots")
        command = [sys.executable, "analysis.py", "--score", "--database", str(path)]
        seconds, memory = cost([*command, "--plots", plots])
        print(
            f"--score, {count:,} forecasts ({questions} questions, {weeks} runs):"
            f" {seconds:.1f} s, {memory:.0f} MB"
        )


def figures(folder: Path) -> None:
    """Print what a figure costs once matplotlib is warm: three models, 50 weeks."""
    from reporting.overview_plot import overview_figures
    from reporting.plots import history_figures, run_figures
    from reporting.svg import render

    path = folder / "figures.db"
    if not path.exists():
        fill(path, 24, 50, resolved=False)

    def spent(made: Iterable[Any]) -> float:
        before, count = time.process_time(), 0
        for figure in made:
            render(figure)
            count += 1
        return (time.process_time() - before) / count

    with Database(path) as database:
        rows = [history.overview_row() for history, _ in history_figures(database)]
        pages = overview_figures([row for row in rows if row is not None], "Latest")
        render(pages[0])
        distribution = spent(figure for _, figure in run_figures(database, 50))
        history = spent(figure for _, figure in history_figures(database))
        page = spent(overview_figures([row for row in rows if row is not None], "Latest"))
    print(
        f"a figure: distributions {distribution:.3f} s, history {history:.3f} s, overview of 24"
        f" questions {page:.3f} s"
    )


def year(folder: Path) -> None:
    """Print what pictures and report of a year cost, with passages of usual length."""
    path, page, plots = folder / "year.db", folder / "year.html", folder / "year"
    if not path.exists():
        fill(path, 30, 52, words=110)
    command = [sys.executable, "analysis.py", "--database", str(path)]
    seconds, _ = cost([*command, "--plots", str(plots)])
    sizes = [picture.stat().st_size for picture in plots.iterdir()]
    print(f"a year's {len(sizes)} pictures: {seconds:.1f} s, {sum(sizes) / 1e6:.2f} MB")
    seconds, memory = cost([*command, "--report", str(page)])
    size = page.stat().st_size / 1e6
    print(f"its report: {seconds:.1f} s, {memory:.0f} MB of memory, {size:.2f} MB")


def run_counts(
    database: Path, plots: Path, questions: Sequence[Question], day: str = "2026-06-01"
) -> dict[str, float]:
    """Run the stand-in engine once more; count what is read and used."""
    from tests.support.stub_cli import stub_main

    counts: dict[str, float] = {"rows": 0, "steps": 0}
    original, connect = connection.Connection.query, connection.Connection._connect

    def query(self: Any, statement: str, parameters: Any = ()) -> Any:
        rows = original(self, statement, parameters)
        counts["rows"] += len(rows)
        return rows

    def step() -> None:
        counts["steps"] += 1000

    def counted(*arguments: Any, **options: Any) -> Any:
        opened = connect(*arguments, **options)
        opened.set_progress_handler(step, 1000)
        return opened

    listed = database.with_suffix(".csv")
    lines = [f"{q.id},{q.text},{q.extra.get('source', '')},{q.extra['cluster']}" for q in questions]
    listed.write_text("\n".join(["id,question,source,cluster", *lines]), encoding="utf-8")
    where = ["--database", str(database), "--plots", str(plots)]
    before = resource.getrusage(resource.RUSAGE_SELF)
    with (
        patch.object(connection.Connection, "query", query),
        patch.object(connection.Connection, "_connect", staticmethod(counted)),
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
    ):
        questions_file = ["--questions", str(listed), "--no-retrieval"]
        code = stub_main([*questions_file, *where], today=day)
    after = resource.getrusage(resource.RUSAGE_SELF)
    counts["seconds"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert code == 0
    return counts


def runs(folder: Path, weeks: Sequence[int]) -> None:
    """Print what one more run of five questions costs beside the runs that are stored."""
    for count in (1, *weeks):  # the first imports what the others find
        path = folder / f"runs-{count}.db"
        path.unlink(missing_ok=True)
        fill(path, 40, count, resolved=False)
        found = run_counts(path, folder / "plots", asked(5))
        print(
            f"one more run of 5 questions after {count} runs of 40: {found['rows']:,.0f} rows read,"
            f" {found['steps']:,.0f} SQLite steps, {found['seconds']:.2f} s"
        )


@contextmanager
def databases(keep: Path | None) -> Iterator[Path]:
    """Name the machine; give a folder for the databases, ``keep`` or one that goes."""
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        yield folder


def main() -> None:
    """Print all measurements."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--forecasts", type=int, nargs="*", default=[10_000])
    parser.add_argument("--weeks", type=int, nargs="*", default=[4, 52])
    parser.add_argument("--keep", type=Path, help="folder for the databases")
    arguments = parser.parse_args()
    with databases(arguments.keep) as folder:
        starts()
        for forecasts in arguments.forecasts:
            scores(folder, forecasts)
        figures(folder)
        year(folder)
        runs(folder, arguments.weeks)


if __name__ == "__main__":
    main()
