"""A history shows models, the ensemble with its range, and the outcome."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from reporting.history_plot import history_figure
from reporting.plot_data import HistoryPoint, Outcome, PlotError
from reporting.styles import OUTCOME_COLOUR, PAPER, RANGE_NOTE
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


def lines(figure):
    return {line.get_label(): line for line in figure.axes[0].lines}


def test_market_price_final_number_and_incomplete_pools_are_marked():
    pools = history(25, 35, 45)
    pools[0] = replace(pools[0], market=50.0)
    pools[1] = replace(pools[1], fewer="2 of 3")
    pools[2] = replace(pools[2], market=60.0, final=55.0)
    outcome = Outcome(0.0, START + timedelta(days=50))
    figure = history_figure(
        "Q?", {"m": history(20, 30, 40), "n": history(30, 40, 50)}, pools, outcome
    )
    drawn = lines(figure)
    assert list(drawn["market price"].get_ydata()) == [50, 60]
    assert list(drawn["final"].get_ydata()) == [55]
    assert list(drawn["only 2 of 3 models"].get_ydata()) == [35]
    assert drawn["only 2 of 3 models"].get_markerfacecolor() == PAPER
    assert drawn["outcome: no"].get_color() == OUTCOME_COLOUR
    others = [
        line.get_color() for name, line in drawn.items() if name[0] != "_" and "outcome" not in name
    ]
    assert OUTCOME_COLOUR not in others
    assert RANGE_NOTE in [text.get_text() for text in figure.texts]


def test_a_lone_model_is_not_drawn_again_as_the_ensemble():
    figure = history_figure("Q?", {"m": history(20, 30)}, history(20, 30))
    assert figure.axes[0].get_legend_handles_labels()[1] == ["m, 80 % range", "m"]
    differs = history_figure("Q?", {"m": history(20, 30)}, history(20, 31))
    assert "ensemble" in lines(differs)
    # Two models, one of which failed at first.
    both = history_figure("Q?", {"m": history(20, 30), "n": history(20)}, history(20, 30))
    assert {"m", "n", "ensemble"} <= lines(both).keys()


def test_a_long_history_is_marked_at_its_end_only():
    figure = history_figure(
        "Q?", {"m": history(*range(30)), "n": history(*range(30))}, history(*range(30))
    )
    assert lines(figure)["m"].get_markevery() == [29]
