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
    """Draw observed frequency against forecast, with 95 % intervals and counts.

    sets: bins by forecaster, at most a few: each has its colour and a small shift sideways, so that
    bars do not overlap.

    Raises:
        PlotError: every bin is empty.
    """
    filled = {name: [b for b in bins if b.count] for name, bins in sets.items()}
    if not any(filled.values()):
        raise PlotError("no resolved forecast to draw a reliability diagram of")
    bottom = styles.AXIS + styles.legend_height(len(filled) + 1)
    figure, axes = styles.new_axes(title, subtitle, 3.6, bottom)
    line: dict[str, Any] = {"color": styles.GREY, "linewidth": 1, "linestyle": styles.DASHED}
    axes.plot([0, 100], [0, 100], label="perfectly calibrated", zorder=1, **line)
    looks = styles.series_styles(list(filled))
    for number, (name, bins) in enumerate(filled.items()):
        _draw_bins(axes, bins, number, 0.9 * (number - (len(filled) - 1) / 2), **looks[name])
    axes.set_xlim(-3, 103)
    axes.set_ylim(-3, 103)
    axes.set_xticks(range(0, 101, 20))
    axes.set_yticks(range(0, 101, 20))
    axes.set_xlabel("forecast probability of yes", fontsize=styles.TEXT_SIZE)
    styles.clean(axes)
    styles.percent_axis(axes.xaxis)
    styles.percent_axis(axes.yaxis)
    handles, _ = axes.get_legend_handles_labels()
    styles.legend_below(figure, handles)
    return figure


def _draw_bins(
    axes: Any, bins: Sequence[ReliabilityBin], number: int, shift: float, **style: Any
) -> None:
    """Draw a forecaster's bins; ``number`` keeps its counts off those of others."""
    errors = [
        (100 * (b.frequency - b.interval.low), 100 * (b.interval.high - b.frequency)) for b in bins
    ]
    places = [100 * b.mean_forecast + shift for b in bins]
    axes.errorbar(
        places,
        [100 * b.frequency for b in bins],
        yerr=np.maximum(np.array(errors).T, 0),
        markersize=5.5,
        linewidth=1.2,
        elinewidth=1.2,
        capsize=2.5,
        zorder=3,
        **style,
    )
    for place, b in zip(places, bins, strict=True):
        text: dict[str, Any] = {"fontsize": styles.SMALL_SIZE, "color": style["color"]}
        text["textcoords"] = "offset points"
        axes.annotate(f"{b.count}", (place, 100 * b.frequency), (4, 4 - 10 * number), **text)


def score_figure(title: str, subtitle: str, series: Mapping[str, Sequence[ScorePoint]]) -> Any:
    """Draw each forecaster's mean Brier score by period with 95 % intervals.

    Under each period are the numbers of its forecasts. Lower is better; 0.25 is the score of always
    saying 50 %.

    Raises:
        PlotError: no period holds a resolved forecast.
    """
    everything = [p for points in series.values() for p in points]
    if not everything:
        raise PlotError("no resolved forecast to draw scores of")
    counts = _count_rows(series)
    below = 0.34 + styles.LINE * len(counts)
    bottom = below + styles.legend_height(len(series) + 1)
    figure, axes = styles.new_axes(title, subtitle, 2.6, bottom)
    line: dict[str, Any] = {"color": styles.GREY, "linewidth": 1, "linestyle": styles.DASHED}
    axes.axhline(0.25, label="always 50 %", **line)
    moments = [p.when for p in everything]
    # Error bars of several forecasters in one period are side by side.
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
    styles.clean(axes)
    # Below the number at the corner.
    axes.tick_params(axis="x", pad=8)
    _draw_counts(axes, counts, looks)
    handles, _ = axes.get_legend_handles_labels()
    styles.legend_below(figure, handles)
    return figure


def _count_rows(series: Mapping[str, Sequence[ScorePoint]]) -> dict[str, Sequence[ScorePoint]]:
    """Return the series whose counts are listed; under "" one for all if they agree."""
    counts = {tuple((p.when, p.count) for p in points) for points in series.values()}
    return {"": next(iter(series.values()))} if len(counts) == 1 else dict(series)


def _draw_counts(
    axes: Any, rows: Mapping[str, Sequence[ScorePoint]], looks: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write the number of forecasts under each point, a line for each forecaster."""
    from matplotlib.dates import date2num

    text: dict[str, Any] = {"fontsize": styles.SMALL_SIZE, "va": "top", "annotation_clip": False}
    for number, (name, points) in enumerate(rows.items()):
        down = -22 - 72 * styles.LINE * number
        place: dict[str, Any] = {"textcoords": "offset points", "ha": "center", **text}
        left: dict[str, Any] = {"xycoords": "axes fraction", **place}
        axes.annotate("n", (0, 0), (-15, down), **left)
        if name:
            mark = styles.MARKERS[looks[name]["marker"]]
            axes.annotate(mark, (0, 0), (-26, down), color=looks[name]["color"], **left)
        for point in points:
            at, spot = axes.get_xaxis_transform(), (date2num(point.when), 0.0)
            axes.annotate(f"{point.count}", spot, (0, down), xycoords=at, **place)


def _draw_scores(axes: Any, points: Sequence[ScorePoint], shift: timedelta, **style: Any) -> None:
    points = sorted(points, key=lambda p: p.when)
    axes.errorbar(
        [p.when + shift for p in points],
        [p.brier for p in points],
        yerr=np.array([_error_lengths(p) for p in points]).T,
        capsize=2.5,
        markersize=5,
        linewidth=1.4,
        elinewidth=1.1,
        **style,
    )


def _error_lengths(point: ScorePoint) -> tuple[float, float]:
    """Return the lengths of an error bar below and above; none if unknown."""
    if not point.interval.known:
        return 0.0, 0.0
    return max(0.0, point.brier - point.interval.low), max(0.0, point.interval.high - point.brier)
