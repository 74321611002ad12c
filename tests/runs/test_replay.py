"""The lines that compare a replay with the run that it replays."""

from __future__ import annotations

from types import SimpleNamespace

from runs.replay import replay_lines
from scoring.distribution import Distribution


def row(question, low, chunk=0, sha="a", error=None):
    """A forecast of 40 % with probability ``low`` and of 60 % otherwise."""
    distribution = (
        None if error else Distribution([0] * 40 + [low] + [0] * 19 + [1 - low] + [0] * 40)
    )
    return SimpleNamespace(
        question_id=question,
        agent="m",
        chunk=chunk,
        distribution=distribution,
        mean=distribution and distribution.mean,
        prompt_sha256=sha,
        error=error,
    )


def test_the_lines_of_a_replay():
    failed = row("q5", 0, error="nan")
    before = [
        failed,
        row("q1", 1),
        row("q1", 0.5, chunk=1),
        row("q2", 1),
        row("q3", 1),
    ]
    after = [
        row("q1", 0.985, sha="b"),
        row("q1", 0.5, chunk=1),
        row("q2", 0, error="nan"),
        row("q4", 1),
        row("q5", 1),
    ]
    database = SimpleNamespace(forecasts=SimpleNamespace(of_run={1: before, 2: after}.get))
    head, *lines, empty, closing = replay_lines(database, 1, 2)
    assert [line.split() for line in lines] == [
        ["m", "q5", "then:", "failed", "(nan);", "now:", "a", "forecast"],
        ["m", "q1", "0.015", "+0.30", "differs"],
        ["m", "q1", "(chunk", "1)", "0", "+0.00", "same"],
        ["m", "q2", "then:", "a", "forecast;", "now:", "failed", "(nan)"],
        ["m", "q3", "then:", "a", "forecast;", "now:", "none"],
        ["m", "q4", "then:", "none;", "now:", "a", "forecast"],
    ]
    assert head.split() == ["agent", "question", "TV", "points", "prompt"]
    assert empty == ""
    assert closing == (
        "Run 2 replays run 1: the largest total variation is 0.015; 4 forecasts cannot be compared."
    )
