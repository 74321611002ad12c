"""Two processes on one database at random offsets: two runs, two resumes, a run and a score, a run and a migration.

    python -m tests.support.two_at_once 50 [SEED]

Each round starts both in a folder of their own, the second up to a second after the first, and looks at what they left: exit
codes that the situation allows, no traceback, every forecast once, an intact file. The engine is tests/stub_cli.py.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.storage.test_database import stored_schema

ROOT = Path(__file__).parents[2]
SECONDS = 120
ASK = [part for n in range(3) for part in ("--question", f"Will event {n} of the test happen?")]
RUN = ["tests.support.stub_cli", *ASK, "--models", "stub-a", "stub-b", "--no-retrieval"]
RESUME = ["tests.support.stub_cli", "--resume", "1"]
SCORE = ["analysis", "--score"]
TWICE = (
    "SELECT run_id, question_id, agent, chunk FROM forecasts GROUP BY 1, 2, 3, 4 HAVING count(*) > 1"
    " UNION ALL SELECT run_id, question_id, '', 0 FROM ensembles GROUP BY 1, 2 HAVING count(*) > 1"
)


def start(folder: Path, module: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """One program of the project on the folder's database."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments, "--database", str(folder / "run.db"), "--plots", str(folder / "plots")],
        cwd=ROOT,
        env={**os.environ, "LOG_DIR": str(folder), "OMP_NUM_THREADS": "1", "STUB_TODAY": "2026-09-01", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip


def partial(folder: Path) -> None:
    """A run whose second model is missing."""
    process = start(folder, *RUN, STUB_FAIL="stub-b")
    process.communicate(timeout=SECONDS)
    assert process.returncode == 1


def old(folder: Path) -> None:
    """A database of the first schema, which whoever opens it first brings up to date."""
    stored_schema(1, folder / "run.db")


def nothing(_folder: Path) -> None:
    """No database yet."""


# What is there before, what is started first and second, and the exit codes each may end with.
PAIRS: dict[str, tuple[Callable[[Path], None], list[str], list[str], set[tuple[int, int]]]] = {
    "two runs": (nothing, RUN, RUN, {(0, 0)}),
    # Told that the other works on it, or that nothing is left to do; never both at work.
    "two resumes": (partial, RESUME, RESUME, {(0, 2), (2, 0), (0, 0)}),
    # The database may not be there yet, and no outcome is known.
    "a run and a score": (nothing, RUN, SCORE, {(0, 2)}),
    "a run and a migration": (old, RUN, RUN, {(0, 0)}),
}


def play(name: str, folder: Path, offset: float) -> list[str]:
    """One round in an empty folder, the second ``offset`` seconds after the first; what is wrong, one line each."""
    prepare, first, second, allowed = PAIRS[name]
    prepare(folder)
    processes = []
    for command in (first, second):
        processes.append(start(folder, *command))
        time.sleep(offset if len(processes) == 1 else 0)
    said = [process.communicate(timeout=SECONDS)[0] for process in processes]
    codes = processes[0].returncode, processes[1].returncode
    if codes not in allowed:
        return [f"{name}, offset {offset:.2f} s: exit codes {codes}: {said}"]
    wrong: list[str] = []
    wrong += [text for text in said if "Traceback" in text or "UNIQUE" in text]
    with contextlib.closing(sqlite3.connect(folder / "run.db")) as connection:
        wrong += [f"twice: {row}" for row in connection.execute(TWICE)]
        wrong += [
            str(row) for row in connection.execute("PRAGMA integrity_check") if row != ("ok",)
        ]
        unfinished = "SELECT id, status FROM runs WHERE settings <> '{}' AND status <> 'finished'"
        if name != "a run and a migration":  # the old runs are as they were
            wrong += [f"unfinished: {row}" for row in connection.execute(unfinished)]
    return [f"{name}, offset {offset:.2f} s: {line}" for line in wrong]


def main() -> int:
    """Play so many rounds of each pair; prints what is wrong and a count."""
    rounds = int(sys.argv[1])
    chance = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
    wrong: list[str] = []
    for _ in range(rounds):
        for name in PAIRS:
            with tempfile.TemporaryDirectory() as folder:
                wrong += play(name, Path(folder), chance.random())
    print(*wrong, f"{rounds} rounds of {len(PAIRS)} pairs, {len(wrong)} faults", sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
