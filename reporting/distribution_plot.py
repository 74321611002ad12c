"""Draw one run's distributions of a question: each model's and the ensemble's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from reporting import styles
from reporting.plot_data import Curve, Outcome, PlotError
from scoring.distribution import SUPPORT_SIZE

# Left and right end of the rows (share of the figure's width), and where their labels start: in
# line with the title.
ROW_LEFT: Final = 0.255
ROW_RIGHT: Final = 0.975
LABEL_LEFT: Final = (styles.TEXT_LEFT - ROW_LEFT) / (ROW_RIGHT - ROW_LEFT)
# All rows are in one pair of axes, and each kind of mark is one artist: axes and artists are what
# a figure's time goes to. In units of a row's highest bar: from row to row, a row's upper and lower
# end, its 80 % range, and a line of its label.
PITCH: Final = 1.96
ROW_TOP: Final = 1.12
ROW_BOTTOM: Final = -0.26
RANGE_LINE: Final = -0.13
LABEL_LINE: Final = 0.325
TICKS: Final = range(0, 101, 20)
EDGES: Final = np.arange(SUPPORT_SIZE + 1) - 0.5
ENDS: Final = (-1.5, 101.5)
BARS: Final[dict[str, Any]] = {"alpha": 0.42, "linewidth": 0}
MEAN: Final[dict[str, Any]] = {"linewidth": 1.8}
MEDIAN: Final[dict[str, Any]] = {"linewidth": 1.4, "linestyle": (0, (2, 2))}
RANGE: Final[dict[str, Any]] = {"linewidth": 4.5}
OUTCOME: Final[dict[str, Any]] = {"linewidth": 4, "alpha": 0.75}


def distribution_figure(
    title: str, subtitle: str, curves: Sequence[Curve], outcome: Outcome | None = None
) -> Any:
    """Draw a row for each curve: probability of each %, mean, median, 80 % range.

    Raises:
        PlotError: there is nothing to draw.
    """
    if not curves:
        raise PlotError(f"{title[:60]!r}: no distribution to draw")
    rows = len(curves)
    figure = styles.new_figure(0.42 + 0.215 * 3 + 1.02 * rows + 1.15)
    top, total = styles.add_title(figure, title, subtitle), figure.get_figheight()
    low, high = 0.98 / total, 1 - (top + 0.08) / total
    axes = figure.add_axes((ROW_LEFT, low, ROW_RIGHT - ROW_LEFT, high - low))
    bases = -PITCH * np.arange(rows)
    chosen = styles.colours(curve.name for curve in curves if not curve.ensemble)
    colours = [styles.ENSEMBLE_COLOUR if c.ensemble else chosen[c.name] for c in curves]
    _set_axes(axes, curves, bases)
    _draw_marks(axes, curves, bases, colours)
    for curve, base, colour in zip(curves, bases, colours, strict=True):
        _draw_label(axes, curve, base, colour)
    if outcome is not None and outcome.value is not None:
        end, colour = 100 * outcome.value, styles.outcome_colour(outcome)
        axes.vlines([end] * rows, bases + ROW_BOTTOM, bases + ROW_TOP, colour, zorder=1, **OUTCOME)
    _draw_legend(figure, outcome)
    return figure


def _set_axes(axes: Any, curves: Sequence[Curve], bases: Any) -> None:
    peaks = [100 * float(curve.distribution.probabilities.max()) for curve in curves]
    axes.set_xlim(*ENDS)
    axes.set_ylim(bases[-1] + ROW_BOTTOM, ROW_TOP)
    axes.set_xticks(TICKS)
    axes.set_yticks(
        [place for base in bases for place in (base, base + 1)],
        [text for p in peaks for text in ("0 %", f"{p:.{1 if p < 10 else 0}f} %")],
    )
    styles.clean(axes)
    axes.grid(False)
    axes.spines[["left", "bottom"]].set_visible(False)
    styles.percent_axis(axes.xaxis)
    axes.set_xlabel("probability of yes", fontsize=10, labelpad=4)
    low, high = np.repeat(bases, len(TICKS)) + ROW_BOTTOM, np.repeat(bases, len(TICKS)) + ROW_TOP
    axes.vlines([*TICKS] * len(bases), low, high, "#E6E6E6", linewidth=0.8, zorder=0)
    frame: dict[str, Any] = {"colors": "#B0B0B0", "linewidth": 0.8, "zorder": 2.5}
    axes.hlines(bases + ROW_BOTTOM, *ENDS, **frame)
    axes.vlines([ENDS[0]] * len(bases), bases + ROW_BOTTOM, bases + ROW_TOP, **frame)


def _draw_marks(axes: Any, curves: Sequence[Curve], bases: Any, colours: Sequence[str]) -> None:
    distributions = [curve.distribution for curve in curves]
    for one, base, colour in zip(distributions, bases, colours, strict=True):
        heights = base + one.probabilities / one.probabilities.max()
        axes.stairs(heights, EDGES, baseline=base, fill=True, color=colour, **BARS)
    low, high = np.array([one.interval(0.8) for one in distributions]).T
    axes.hlines(bases + RANGE_LINE, low, high, colours, zorder=3, **RANGE)
    ends = bases + ROW_BOTTOM, bases + ROW_TOP
    axes.vlines([one.mean for one in distributions], *ends, colours, zorder=4, **MEAN)
    axes.vlines([one.median for one in distributions], *ends, colours, zorder=4, **MEDIAN)


def _draw_label(axes: Any, curve: Curve, base: float, colour: str) -> None:
    distribution = curve.distribution
    low, high = distribution.interval(0.8)
    name = styles.wrap(styles.shorten(curve.name), 22, 2)
    numbers = [
        f"mean {styles.percent(distribution.mean)}, median {distribution.median:.0f} %",
        f"80 %: {low:.0f}–{high:.0f} %",
    ]
    if curve.note:
        numbers.append(styles.wrap(curve.note, 30, 1))
    place: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "top"}
    place["parse_math"] = False
    axes.text(
        LABEL_LEFT,
        base + ROW_TOP,
        name,
        fontsize=9.5,
        linespacing=1.15,
        fontweight="bold" if curve.ensemble else "normal",
        color=colour,
        **place,
    )
    below = base + ROW_TOP - LABEL_LINE * (name.count("\n") + 1)
    small: dict[str, Any] = {"fontsize": 7.6, "linespacing": 1.25, "color": "#333333"}
    axes.text(LABEL_LEFT, below, "\n".join(numbers), **small, **place)


def _draw_legend(figure: Any, outcome: Outcome | None) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Patch(color=styles.GREY, label="probability of each %", **BARS),
        Line2D([], [], color=styles.GREY, label="mean", **MEAN),
        Line2D([], [], color=styles.GREY, label="median", **MEDIAN),
        Line2D([], [], color=styles.GREY, label="80 % range", **RANGE),
    ]
    if outcome is not None and outcome.value is not None:
        label = f"outcome: {outcome.word}"
        handles.append(Line2D([], [], color=styles.outcome_colour(outcome), label=label, **OUTCOME))
    styles.legend_below(figure, handles, columns=len(handles), centre=0.62)
