"""The overview continues on further pages."""

from __future__ import annotations

from reporting.overview_plot import OVERVIEW_ROWS, overview_figures
from reporting.plot_data import Outcome, OverviewRow

LONG = "Will the $100 price of the " + "very " * 60 + "long question hold?"


def test_overview_pages():
    rows = [
        OverviewRow(LONG, 10.0 * (n % 10), 0, 50, 20.0, Outcome(n % 2, None)) for n in range(30)
    ]
    figures = overview_figures(rows, "Latest")
    assert len(figures) == 2
    assert len(figures[1].axes[0].get_yticks()) == 30 - OVERVIEW_ROWS
    assert overview_figures([], "Latest") == []
