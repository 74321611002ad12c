"""Reliability and scores show the numbers they are given."""

from __future__ import annotations

from datetime import datetime

import pytest

from evaluation.intervals import Interval
from evaluation.reliability import reliability_bins
from reporting.plot_data import PlotError, ScorePoint
from reporting.score_plots import reliability_figure, score_figure

START = datetime(2026, 1, 1)


def test_reliability_puts_bins_at_their_means():
    bins = reliability_bins([0.05, 0.15, 0.15, 0.95], [0, 0, 1, 1])
    figure = reliability_figure("R", "", {"m": bins})
    upper, lower = figure.axes
    line = next(line for line in upper.lines if list(line.get_xdata()) == [5.0, 15.0, 95.0])
    assert list(line.get_ydata()) == [0.0, 50.0, 100.0]
    assert [bar.get_height() for bar in lower.patches] == [1, 2, 1]


def test_score_over_time_shows_every_forecaster_also_in_one_month():
    series = {
        name: [ScorePoint(START, 3, 0.2, Interval(0.1, 0.3))]
        for name in ("ensemble", "m", "n", "o")
    }
    figure = score_figure("S", "", series)
    (axes,) = figure.axes
    from matplotlib.dates import date2num

    low, high = axes.get_xlim()
    drawn = [float(date2num(c.lines[0].get_xdata()[0])) for c in axes.containers]
    assert len(set(drawn)) == 4
    assert all(low < x < high for x in drawn)


def test_nothing_to_draw_is_a_plot_error():
    with pytest.raises(PlotError):
        reliability_figure("R", "", {"m": []})
    with pytest.raises(PlotError):
        score_figure("S", "", {})
