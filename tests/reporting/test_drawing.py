"""Figures: what they show, that they are whole or absent, and that text cannot break them."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest

from evaluation.metrics import Interval, reliability_bins
from reporting import drawing
from reporting.drawing import Curve, HistoryPoint, Outcome, OverviewRow, PlotError, ScorePoint
from tests.support.record_database import around, point

PNG = b"\x89PNG\r\n\x1a\n"
START = datetime(2026, 1, 1)
LONG = "Will the $100 price of the " + "very " * 60 + "long question hold?"


def history(*means):
    return [
        HistoryPoint(START + timedelta(days=10 * n), m, max(0, m - 10), min(100, m + 10))
        for n, m in enumerate(means)
    ]


def test_distribution_shows_every_percentage_mean_median_and_interval():
    curve = Curve("m", around(30))
    figure = drawing.distribution_figure(
        "Q?", "run 1", [curve, Curve("ensemble", point(100), ensemble=True)]
    )
    first, second = figure.axes
    heights = [bar.get_height() for bar in first.patches]
    np.testing.assert_allclose(heights, 100 * curve.distribution.probabilities)
    verticals = {
        round(float(line.get_xdata()[0]), 6)
        for line in first.lines
        if len(set(line.get_xdata())) == 1
    }
    assert {round(curve.distribution.mean, 6), curve.distribution.median} <= verticals
    assert list(map(float, first.lines[0].get_xdata())) == list(curve.distribution.interval(0.8))
    assert second.get_xlim()[0] < 0 < 100 < second.get_xlim()[1]
    assert second.xaxis.get_major_formatter()(40, 0) == "40 %"
    assert any("mean 30 %" in text.get_text() for text in first.texts)


def test_history_has_band_and_outcome():
    outcome = Outcome(1.0, START + timedelta(days=50))
    figure = drawing.history_figure("Q?", {"m": history(20, 30, 40)}, history(25, 35, 45), outcome)
    (axes,) = figure.axes
    assert len(axes.collections) == 1  # the band
    labels = axes.get_legend_handles_labels()[1]
    assert labels == ["m", "ensemble, 80 % interval", "ensemble", "outcome: yes"]
    star = next(line for line in axes.lines if line.get_label() == "outcome: yes")
    assert list(star.get_ydata()) == [100]
    assert axes.get_ylim() == (-3, 103)


def test_agents_of_a_single_run_stand_side_by_side():
    figure = drawing.history_figure("Q?", {"m": history(20), "n": history(20)}, history(20))
    (axes,) = figure.axes
    at = [line.get_xdata()[0] for line in axes.lines if line.get_label() in ("m", "n", "ensemble")]
    assert len(set(at)) == 3


@pytest.mark.parametrize(
    "outcome", [None, Outcome(0.0, None), Outcome(None, START), Outcome(None, None)]
)
def test_history_with_every_kind_of_end(outcome):
    assert drawing.png(drawing.history_figure(LONG, {}, history(5), outcome)).startswith(PNG)


def test_text_stays_inside_the_figure_and_starts_no_formula():
    figure = drawing.distribution_figure(
        LONG + " $\\frac{", LONG, [Curve("owner/" + "m" * 80, around(50))]
    )
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for text in [*figure.texts, *figure.axes[0].texts]:
        box = text.get_window_extent(canvas.get_renderer())
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
    title, subtitle = figure.texts[:2]
    assert title.get_window_extent().y0 >= subtitle.get_window_extent().y1


def test_overview_pages():
    rows = [
        OverviewRow(LONG, 10.0 * (n % 10), 0, 50, 20.0, Outcome(n % 2, None)) for n in range(30)
    ]
    figures = drawing.overview_figures(rows, "Latest")
    assert len(figures) == 2
    assert len(figures[1].axes[0].get_yticks()) == 30 - drawing.OVERVIEW_ROWS
    assert drawing.overview_figures([], "Latest") == []


def test_reliability_puts_bins_at_their_means():
    bins = reliability_bins([0.05, 0.15, 0.15, 0.95], [0, 0, 1, 1])
    figure = drawing.reliability_figure("R", "", {"m": bins})
    upper, lower = figure.axes
    line = next(line for line in upper.lines if list(line.get_xdata()) == [5.0, 15.0, 95.0])
    assert list(line.get_ydata()) == [0.0, 50.0, 100.0]
    assert [bar.get_height() for bar in lower.patches] == [1, 2, 1]


def test_score_over_time_shows_every_forecaster_also_in_one_month():
    series = {
        name: [ScorePoint(START, 3, 0.2, Interval(0.1, 0.3))]
        for name in ("ensemble", "m", "n", "o")
    }
    figure = drawing.score_figure("S", "", series)
    (axes,) = figure.axes
    from matplotlib.dates import date2num

    low, high = axes.get_xlim()
    drawn = [float(date2num(c.lines[0].get_xdata()[0])) for c in axes.containers]
    assert len(set(drawn)) == 4
    assert all(low < x < high for x in drawn)


def test_agreement_marks_pairs_without_shared_questions():
    matrix = np.array([[1, np.nan], [np.nan, 1]])
    figure = drawing.agreement_figure("A", "", ["m", "n"], matrix)
    assert [t.get_text() for t in figure.axes[0].texts] == ["100 %", "–", "–", "100 %"]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: drawing.distribution_figure("Q", "", []),
        lambda: drawing.history_figure("Q", {}, []),
        lambda: drawing.reliability_figure("R", "", {"m": []}),
        lambda: drawing.score_figure("S", "", {}),
        lambda: drawing.agreement_figure("A", "", ["m"], [[1]]),
    ],
)
def test_nothing_to_draw_is_a_plot_error(draw):
    with pytest.raises(PlotError):
        draw()


def test_a_plot_that_cannot_be_written_is_one_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    figure = drawing.distribution_figure("Q", "", [Curve("m", around(10))])
    with pytest.raises(PlotError, match="could not be written"):
        drawing.save(figure, tmp_path / "file" / "p.png")
    path = drawing.save(figure, tmp_path / "new" / "p.png")
    assert path.read_bytes().startswith(PNG)
    assert [p.name for p in path.parent.iterdir()] == ["p.png"]  # no draft is left


def test_file_names_come_from_ids_only():
    assert drawing.file_part("abc-1_2") == "abc-1_2"
    hostile = drawing.file_part("../../etc/passwd")
    assert "/" not in hostile
    assert "." not in hostile
    assert drawing.file_part("a:b") != drawing.file_part("a/b")  # cleaned alike, but told apart
    assert len(drawing.file_part("x" * 500)) < 80
    assert drawing.file_part("日本") != drawing.file_part("本日")


def test_shortened_names_keep_both_ends():
    assert drawing.shorten("short") == "short"
    name = drawing.shorten("organisation/Model-Name-With-Many-Parts-v3")
    assert len(name) == drawing.LABEL_CHARACTERS
    assert name.startswith("organisation/")
    assert name.endswith("v3")
