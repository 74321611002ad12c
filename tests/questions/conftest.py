"""The command line on a question file, for the tests of this folder."""

from __future__ import annotations

import contextlib
import json
import sqlite3

import pytest

import forecaster
from tests.support.stub_cli import stub_main

TODAY = "2026-11-26"


@pytest.fixture
def ask(tmp_path, monkeypatch, capsys):
    """Run the command line on a file; returns the exit code, the lines on standard error and what was asked."""
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setattr(forecaster, "draw", lambda *_: True)

    def run(name, content, *arguments, option="--questions"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        database = tmp_path / "run.db"
        common = ["--database", str(database), "--models", "stub-a", "--no-retrieval"]
        code = stub_main([option, str(path), *common, *arguments], today=TODAY)
        err = capsys.readouterr().err
        if code == 2:
            assert not database.exists()
            assert len(err.splitlines()) == 1
            return code, err.strip().replace(str(path), name), []
        with contextlib.closing(sqlite3.connect(database)) as connection:
            found = connection.execute(
                "SELECT asked FROM run_questions WHERE run_id = (SELECT max(id) FROM runs) ORDER BY position"
            ).fetchall()
            (forecasts,) = connection.execute(
                "SELECT count(*) FROM forecasts WHERE error IS NULL"
            ).fetchone()
            assert forecasts >= len(found)
        return code, err.replace(str(path), name), [json.loads(asked) for (asked,) in found]

    return run
