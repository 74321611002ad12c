"""Reliability and scores show the numbers they are given."""

from __future__ import annotations

from datetime import datetime

import pytest

from evaluation.intervals import Interval
from evaluation.reliability import equal_count_bins
from reporting.plot_data import PlotError, ScorePoint
from reporting.score_plots import reliability_figure, score_figure

START = datetime(2026, 1, 1)


def test_reliability_puts_bins_at_their_means_with_counts_and_intervals():
    bins = equal_count_bins([0.1] * 10 + [0.2, 0.4] * 5, [0] * 10 + [0, 1] * 5)
    figure = reliability_figure("R", "", {"m": bins})
    (axes,) = figure.axes
    (drawn,) = axes.containers
    assert list(drawn.lines[0].get_xdata()) == pytest.approx([10, 30])
    assert list(drawn.lines[0].get_ydata()) == [0.0, 50.0]
    assert [text.get_text() for text in axes.texts] == ["10", "10"]
    first, second = (segment[:, 1] for segment in drawn.lines[2][0].get_segments())
    assert [*first, *second] == pytest.approx([0, 27.75, 23.66, 76.34], abs=0.01)  # Wilson


def test_every_point_of_scores_over_time_has_its_count():
    a = [ScorePoint(START, 3, 0.2, Interval(0.1, 0.3))]
    alike = score_figure("S", "", {"m": a, "n": a})
    assert [text.get_text() for text in alike.axes[0].texts] == ["n", "3"]
    b = [ScorePoint(START, 5, 0.2, Interval(0.1, 0.3))]
    apart = score_figure("S", "", {"m": a, "n": b})
    assert [text.get_text() for text in apart.axes[0].texts] == ["n", "3", "n", "5"]


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
