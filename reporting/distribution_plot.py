"""Draw one run's distributions of a question: each model's and the ensemble's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from reporting import styles
from reporting.plot_data import Curve, Outcome, PlotError
from scoring.distribution import SUPPORT_SIZE

# All rows are in one pair of axes, and each kind of mark is one artist: axes and artists are what
# a figure's time goes to. In units of a row's highest bar (``UNIT`` inches): from row to row, a
# row's upper and lower end, its 80 % range, and the name and the numbers above it.
UNIT: Final = 0.6
PITCH: Final = 2.28
ROW_TOP: Final = 1.1
ROW_BOTTOM: Final = -0.24
RANGE_LINE: Final = -0.12
NAME_LINE: Final = 1.66
NUMBER_LINE: Final = 1.36
TICKS: Final = range(0, 101, 20)
EDGES: Final = np.arange(SUPPORT_SIZE + 1) - 0.5
ENDS: Final = (-1.5, 101.5)
BARS: Final[dict[str, Any]] = {"alpha": 0.42, "linewidth": 0}
# Of a pool that lacks models.
HOLLOW: Final[dict[str, Any]] = {"linewidth": 1.2}
MEAN: Final[dict[str, Any]] = {"linewidth": 1.8}
MEDIAN: Final[dict[str, Any]] = {"linewidth": 1.4, "linestyle": (0, (2, 2))}
RANGE: Final[dict[str, Any]] = {"linewidth": 4.5}
OUTCOME: Final[dict[str, Any]] = {"linewidth": 4, "alpha": 0.75}


def distribution_figure(
    title: str,
    subtitle: str,
    curves: Sequence[Curve],
    outcome: Outcome | None = None,
    *,
    models: Sequence[str] = (),
) -> Any:
    """Draw a row for each curve: probability of each %, mean, median, 80 % range.

    A lone model is not drawn again as the ensemble; a pool that lacks models is hollow. ``models``
    may name all of the run, so that each keeps its colour in every figure.

    Raises:
        PlotError: there is nothing to draw.
    """
    if not curves:
        raise PlotError(f"{title[:60]!r}: no distribution to draw")
    curves = _without_copy(curves)
    handles = _legend_handles(outcome)
    bottom = styles.AXIS + styles.legend_height(len(handles), styles.RANGE_NOTE)
    extent = (len(curves) - 1) * PITCH + NAME_LINE + 0.3 - ROW_BOTTOM
    figure, axes = styles.new_axes(title, subtitle, UNIT * extent, bottom)
    bases = -PITCH * np.arange(len(curves))
    chosen = styles.colours([*models, *(curve.name for curve in curves if not curve.ensemble)])
    colours = [styles.ENSEMBLE_COLOUR if c.ensemble else chosen[c.name] for c in curves]
    _set_axes(axes, curves, bases)
    _draw_marks(axes, curves, bases, colours)
    for curve, base in zip(curves, bases, strict=True):
        _draw_label(axes, curve, base)
    if outcome is not None and outcome.value is not None:
        end, colour = 100 * outcome.value, styles.OUTCOME_COLOUR
        ends = bases + ROW_BOTTOM, bases + ROW_TOP
        axes.vlines([end] * len(bases), *ends, colour, zorder=1, **OUTCOME)
    styles.legend_below(figure, handles, styles.RANGE_NOTE)
    return figure


def _without_copy(curves: Sequence[Curve]) -> Sequence[Curve]:
    """Leave out the ensemble where it is a single model's distribution."""
    if len(curves) == 2 and curves[1].ensemble:
        one, pooled = (curve.distribution.probabilities for curve in curves)
        if np.allclose(one, pooled, atol=1e-9):
            return [replace(curves[0], incomplete=curves[1].incomplete)]
    return curves


