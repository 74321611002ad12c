"""Progress on a terminal and elsewhere."""

from __future__ import annotations

import io
import logging
import re
import threading

import pytest

from terminal import library_output, progress, screen


class Screen(io.StringIO):
    """A terminal that says when the text ``awaited`` is shown on it."""

    def __init__(self):
        super().__init__()
        self.awaited = "2/4"
        self.shown = threading.Event()

    def isatty(self):
        return True

    def write(self, text):
        if self.awaited in text:
            self.shown.set()
        return super().write(text)


@pytest.fixture
def terminal(monkeypatch):
    shown = Screen()
    monkeypatch.setattr(screen, "_console", shown)
    return shown


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, logger="terminal.progress")
    return lambda: [
        record.getMessage() for record in caplog.records if record.name == "terminal.progress"
    ]


def test_a_terminal_shows_share_number_rate_and_time_left(terminal):
    with progress.progress("scoring", 8, "forecast") as bar:
        bar.mininterval = 0
        bar.start_t -= 10
        bar.last_print_t -= 10
        bar.update(2.5)
        shown = terminal.getvalue().rpartition("\r")[2]
    assert "scoring:  31%|" in shown
    assert " 2/8 [00:10<00:2" in shown  # two whole ones; ten seconds for 2.5 leave 22 for 5.5
    assert re.search(r", 4\.\d s/forecast\]", shown)
    assert (
        terminal.getvalue().rstrip("\r").rpartition("\r")[2].strip() == ""
    )  # nothing is left behind


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, 4), (3600.0, 0)])
def test_elsewhere_a_line_comes_when_it_is_due(monkeypatch, lines, seconds, expected):
    monkeypatch.setattr(progress, "PLAIN_SECONDS", seconds)
    with progress.progress("scoring", 5, "forecast") as bar:
        for _ in range(5):
            bar.update()
    assert len(lines()) == expected
    if expected:
        assert lines()[1].startswith("scoring: 40 %, 2 of 5 in 00:00, 00:00 left, ")


def test_the_bar_of_a_loading_library_is_passed_on(terminal, monkeypatch):
    monkeypatch.setattr(progress, "TICK_SECONDS", 0.001)
    with progress.waiting("loading phi-4"):
        library_output._listener(
            "Loading safetensors checkpoint shards:  50% Completed | 2/4 [00:10<00:09,  5.00s/it]"
        )
        library_output._listener("[W1125 01:16:30] Warning: NUMA binding")
        assert terminal.shown.wait(60)
    assert "loading phi-4: 00:00, checkpoint shards 2/4, 00:09 left" in terminal.getvalue()
    assert "NUMA" not in terminal.getvalue()
    assert library_output._listener is None
