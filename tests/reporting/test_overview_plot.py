"""The overview continues on further pages."""

from __future__ import annotations

from reporting.overview_plot import OVERVIEW_ROWS, overview_figures
from reporting.plot_data import Outcome, OverviewRow
from reporting.styles import OUTCOME_COLOUR, PALETTE, PAPER

LONG = "Will the $100 price of the " + "very " * 60 + "long question hold?"


def test_overview_pages():
    rows = [
        OverviewRow(LONG, 10.0 * (n % 10), 0, 50, 20.0, Outcome(n % 2, None)) for n in range(30)
    ]
    figures = overview_figures(rows, "Latest")
    assert len(figures) == 2
    assert len(figures[1].axes[0].get_yticks()) == 30 - OVERVIEW_ROWS
    assert overview_figures([], "Latest") == []


def test_a_row_says_how_far_it_moved():
    rows = [
        OverviewRow("moved", 40, 0, 50, 42.5, fewer="2 of 3"),
        OverviewRow("new", 40, 0, 50),
        OverviewRow("final", 40, 0, 50, 42.5, final=45),
    ]
    (figure,) = overview_figures(rows, "Latest")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert [text for text in texts if text] == [
        *("moved", "40 %", "-2.5", "2 of 3"),
        *("new", "40 %"),
        *("final", "45 %", "+2.5"),
    ]


def test_fewer_models_are_hollow_and_the_outcome_has_its_own_colour():
    rows = [
        OverviewRow("full", 40, 0, 50, outcome=Outcome(1, None)),
        OverviewRow("fewer", 30, 0, 50, fewer="2 of 3"),
    ]
    (figure,) = overview_figures(rows, "Latest")
    lines = {line.get_ydata()[0]: line for line in figure.axes[0].lines if line.get_marker() == "o"}
    assert lines[1].get_markerfacecolor() == PALETTE[0]
    assert lines[0].get_markerfacecolor() == PAPER
    (star,) = (line for line in figure.axes[0].lines if line.get_marker() == "*")
    assert star.get_color() == OUTCOME_COLOUR
    assert OUTCOME_COLOUR not in PALETTE
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "with fewer models" in labels
