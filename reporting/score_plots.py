"""Draw how good forecasts were: reliability, and the score over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np

from evaluation.reliability import ReliabilityBin
from reporting import styles
from reporting.plot_data import PlotError, ScorePoint


def reliability_figure(
    title: str, subtitle: str, sets: Mapping[str, Sequence[ReliabilityBin]]
) -> Any:
    """Draw observed frequency against forecast with 95 % intervals; counts below.

    sets: bins by forecaster, at most a few: each has its colour and a small shift sideways, so that
    bars do not overlap.

    Raises:
        PlotError: every bin is empty.
    """
    filled = {name: [b for b in bins if b.count] for name, bins in sets.items()}
    if not any(filled.values()):
        raise PlotError("no resolved forecast to draw a reliability diagram of")
    figure = styles.new_figure(7.9)
    upper = 1 - (styles.add_title(figure, title, subtitle) + 0.1) / figure.get_figheight()
    axes = figure.add_axes((0.1, 0.33, 0.87, upper - 0.33))
    counts = figure.add_axes((0.1, 0.135, 0.87, 0.145), sharex=axes)
    line: dict[str, Any] = {"color": styles.GREY, "linewidth": 1, "linestyle": styles.DASHED}
    axes.plot([0, 100], [0, 100], label="perfectly calibrated", zorder=1, **line)
    looks = styles.series_styles(list(filled), 40)
    width = 7.0 / len(filled)
    for number, (name, bins) in enumerate(filled.items()):
        place = number - (len(filled) - 1) / 2
        _draw_bins(axes, bins, 0.7 * place, **looks[name])
        middles = [50 * (b.low + b.high) + place * width for b in bins]
        heights = [b.count for b in bins]
        colour = looks[name]["color"]
        bars = counts.bar(middles, heights, width=0.92 * width, color=colour, alpha=0.8)
        if len(filled) <= 2:
            counts.bar_label(bars, fontsize=7, padding=1)
    _set_reliability_axes(axes, counts)
    handles, _ = axes.get_legend_handles_labels()
    styles.legend_below(figure, handles, columns=min(3, len(handles)), centre=0.53)
    return figure


def _draw_bins(axes: Any, bins: Sequence[ReliabilityBin], shift: float, **style: Any) -> None:
    errors = [
        (100 * (b.frequency - b.interval.low), 100 * (b.interval.high - b.frequency)) for b in bins
    ]
    axes.errorbar(
        [100 * b.mean_forecast + shift for b in bins],
        [100 * b.frequency for b in bins],
        yerr=np.maximum(np.array(errors).T, 0),
        markersize=6.5,
        linewidth=1.2,
        elinewidth=1.3,
        capsize=3,
        markeredgecolor="white",
        zorder=3,
        **style,
    )


def _set_reliability_axes(axes: Any, counts: Any) -> None:
    axes.set_xlim(-2, 102)
    axes.set_ylim(-2, 102)
    axes.set_ylabel("observed share of yes (95 % interval)", fontsize=10)
    counts.set_ylabel("forecasts", fontsize=9)
    counts.margins(y=0.25)
    counts.set_xlabel("forecast probability of yes", fontsize=10)
    counts.set_xticks(range(0, 101, 10))
    counts.yaxis.get_major_locator().set_params(integer=True)
    axes.set_yticks(range(0, 101, 20))
    for one in (axes, counts):
        styles.clean(one)
        styles.percent_axis(one.xaxis)
    styles.percent_axis(axes.yaxis)
    axes.tick_params(labelbottom=False)


def score_figure(title: str, subtitle: str, series: Mapping[str, Sequence[ScorePoint]]) -> Any:
    """Draw each forecaster's mean Brier score by period with 95 % intervals.

    Lower is better; 0.25 is the score of always saying 50 %.

    Raises:
        PlotError: no period holds a resolved forecast.
    """
    everything = [p for points in series.values() for p in points]
    if not everything:
        raise PlotError("no resolved forecast to draw scores of")
    legend_rows = -(-(len(series) + 1) // 3)
    figure = styles.new_figure(4.6 + 0.2 * legend_rows)
    axes = styles.add_axes(figure, styles.add_title(figure, title, subtitle), legend_rows)
    axes.axhline(0.25, color=styles.GREY, linewidth=1, linestyle=styles.DASHED, label="always 50 %")
    moments = [p.when for p in everything]
    # Error bars of several forecasters in one month are side by side.
    step = 0.012 * max(styles.time_extent(moments), timedelta(days=30))
    looks = styles.series_styles(list(series))
    for number, (name, points) in enumerate(series.items()):
        shift = step * (number - (len(series) - 1) / 2)
        _draw_scores(axes, points, shift, **looks[name])
    styles.time_axis(axes, moments)
    left, right = axes.get_xlim()
    margin = step / timedelta(days=1) * len(series) / 2
    axes.set_xlim(left - margin, right + margin)
    highest = max(p.interval.high if p.interval.known else p.brier for p in everything)
    axes.set_ylim(0, min(1.0, max(0.3, highest) * 1.05))
    axes.set_ylabel("Brier score (lower is better)", fontsize=10)
    styles.clean(axes)
    handles, _ = axes.get_legend_handles_labels()
    styles.legend_below(figure, handles, columns=3, centre=0.53)
    return figure


def _draw_scores(axes: Any, points: Sequence[ScorePoint], shift: timedelta, **style: Any) -> None:
    points = sorted(points, key=lambda p: p.when)
    axes.errorbar(
        [p.when + shift for p in points],
        [p.brier for p in points],
        yerr=np.array([_error_lengths(p) for p in points]).T,
        capsize=3,
        markersize=6,
        linewidth=1.5,
        elinewidth=1.1,
        markeredgecolor="white",
        **style,
    )


def _error_lengths(point: ScorePoint) -> tuple[float, float]:
    """Return the lengths of an error bar below and above; none if unknown."""
    if not point.interval.known:
        return 0.0, 0.0
    return max(0.0, point.brier - point.interval.low), max(0.0, point.interval.high - point.brier)
