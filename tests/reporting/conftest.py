"""Runs of the command line on two questions, for histories, plots and report."""

from __future__ import annotations

import pytest

import forecaster
from tests.support.stub_cli import stub_main

ASKED = "id,question\neu,Will a country join the EU?\noil,Will oil rise?\n"


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """Run the command line on two questions without evidence."""
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setattr(forecaster, "draw", lambda *_: True)
    (tmp_path / "q.csv").write_text(ASKED, encoding="utf-8")

    def run(today: str, *arguments: str, fail: str = "") -> int:
        monkeypatch.setenv("STUB_FAIL", fail)
        words = [
            "--questions",
            str(tmp_path / "q.csv"),
            "--database",
            str(tmp_path / "d.db"),
            "--no-retrieval",
        ]
        return stub_main([*words, *arguments], today=today)

    return run
