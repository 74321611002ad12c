"""Progress on a terminal and elsewhere, and the wave that feeds it."""

from __future__ import annotations

import io
import logging
import re
import threading

import pytest

import config
from scoring.agent import Wave
from terminal import library_output, progress, screen
from tests.scoring.test_agent_stub import agent_with, task


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


def test_what_a_wave_tells_adds_up_to_its_tasks():
    told = []
    wave = Wave(told.append, 4, 0.8)
    wave.begin(4)
    for _ in range(4):
        wave.tick()
    assert sum(told) == pytest.approx(3.2)
    wave.begin(10)
    wave.tick()
    assert told[-1] == pytest.approx(0.04)  # half of what is left, a tenth of it
    wave.end()
    assert sum(told) == pytest.approx(4)


def test_scoring_comes_in_waves_and_tells_how_far_it_is(monkeypatch):
    monkeypatch.setattr(config, "SCORING_WAVE", 2)
    # A window that holds the short questions and not the long one.
    agent = agent_with(
        window=len(agent_with().build_prompt(task("Will A happen?")).token_ids) + 100
    )
    told = []
    agent.progress = told.append
    outcomes = agent.score(
        [*(task(f"Will {name} happen?") for name in "ABCD"), task("x" * 900), task("Will E?")]
    )
    assert next(outcomes).error is not None  # the one that does not fit
    assert next(outcomes).index == 0
    assert len(agent.llm.calls) == 3
    assert sum(told) == pytest.approx(3)  # that one and the first wave
    assert [outcome.index for outcome in outcomes] == [1, 2, 3, 5]
    assert len(agent.llm.calls) == 9
    assert sum(told) == pytest.approx(6)
