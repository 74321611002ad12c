"""Faults of disk and file, made real in processes of their own: one clear line, an exit code, and nothing lost."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).parents[1] / "support" / "kill_driver.py"
FORECASTS = (
    "SELECT run_id, question_id, agent, chunk, probabilities FROM forecasts ORDER BY 1, 2, 3, 4"
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    questions = [json.dumps({"id": f"q{n}", "question": f"Will {n} happen?"}) for n in range(4)]
    (tmp_path / "q.jsonl").write_text("\n".join(questions))
    return tmp_path


def start(folder: Path, *arguments: str, preexec=None, **environment: str) -> subprocess.Popen[str]:
    """The real command line with a fake engine, in a process of its own."""
    model = str(folder / "model")
    more = {"LOG_DIR": str(folder), "MODEL": model, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(
        [sys.executable, str(DRIVER), *arguments],
        env={**os.environ, **more},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=preexec,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=180)
    assert "Traceback" not in out + err
    return process.returncode, out, err


def run(folder: Path, *arguments: str, preexec=None, **environment: str) -> tuple[int, str, str]:
    return ended(start(folder, *arguments, preexec=preexec, **environment))


def rows(path: Path, sql: str) -> list[tuple]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def said(err: str) -> str:
    """The one line in which the program says why it ended."""
    (line,) = [line for line in err.splitlines() if line.startswith("forecaster.py: ")]
    return line


def finished_by_resuming(folder: Path, path: Path) -> None:
    """The run stopped part-way; resumed, it keeps what it had, holds all 16 forecasts and an intact file."""
    before = rows(path, FORECASTS)
    assert 0 < len(before) < 16
    code, _, err = run(folder, "--resume", "--database", str(path.relative_to(folder)))
    assert code == 0, err
    after = rows(path, FORECASTS)
    assert set(before) <= set(after)
    assert len(after) == 16
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]


def test_two_processes_on_one_new_database_both_finish(folder):
    asked = ("--questions", "q.jsonl", "--database", "run.db")
    both = [ended(process) for process in [start(folder, *asked) for _ in range(2)]]
    assert [code for code, _, _ in both] == [0, 0], both
    assert rows(folder / "run.db", "SELECT status FROM runs") == [("finished",)] * 2
    counts = "SELECT count(*) FROM forecasts GROUP BY run_id, question_id, agent, chunk"
    assert rows(folder / "run.db", counts) == [(1,)] * 32
    first, second = (
        [row[1:] for row in rows(folder / "run.db", FORECASTS) if row[0] == n] for n in (1, 2)
    )
    assert first == second
    assert rows(folder / "run.db", "PRAGMA integrity_check") == [("ok",)]


def limited():
    """Files of this process cannot grow beyond 680 kB: writing fails as it does on a full disk, here with EFBIG."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (680_000, 680_000))


def test_a_file_that_cannot_grow_ends_the_run_and_a_resumed_one_finishes_it(folder):
    asked = ("--questions", "q.jsonl", "--database", "run.db")
    code, _, err = run(folder, *asked, preexec=limited)
    assert code == 2
    assert "--resume" in said(err)
    assert "run.db" in said(err)
    finished_by_resuming(folder, folder / "run.db")


def modes_count():
    """Let file modes bind root too: CAP_DAC_OVERRIDE (1) leaves the bounding set (prctl 24) before the program starts."""
    if os.geteuid() == 0 and ctypes.CDLL(None).prctl(24, 1, 0, 0, 0) != 0:
        raise OSError("CAP_DAC_OVERRIDE cannot be given up")


@pytest.mark.parametrize("what", ["folder", "file", "folder of a new file"])
def test_what_may_not_be_written_is_named_and_kept(folder, what):
    place = folder / "place"
    place.mkdir()
    asked = ("--questions", "q.jsonl", "--database", "place/run.db")
    if what != "folder of a new file":
        assert run(folder, *asked)[0] == 0
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    (place / "run.db" if what == "file" else place).chmod(0o444 if what == "file" else 0o555)
    try:
        code, _, err = run(folder, *asked, preexec=modes_count)
    finally:
        place.chmod(0o755)
    assert code == 2
    assert "place/run.db: " in said(err)
    assert "permissions" in said(err)
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before


def test_a_full_disk_ends_the_run_and_a_resumed_one_finishes_it(folder):
    disk = folder / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a small tmpfs")
    try:
        (disk / "ballast").write_bytes(bytes(280_000))
        asked = ("--questions", "q.jsonl", "--database", "disk/run.db")
        code, _, err = run(folder, *asked)
        assert code == 2
        assert "disk/run.db: the disk is full" in said(err)
        (disk / "ballast").unlink()
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
        finished_by_resuming(folder, disk / "run.db")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("damage", ["letter", "truncated", "overwritten", "header"])
def test_a_corrupt_file_is_named_and_not_touched(folder, damage):
    path = folder / "run.db"
    if damage == "letter":
        path.write_text("This is a letter, not a database. " * 500)
    else:
        assert run(folder, "--questions", "q.jsonl", "--database", "run.db")[0] == 0
        content = bytearray(path.read_bytes())
        if damage == "truncated":
            del content[len(content) // 3 :]
        else:
            start_, end = (4096, len(content)) if damage == "overwritten" else (0, 100)
            content[start_:end] = b"\xa5" * (end - start_)
        path.write_bytes(content)
    before = path.read_bytes()
    code, _, err = run(folder, "--questions", "q.jsonl", "--database", "run.db")
    assert code == 2
    assert "run.db" in said(err)
    assert "damaged" in said(err) or "not an SQLite database" in said(err)
    assert path.read_bytes() == before


def test_a_locked_file_is_waited_for_and_then_named(folder):
    assert run(folder, "--questions", "q.jsonl", "--database", "run.db")[0] == 0
    before = rows(folder / "run.db", FORECASTS)
    with contextlib.closing(sqlite3.connect(folder / "run.db", isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        code, _, err = run(folder, "--questions", "q.jsonl", "--database", "run.db", BUSY="0.2")
        holder.execute("ROLLBACK")
    assert code == 2
    assert "run.db: locked by another process" in said(err)
    assert rows(folder / "run.db", FORECASTS) == before
    assert run(folder, "--questions", "q.jsonl", "--database", "run.db")[0] == 0
