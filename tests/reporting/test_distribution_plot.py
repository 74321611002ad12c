"""A row of a distribution shows its numbers, and text stays inside the figure."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex

from reporting.distribution_plot import RANGE_LINE, distribution_figure
from reporting.plot_data import Curve, Outcome, PlotError
from reporting.styles import ENSEMBLE_COLOUR, OUTCOME_COLOUR, PALETTE, RANGE_NOTE, colours
from tests.support.record_database import around, point

LONG = "Will the $100 price of the " + "very " * 60 + "long question hold?"


def test_distribution_shows_every_percentage_mean_median_and_interval():
    curve = Curve("m", around(30))
    figure = distribution_figure(
        "Q?", "run 1", [curve, Curve("ensemble", point(100), ensemble=True)]
    )
    (axes,) = figure.axes
    bars = axes.patches[0].get_data()
    p = curve.distribution.probabilities
    np.testing.assert_allclose(bars.values - bars.baseline, p / p.max())
    assert [*bars.edges[:2], bars.edges[-1]] == [-0.5, 0.5, 100.5]
    assert len(axes.patches) == 2
    lines = [segment for found in axes.collections for segment in found.get_segments()]
    first = [line for line in lines if line[0, 1] > -1]  # the second row is below
    verticals = {round(float(x[0]), 6) for x, y in (line.T for line in first) if x[0] == x[1]}
    assert {round(curve.distribution.mean, 6), curve.distribution.median} <= verticals
    ranges = [list(map(float, x)) for x, y in (line.T for line in lines) if y[0] == RANGE_LINE]
    assert ranges == [list(curve.distribution.interval(0.8))]
    assert axes.get_xlim()[0] < 0 < 100 < axes.get_xlim()[1]
    assert axes.xaxis.get_major_formatter()(40, 0) == "40 %"
    assert any("mean 30 %" in text.get_text() for text in axes.texts)
    peaks = [text.get_text() for text in axes.get_yticklabels()]
    assert peaks == ["0 %", "5.0 %", "0 %", "100 %"]


def test_text_stays_inside_the_figure_and_starts_no_formula():
    figure = distribution_figure(LONG + " $\\frac{", LONG, [Curve("owner/" + "m" * 80, around(50))])
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for text in [*figure.texts, *figure.axes[0].texts]:
        box = text.get_window_extent(canvas.get_renderer())
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
    title, subtitle = figure.texts[:2]
    assert title.get_window_extent().y0 >= subtitle.get_window_extent().y1


def test_nothing_to_draw_is_a_plot_error():
    with pytest.raises(PlotError):
        distribution_figure("Q", "", [])


def names(figure):
    return [text.get_text() for text in figure.axes[0].texts][::2]


def test_a_lone_model_is_not_drawn_again_as_the_ensemble():
    model, pooled = Curve("m", around(30)), Curve("ensemble", around(30), ensemble=True)
    assert names(distribution_figure("Q", "", [model, pooled])) == ["m"]
    other = Curve("ensemble", around(31), ensemble=True)
    assert names(distribution_figure("Q", "", [model, other])) == ["m", "ensemble"]


def test_a_pool_that_lacks_models_is_hollow_and_says_so():
    pooled = Curve("ensemble", around(31), ensemble=True, incomplete="2 of 3")
    figure = distribution_figure("Q", "", [Curve("m", around(30)), Curve("n", around(32)), pooled])
    assert [bars.get_fill() for bars in figure.axes[0].patches] == [True, True, False]
    assert names(figure)[-1] == "ensemble, only 2 of 3 models"
    lone = Curve("ensemble", around(30), ensemble=True, incomplete="1 of 3")
    figure = distribution_figure("Q", "", [Curve("m", around(30)), lone])
    assert names(figure) == ["m, only 1 of 3 models"]
    assert [bars.get_fill() for bars in figure.axes[0].patches] == [False]


def test_the_range_is_not_taken_for_a_confidence_interval():
    figure = distribution_figure("Q", "", [Curve("m", around(30))])
    assert "not a confidence interval" in RANGE_NOTE
    assert RANGE_NOTE in [text.get_text() for text in figure.texts]


def test_the_outcome_has_a_colour_of_its_own():
    figure = distribution_figure("Q", "", [Curve("m", around(30))], Outcome(1, None))
    (handle,) = (h for h in figure.legends[0].legend_handles if h.get_label() == "outcome: yes")
    assert handle.get_color() == OUTCOME_COLOUR
    assert OUTCOME_COLOUR not in {*PALETTE, ENSEMBLE_COLOUR}


def test_a_model_keeps_its_colour_where_others_are_missing():
    figure = distribution_figure("Q", "", [Curve("n", around(30))], models=["m", "n"])
    (bars,) = figure.axes[0].patches
    assert to_hex(bars.get_facecolor()) == colours(["m", "n"])["n"].lower()
