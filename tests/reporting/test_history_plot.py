"""A history shows models, the ensemble with its range, and the outcome."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from reporting.history_plot import history_figure
from reporting.plot_data import HistoryPoint, Outcome, PlotError
from reporting.svg import render

START = datetime(2026, 1, 1)
LONG = "Will the $100 price of the " + "very " * 60 + "long question hold?"


def history(*means):
    return [
        HistoryPoint(START + timedelta(days=10 * n), m, max(0, m - 10), min(100, m + 10))
        for n, m in enumerate(means)
    ]


def test_history_has_band_and_outcome():
    outcome = Outcome(1.0, START + timedelta(days=50))
    figure = history_figure("Q?", {"m": history(20, 30, 40)}, history(25, 35, 45), outcome)
    (axes,) = figure.axes
    assert len(axes.collections) == 1  # the band
    labels = axes.get_legend_handles_labels()[1]
    assert labels == ["m", "ensemble, 80 % range", "ensemble", "outcome: yes"]
    star = next(line for line in axes.lines if line.get_label() == "outcome: yes")
    assert list(star.get_ydata()) == [100]
    assert axes.get_ylim() == (-3, 103)


def test_agents_of_a_single_run_stand_side_by_side():
    figure = history_figure("Q?", {"m": history(20), "n": history(20)}, history(20))
    (axes,) = figure.axes
    at = [line.get_xdata()[0] for line in axes.lines if line.get_label() in ("m", "n", "ensemble")]
    assert len(set(at)) == 3


@pytest.mark.parametrize(
    "outcome", [None, Outcome(0.0, None), Outcome(None, START), Outcome(None, None)]
)
def test_history_with_every_kind_of_end(outcome):
    assert "<svg" in render(history_figure(LONG, {}, history(5), outcome))


def test_nothing_to_draw_is_a_plot_error():
    with pytest.raises(PlotError):
        history_figure("Q", {}, [])
