"""Reliability and scores show the numbers they are given."""

from __future__ import annotations

from datetime import datetime

import pytest

import config
from database import Database
from evaluation.intervals import Interval
from evaluation.reliability import equal_count_bins
from evaluation.resolved import Judged, collect
from questions.question import Question
from reporting.plot_data import PlotError, ScorePoint
from reporting.plots import period, record_figures, score_points
from reporting.score_plots import reliability_figure, score_figure
from storage.records import Resolution
from tests.support.record_database import add_run, point

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
    assert [text.get_text() for text in apart.axes[0].texts] == ["n", "●", "3", "n", "■", "5"]


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


def judged(year, month, probability=0.5):
    made = datetime(year, month, 9)
    return Judged(1, f"q{month}", "m", probability, 1, f"c{month}", made, datetime(2030, 1, 1))


def test_scores_over_time_are_of_months_then_quarters_then_years():
    assert period([datetime(2026, 1, 1), datetime(2026, 12, 31)]) == 1
    assert period([datetime(2026, 1, 1), datetime(2027, 1, 1)]) == 3
    assert period([datetime(2026, 1, 1), datetime(2028, 12, 31)]) == 3
    assert period([datetime(2026, 1, 1), datetime(2029, 1, 1)]) == 12
    rows = [judged(2026, 1), judged(2026, 3, 0.9), judged(2026, 4)]
    assert [(p.when.month, p.count) for p in score_points(rows)] == [(1, 1), (3, 1), (4, 1)]
    quarters = score_points(rows, 3)
    assert [(f"{p.when:%Y-%m}", p.count) for p in quarters] == [("2026-02", 2), ("2026-05", 1)]
    assert quarters[0].brier == pytest.approx((0.25 + 0.01) / 2)


@pytest.mark.parametrize("agents", ["x", "xy"])
def test_a_lone_model_is_not_scored_again_as_the_ensemble(tmp_path, monkeypatch, agents):
    monkeypatch.setattr(config, "MIN_CLAIM_QUESTIONS", 2)
    questions = [Question(f"Will {name} happen?", id=name) for name in "ab"]
    with Database(tmp_path / "d.db") as database:
        given = {name: [point(30 + n), point(60 + n)] for n, name in enumerate(agents)}
        add_run(database, questions, given, made="2025-02-01T10:00:00Z")
        database.outcomes.add([Resolution("a", 1, "2025-06-01"), Resolution("b", 0, "2025-06-01")])
        drawn = {
            name: figure.axes[0].get_legend_handles_labels()[1]
            for name, figure in record_figures(collect(database))
        }
    names = ["x"] if agents == "x" else ["ensemble", "x", "y"]
    assert drawn["reliability"][1:] == names
    assert drawn["score_over_time"][1:] == names