def _set_axes(axes: Any, curves: Sequence[Curve], bases: Any) -> None:
    peaks = [100 * float(curve.distribution.probabilities.max()) for curve in curves]
    axes.set_xlim(*ENDS)
    axes.set_ylim(bases[-1] + ROW_BOTTOM, NAME_LINE + 0.3)
    axes.set_xticks(TICKS)
    axes.set_yticks(
        [place for base in bases for place in (base, base + 1)],
        [text for p in peaks for text in ("0 %", f"{p:.{1 if p < 10 else 0}f} %")],
    )
    styles.clean(axes)
    axes.grid(False)
    axes.spines[["left", "bottom"]].set_visible(False)
    styles.percent_axis(axes.xaxis)
    axes.set_xlabel("probability of yes", fontsize=styles.TEXT_SIZE, labelpad=3)
    # One line with gaps is one path in the file.
    places = [[tick, tick, np.nan] for _ in bases for tick in TICKS]
    heights = [[base + ROW_BOTTOM, base + ROW_TOP, np.nan] for base in bases for _ in TICKS]
    axes.plot(np.ravel(places), np.ravel(heights), color=styles.GRID, linewidth=0.8, zorder=0)
    frame: dict[str, Any] = {"colors": styles.FRAME, "linewidth": 0.8, "zorder": 2.5}
    axes.hlines(bases + ROW_BOTTOM, *ENDS, **frame)
    axes.vlines([ENDS[0]] * len(bases), bases + ROW_BOTTOM, bases + ROW_TOP, **frame)


def _draw_marks(axes: Any, curves: Sequence[Curve], bases: Any, colours: Sequence[str]) -> None:
    distributions = [curve.distribution for curve in curves]
    for curve, base, colour in zip(curves, bases, colours, strict=True):
        heights = base + curve.distribution.probabilities / curve.distribution.probabilities.max()
        look = {"fill": False, **HOLLOW} if curve.incomplete else {"fill": True, **BARS}
        axes.stairs(heights, EDGES, baseline=base, color=colour, **look)
    low, high = np.array([one.interval(0.8) for one in distributions]).T
    axes.hlines(bases + RANGE_LINE, low, high, colours, zorder=3, **RANGE)
    ends = bases + ROW_BOTTOM, bases + ROW_TOP
    axes.vlines([one.mean for one in distributions], *ends, colours, zorder=4, **MEAN)
    axes.vlines([one.median for one in distributions], *ends, colours, zorder=4, **MEDIAN)


def _draw_label(axes: Any, curve: Curve, base: float) -> None:
    distribution = curve.distribution
    low, high = distribution.interval(0.8)
    numbers = (
        f"mean {styles.percent(distribution.mean)}, median {distribution.median:.0f} %,"
        f" 80 %: {low:.0f}–{high:.0f} %"
    )
    remarks = [curve.incomplete and f"only {curve.incomplete} models", curve.note]
    name = ", ".join([styles.shorten(curve.name), *filter(None, remarks)])
    place: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "parse_math": False}
    left = (styles.TEXT_LEFT - styles.LEFT) / (styles.RIGHT - styles.LEFT)
    weight = "bold" if curve.ensemble else "normal"
    axes.text(
        left,
        base + NAME_LINE,
        styles.wrap(name, 54, 1),
        fontsize=styles.TEXT_SIZE,
        fontweight=weight,
        **place,
    )
    axes.text(left, base + NUMBER_LINE, numbers, fontsize=styles.SMALL_SIZE, **place)


def _legend_handles(outcome: Outcome | None) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Patch(color=styles.GREY, label="probability of each %", **BARS),
        Line2D([], [], color=styles.GREY, label="80 % range", **RANGE),
        Line2D([], [], color=styles.GREY, label="mean", **MEAN),
        Line2D([], [], color=styles.GREY, label="median", **MEDIAN),
    ]
    if outcome is not None and outcome.value is not None:
        label = f"outcome: {outcome.word}"
        handles.append(Line2D([], [], color=styles.OUTCOME_COLOUR, label=label, **OUTCOME))
    return handles
