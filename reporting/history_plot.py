"""Draw one question's forecasts over time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from reporting import styles
from reporting.plot_data import HistoryPoint, Outcome, PlotError

# Lines of more points have a marker at their end only: more would cover each other.
MARKED: Final = 20


def history_figure(
    title: str,
    series: Mapping[str, Sequence[HistoryPoint]],
    ensemble: Sequence[HistoryPoint],
    outcome: Outcome | None = None,
    *,
    kind: str = "",
) -> Any:
    """Draw each model's means, the ensemble with its 80 % range, and the outcome.

    A pool of fewer models than configured has a hollow marker; a lone model is not drawn again as
    the ensemble. ``kind`` ("live", "back-dated") names the forecasts.

    Raises:
        PlotError: there is no forecast to draw.
    """
    moments = sorted({p.when for points in [*series.values(), ensemble] for p in points})
    if not moments:
        raise PlotError(f"{title[:60]!r}: no forecast to draw")
    name = _lone_model(series, ensemble)
    if name:
        series = {}
    subtitle = _subtitle(moments, outcome, kind)
    entries = len(series) + (2 + _marks(ensemble) if ensemble else 0) + (outcome is not None)
    note = styles.RANGE_NOTE if ensemble else ""
    bottom = styles.AXIS - 0.16 + styles.legend_height(entries, note)
    figure, axes = styles.new_axes(title, subtitle, 2.7, bottom)

    dates = [*moments, *([outcome.when] if outcome and outcome.when else [])]
    # The markers of one single run would hide each other: models are moved left of the ensemble.
    shift = 0.02 * styles.time_extent(dates) if len(moments) == 1 else timedelta(0)
    _draw_models(axes, series, shift)
    if ensemble:
        _draw_ensemble(axes, sorted(ensemble, key=lambda p: p.when), name or "ensemble")
    if outcome is not None:
        _draw_outcome(axes, outcome)

    styles.time_axis(axes, dates, shift * len(series))
    axes.set_ylim(-3, 103)
    axes.set_yticks(range(0, 101, 20))
    styles.percent_axis(axes.yaxis)
    styles.clean(axes)
    handles, _ = axes.get_legend_handles_labels()
    styles.legend_below(figure, handles, note)
    return figure


def _lone_model(
    series: Mapping[str, Sequence[HistoryPoint]], ensemble: Sequence[HistoryPoint]
) -> str:
    """Return the name of the only model if the ensemble is a copy of it, else ""."""
    if len(series) != 1:
        return ""
    ((name, points),) = series.items()
    one, pooled = (sorted((p.when, p.mean) for p in found) for found in (points, ensemble))
    same = len(one) == len(pooled) and all(
        a == b and math.isclose(m, n, abs_tol=1e-9)
        for (a, m), (b, n) in zip(one, pooled, strict=True)
    )
    return styles.shorten(name) if same else ""


def _marks(ensemble: Sequence[HistoryPoint]) -> int:
    """Count what is drawn of the ensemble beside its mean and range."""
    values = [(p.fewer or None, p.calibrated, p.final, p.market) for p in ensemble]
    return sum(any(v is not None for v in column) for column in zip(*values, strict=True))


def _subtitle(moments: Sequence[datetime], outcome: Outcome | None, kind: str) -> str:
    count, first, last = len(moments), f"{moments[0]:%Y-%m-%d}", f"{moments[-1]:%Y-%m-%d}"
    forecasts = f"{kind} forecast{'s' if count != 1 else ''}".strip()
    days = first if first == last else f"{first} to {last}"
    ended = f"; resolved {outcome.word}" if outcome else ""
    return f"probability of yes: {count} {forecasts}, {days}{ended}"


def _draw_models(axes: Any, series: Mapping[str, Sequence[HistoryPoint]], shift: timedelta) -> None:
    looks = styles.series_styles(list(series))
    for number, (model, points) in enumerate(series.items()):
        moved = [replace(p, when=p.when + shift * (number - len(series))) for p in points]
        _draw_model(axes, moved, **looks[model])
        if shift:
            low, high = [p.low for p in moved], [p.high for p in moved]
            axes.vlines([p.when for p in moved], low, high, color=looks[model]["color"], alpha=0.45)


def _draw_model(axes: Any, points: Sequence[HistoryPoint], **style: Any) -> None:
    points = sorted(points, key=lambda p: p.when)
    axes.plot(
        [p.when for p in points],
        [p.mean for p in points],
        linewidth=1.3,
        markersize=4.5,
        markevery=_marked(points),
        zorder=3,
        **style,
    )


def _draw_ensemble(axes: Any, points: Sequence[HistoryPoint], name: str) -> None:
    """Draw the pools: a band where there are several, an error bar where there is one."""
    when = [p.when for p in points]
    low, high = [p.low for p in points], [p.high for p in points]
    area: dict[str, Any] = {"label": f"{name}, 80 % range", "color": styles.ENSEMBLE_COLOUR}
    if len(points) > 1:
        axes.fill_between(when, low, high, alpha=0.13, linewidth=0, zorder=1, **area)
    else:
        bar: dict[str, Any] = {"alpha": 0.22, "linewidth": 12, "solid_capstyle": "butt"}
        axes.plot([when[0], when[0]], [low[0], high[0]], zorder=1, **bar, **area)
    circle: dict[str, Any] = {"marker": "o", "markersize": 6}
    axes.plot(
        when,
        [p.mean for p in points],
        color=styles.ENSEMBLE_COLOUR,
        linewidth=2.2,
        markevery=_marked(points),
        label=name,
        zorder=4,
        **circle,
    )
    hollow: dict[str, Any] = {
        "markerfacecolor": styles.PAPER,
        "markeredgecolor": styles.ENSEMBLE_COLOUR,
    }
    if fewer := [p for p in points if p.fewer]:
        axes.plot(
            [p.when for p in fewer],
            [p.mean for p in fewer],
            linestyle="none",
            markeredgewidth=1.6,
            label=f"only {', '.join(dict.fromkeys(p.fewer for p in fewer))} models",
            zorder=5,
            **circle,
            **hollow,
        )
    calibrated: dict[str, Any] = {"marker": "d", "markersize": 4.5, "zorder": 4}
    calibrated |= {"color": styles.ENSEMBLE_COLOUR, "linewidth": 1.3, "linestyle": (0, (1, 1.5))}
    _draw_values(axes, points, "calibrated", f"{name}, calibrated", **calibrated)
    market: dict[str, Any] = {"marker": "x", "markersize": 5, "linewidth": 0.8, "zorder": 4}
    market |= {"linestyle": (0, (1, 2))}
    _draw_values(axes, points, "market", "market price", color=styles.GREY, **market)
    final: dict[str, Any] = {"marker": "D", "markersize": 5}
    final |= {"color": styles.FINAL_COLOUR, "linewidth": 2.4, "zorder": 6}
    _draw_values(axes, points, "final", "final", **final)


def _draw_values(
    axes: Any, points: Sequence[HistoryPoint], name: str, label: str, **style: Any
) -> None:
    """Draw one further number of the points that have it."""
    found = [(p.when, value) for p in points if (value := getattr(p, name)) is not None]
    if found:
        axes.plot(*zip(*found, strict=True), label=label, markevery=_marked(found), **style)


def _marked(points: Sequence[Any]) -> list[int] | None:
    return [len(points) - 1] if len(points) > MARKED else None


def _draw_outcome(axes: Any, outcome: Outcome) -> None:
    """Mark the outcome with a star at its time, or with a line where no time is known."""
    colour, label = styles.OUTCOME_COLOUR, f"outcome: {outcome.word}"
    if outcome.when is not None:
        axes.axvline(outcome.when, color=colour, linewidth=1.2, linestyle=styles.DASHED, zorder=2)
    if outcome.value is None:
        if outcome.when is not None:
            axes.plot([], [], color=colour, linestyle=styles.DASHED, label="voided")
    elif outcome.when is None:
        line: dict[str, Any] = {"linewidth": 3, "alpha": 0.6, "zorder": 2}
        axes.axhline(100 * outcome.value, color=colour, label=label, **line)
    else:
        star: dict[str, Any] = {"marker": "*", "markersize": 17, "linestyle": "none"}
        star |= {"zorder": 5, "clip_on": False}
        axes.plot([outcome.when], [100 * outcome.value], color=colour, label=label, **star)
