"""Draw one run's distributions of a question: each model's and the ensemble's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from reporting import styles
from reporting.plot_data import Curve, Outcome, PlotError
from scoring.distribution import PERCENTAGES

# Left and right end of the rows (share of the figure's width), and where their labels start: in
# line with the title.
ROW_LEFT: Final = 0.255
ROW_RIGHT: Final = 0.975
LABEL_LEFT: Final = (styles.TEXT_LEFT - ROW_LEFT) / (ROW_RIGHT - ROW_LEFT)
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
    grid = figure.add_gridspec(
        rows,
        1,
        left=ROW_LEFT,
        right=ROW_RIGHT,
        top=1 - (top + 0.08) / total,
        bottom=0.98 / total,
        hspace=0.42,
    )
    chosen = styles.colours(curve.name for curve in curves if not curve.ensemble)
    first = None
    for number, curve in enumerate(curves):
        axes = figure.add_subplot(grid[number, 0], sharex=first)
        first = first or axes
        _draw_row(axes, curve, styles.ENSEMBLE_COLOUR if curve.ensemble else chosen[curve.name])
        axes.tick_params(labelbottom=number == rows - 1)
        if outcome is not None and outcome.value is not None:
            colour = styles.outcome_colour(outcome)
            axes.axvline(100 * outcome.value, color=colour, zorder=1, **OUTCOME)
    axes.set_xlabel("probability of yes", fontsize=10, labelpad=4)
    _draw_legend(figure, outcome)
    return figure


def _draw_row(axes: Any, curve: Curve, colour: str) -> None:
    distribution = curve.distribution
    heights = 100 * distribution.probabilities
    peak = float(heights.max())
    axes.bar(PERCENTAGES, heights, width=1.0, color=colour, **BARS)
    base = [-0.13 * peak, -0.13 * peak]
    ends = distribution.interval(0.8)
    axes.plot(ends, base, color=colour, solid_capstyle="butt", zorder=3, **RANGE)
    axes.axvline(distribution.mean, color=colour, zorder=4, **MEAN)
    axes.axvline(distribution.median, color=colour, zorder=4, **MEDIAN)
    axes.set_xlim(-1.5, 101.5)
    axes.set_ylim(-0.26 * peak, 1.12 * peak)
    axes.set_xticks(range(0, 101, 10))
    axes.set_yticks([0, peak])
    styles.clean(axes)
    axes.grid(False, axis="y")
    styles.percent_axis(axes.xaxis)
    styles.percent_axis(axes.yaxis, 1 if peak < 10 else 0)
    _draw_label(axes, curve, colour)


def _draw_label(axes: Any, curve: Curve, colour: str) -> None:
    distribution = curve.distribution
    low, high = distribution.interval(0.8)
    name = styles.wrap(styles.shorten(curve.name), 22, 2)
    numbers = [
        f"mean {styles.percent(distribution.mean)}, median {distribution.median:.0f} %",
        f"80 %: {low:.0f}–{high:.0f} %",
    ]
    if curve.note:
        numbers.append(styles.wrap(curve.note, 30, 1))
    place: dict[str, Any] = {"transform": axes.transAxes, "va": "top", "parse_math": False}
    axes.text(
        LABEL_LEFT,
        1.04,
        name,
        fontsize=9.5,
        linespacing=1.15,
        fontweight="bold" if curve.ensemble else "normal",
        color=colour,
        **place,
    )
    below = 1.04 - 0.235 * (name.count("\n") + 1)
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
