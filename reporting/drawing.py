"""Figures from plain values, apart from the database and the command line so that each can be tested and looked at alone.

matplotlib is imported inside the functions that draw: reading this module costs nothing, and ``--help`` stays fast. Only the
object interface with the Agg canvas is used; there is no pyplot state to leak figures and no display is needed.

Percentages on every axis, the colour-blind safe palette of Okabe and Ito (jfly.uni-koeln.de/color), legends below the axes, and
question texts drawn as they are (a ``$`` starts no formula).
"""

from __future__ import annotations

import hashlib
import io
import re
import textwrap
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.metrics import Interval, ReliabilityBin
from reporting.fonts import OWN_FONT, give_fonts
from scoring.distribution import PERCENTAGES, Distribution
from terminal.file_names import write_whole
from terminal.text import visible, without_direction_marks

# Okabe & Ito (2008) without yellow, which is too pale for lines on white. Black is kept for the ensemble.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
ENSEMBLE_COLOUR = "#000000"
GREY = "#595959"
YES_COLOUR, NO_COLOUR = "#009E73", "#D55E00"
# 144 dots per inch: an 8.4 inch figure is 1210 pixels wide, sharp in a report and on a screen.
DOTS_PER_INCH = 144
WIDTH = 8.4
TITLE_CHARACTERS = 84
LABEL_CHARACTERS = 30
# Left and right end of the distribution rows (share of the figure's width), and where their labels start: in line with the title.
TEXT_LEFT, ROW_LEFT, ROW_RIGHT = 0.012, 0.255, 0.975
LABEL_LEFT = (TEXT_LEFT - ROW_LEFT) / (ROW_RIGHT - ROW_LEFT)
# Rows of one overview figure; more questions continue on a further page.
OVERVIEW_ROWS = 24


class PlotError(Exception):
    """A figure could not be drawn or written; the message is one line for the user."""


@dataclass(frozen=True)
class Curve:
    """One distribution to draw: an agent's or the ensemble's, with a remark such as "low confidence"."""

    name: str
    distribution: Distribution
    note: str = ""
    ensemble: bool = False


@dataclass(frozen=True)
class HistoryPoint:
    """One forecast in time: mean and the ends of its 80 % interval, in percent.

    ``calibrated`` is the mean corrected by the record's calibration; ``fewer`` says how many of its models a pool has
    ("2 of 3") where some are missing.
    """

    when: datetime
    mean: float
    low: float
    high: float
    calibrated: float | None = None
    fewer: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a question ended: 0 or 1, or None when it was voided, and when (None if no time is known)."""

    value: float | None
    when: datetime | None

    @property
    def word(self) -> str:
        """``yes``, ``no`` or ``void``."""
        return "void" if self.value is None else ("yes" if self.value else "no")


@dataclass(frozen=True)
class OverviewRow:
    """One question's latest forecast in percent, the one before it if any, and its outcome if known.

    ``previous`` is the latest minus the change over the models that both pools have, ``same_models`` says that this is not
    the change of the pools; ``day`` is the one a back-dated forecast speaks from; the rest is as in ``HistoryPoint``.
    """

    text: str
    mean: float
    low: float
    high: float
    previous: float | None = None
    outcome: Outcome | None = None
    calibrated: float | None = None
    fewer: str = ""
    same_models: bool = False
    day: str = ""

    def label(self) -> str:
        """The question, the day, and whether it was voided, which no place on the scale shows."""
        voided = self.outcome is not None and self.outcome.value is None
        ending = f"(as of {self.day})" if self.day else ""
        return wrap(self.text, 54, 2, f"{ending} (voided)".strip() if voided else ending)


def file_part(identifier: object) -> str:
    """An id as part of a file name: letters, digits, dot, dash and underscore; anything else gets a dash and a short hash."""
    text = str(identifier)
    clean = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")[:60]
    if clean == text:
        return clean
    return (
        f"{clean}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        if clean
        else hashlib.sha256(text.encode()).hexdigest()[:8]
    )


def wrap(text: str, width: int = TITLE_CHARACTERS, lines: int = 3, ending: str = "") -> str:
    """Text in at most ``lines`` lines of ``width`` characters, cut where it is longer, but not its ``ending``."""
    # An ideograph is as wide as two letters: for the wrapping a second character stands behind it.
    wide = "".join(
        c + "\0" if unicodedata.east_asian_width(c) in "WF" else c for c in _drawable(text)
    )
    whole = " ".join(f"{wide} {ending}".split())
    wrapped = textwrap.wrap(whole, width, max_lines=lines, placeholder=f" … {ending}".rstrip())
    return "\n".join(wrapped or [""]).replace("\0", "")


def _drawable(text: str) -> str:
    """Text from outside as matplotlib may draw it."""
    return visible(without_direction_marks(text))


def shorten(name: str, width: int = LABEL_CHARACTERS) -> str:
    """A long model name with its middle replaced by an ellipsis: beginning and end tell models apart."""
    name = _drawable(name)
    if len(name) <= width:
        return name
    head = (width - 1) * 2 // 3
    return f"{name[:head]}…{name[-(width - 1 - head) :]}"


def png(figure: Any) -> bytes:
    """A figure as the bytes of a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    give_fonts(figure)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A character that no installed font has is drawn as a box; ``say_what_lacks`` says so, once.
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*missing.*")
        figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, facecolor="white")
    return buffer.getvalue()


def save(figure: Any, path: Path) -> Path:
    """Write a figure as PNG: whole or not at all, so that a full disk leaves no half picture behind.

    Raises:
        PlotError: the file cannot be written.
    """
    content = png(figure)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        raise PlotError(
            f"{path}: the plot could not be written ({error.strerror or error})"
        ) from error
    return path


# --- pieces -----------------------------------------------------------------------------------------------------------


def _figure(height: float) -> Any:
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    # Names and questions hold $ and \\: whatever a user's matplotlibrc says, they are text.
    rcParams["text.parse_math"] = rcParams["text.usetex"] = False
    rcParams["font.family"] = [OWN_FONT]
    return Figure(figsize=(WIDTH, height))


def _title(figure: Any, text: str, subtitle: str = "") -> float:
    """Draw a wrapped title and a grey line under it; returns how many inches they take at the top."""
    height = figure.get_figheight()
    title = wrap(text)
    lines = title.count("\n") + 1
    figure.text(
        TEXT_LEFT,
        1 - 0.12 / height,
        title,
        va="top",
        fontsize=12,
        fontweight="bold",
        linespacing=1.25,
        parse_math=False,
    )
    used = 0.12 + 0.215 * lines + 0.06
    if subtitle:
        figure.text(
            TEXT_LEFT,
            1 - used / height,
            wrap(subtitle, 110, 2),
            va="top",
            fontsize=9,
            color=GREY,
            parse_math=False,
        )
        used += 0.16 * (wrap(subtitle, 110, 2).count("\n") + 1) + 0.06
    return used


def _percent(axis: Any, decimals: int = 0) -> None:
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.{decimals}f} %"))


def _clean(axes: Any) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#B0B0B0")
    axes.tick_params(colors="#333333", labelsize=9, length=3)
    axes.grid(True, color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)


def _number(value: float) -> str:
    """A percentage for a label: one decimal below 10 and above 90, where it matters."""
    return f"{value:.1f} %" if value < 10 or value > 90 else f"{value:.0f} %"


def _colours(names: Sequence[str]) -> dict[str, str]:
    return {name: PALETTE[number % len(PALETTE)] for number, name in enumerate(names)}


# --- one question, one run --------------------------------------------------------------------------------------------


def distribution_figure(
    title: str, subtitle: str, curves: Sequence[Curve], outcome: Outcome | None = None
) -> Any:
    """One row per curve over 0-100 %: probability of each whole percentage, mean, median and 80 % interval.

    Raises:
        PlotError: there is nothing to draw.
    """
    if not curves:
        raise PlotError(f"{title[:60]!r}: no distribution to draw")
    rows = len(curves)
    row_height = 1.02
    figure = _figure(0.42 + 0.215 * 3 + row_height * rows + 1.15)
    top = _title(figure, title, subtitle)
    total = figure.get_figheight()
    names = [curve.name for curve in curves if not curve.ensemble]
    colours = _colours(list(dict.fromkeys(names)))
    grid = figure.add_gridspec(
        rows,
        1,
        left=ROW_LEFT,
        right=ROW_RIGHT,
        top=1 - (top + 0.08) / total,
        bottom=0.98 / total,
        hspace=0.42,
    )
    first = None
    for number, curve in enumerate(curves):
        axes = figure.add_subplot(grid[number, 0], sharex=first)
        first = first or axes
        _distribution_row(axes, curve, ENSEMBLE_COLOUR if curve.ensemble else colours[curve.name])
        axes.tick_params(labelbottom=number == rows - 1)
        if outcome is not None and outcome.value is not None:
            axes.axvline(
                100 * outcome.value,
                color=YES_COLOUR if outcome.value else NO_COLOUR,
                linewidth=4,
                alpha=0.75,
                zorder=1,
            )
        if number == rows - 1:
            axes.set_xlabel("probability of yes", fontsize=10, labelpad=4)
    _distribution_legend(figure, outcome)
    return figure


def _distribution_row(axes: Any, curve: Curve, colour: str) -> None:
    distribution = curve.distribution
    heights = 100 * distribution.probabilities
    peak = float(heights.max())
    axes.bar(PERCENTAGES, heights, width=1.0, color=colour, alpha=0.42, linewidth=0)
    low, high = distribution.interval(0.8)
    base = -0.13 * peak
    axes.plot(
        [low, high], [base, base], color=colour, linewidth=4.5, solid_capstyle="butt", zorder=3
    )
    axes.axvline(distribution.mean, ymin=0.0, color=colour, linewidth=1.8, zorder=4)
    axes.axvline(distribution.median, color=colour, linewidth=1.4, linestyle=(0, (2, 2)), zorder=4)
    axes.set_xlim(-1.5, 101.5)
    axes.set_ylim(-0.26 * peak, 1.12 * peak)
    axes.set_xticks(range(0, 101, 10))
    axes.set_yticks([0, peak])
    _clean(axes)
    axes.grid(True, axis="x")
    axes.grid(False, axis="y")
    _percent(axes.xaxis)
    _percent(axes.yaxis, 1 if peak < 10 else 0)
    label = wrap(shorten(curve.name), 22, 2)
    numbers = f"mean {_number(distribution.mean)}, median {distribution.median:.0f} %\n80 %: {low:.0f}–{high:.0f} %"
    if curve.note:
        numbers += f"\n{wrap(curve.note, 30, 1)}"
    lines = label.count("\n") + 1
    axes.text(
        LABEL_LEFT,
        1.04,
        label,
        transform=axes.transAxes,
        va="top",
        fontsize=9.5,
        linespacing=1.15,
        fontweight="bold" if curve.ensemble else "normal",
        color=colour,
        parse_math=False,
    )
    axes.text(
        LABEL_LEFT,
        1.04 - 0.235 * lines,
        numbers,
        transform=axes.transAxes,
        va="top",
        fontsize=7.6,
        linespacing=1.25,
        color="#333333",
        parse_math=False,
    )


def _legend_below(
    figure: Any,
    handles: Sequence[Any],
    labels: Sequence[str] | None = None,
    *,
    columns: int,
    centre: float,
    markerscale: float | None = None,
) -> None:
    """A frameless legend under everything that is drawn; ``centre`` is a share of the figure's width."""
    figure.legend(
        handles,
        labels or [handle.get_label() for handle in handles],
        loc="lower center",
        ncol=columns,
        frameon=False,
        fontsize=8.5,
        markerscale=markerscale,
        bbox_to_anchor=(centre, 0.0),
    )


def _distribution_legend(figure: Any, outcome: Outcome | None) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Patch(color=GREY, alpha=0.42, linewidth=0, label="probability of each %"),
        Line2D([], [], color=GREY, linewidth=1.8, label="mean"),
        Line2D([], [], color=GREY, linewidth=1.4, linestyle=(0, (2, 2)), label="median"),
        Line2D([], [], color=GREY, linewidth=4.5, label="80 % interval"),
    ]
    if outcome is not None and outcome.value is not None:
        colour = YES_COLOUR if outcome.value else NO_COLOUR
        handles.append(
            Line2D([], [], color=colour, linewidth=4, alpha=0.75, label=f"outcome: {outcome.word}")
        )
    _legend_below(figure, handles, columns=len(handles), centre=0.62)


# --- one question, over time ------------------------------------------------------------------------------------------


def history_figure(
    title: str,
    series: Mapping[str, Sequence[HistoryPoint]],
    ensemble: Sequence[HistoryPoint],
    outcome: Outcome | None = None,
    *,
    kind: str = "",
) -> Any:
    """Means of every agent and of the ensemble over time, the ensemble with its 80 % band, and the outcome when known.

    A pool of fewer models than configured has a hollow marker. ``kind`` ("live", "back-dated") names the forecasts.

    Raises:
        PlotError: there is no forecast to draw.
    """
    moments = sorted({p.when for points in [*series.values(), ensemble] for p in points})
    if not moments:
        raise PlotError(f"{title[:60]!r}: no forecast to draw")
    marks = any(p.fewer for p in ensemble) + any(p.calibrated is not None for p in ensemble)
    legend_rows = -(-(len(series) + 3 + marks) // 3)
    figure = _figure(4.6 + 0.2 * legend_rows)
    span = (
        f"{moments[0]:%Y-%m-%d}"
        if moments[0].date() == moments[-1].date()
        else f"{moments[0]:%Y-%m-%d} to {moments[-1]:%Y-%m-%d}"
    )
    count = len(moments)
    top = _title(
        figure,
        title,
        f"{count} {kind} forecast{'s' if count != 1 else ''}, {span}".replace("  ", " ")
        + (f"; resolved {outcome.word}" if outcome else ""),
    )
    total = figure.get_figheight()
    bottom = 0.62 + 0.22 * legend_rows
    axes = figure.add_axes((0.085, bottom / total, 0.89, 1 - (top + 0.12 + bottom) / total))
    colours = _colours(list(series))
    # Forecasts of one single run would hide each other: their markers stand side by side, left of the ensemble's.
    shift = 0.02 * _extent(moments, outcome) if len(moments) == 1 else timedelta(0)
    for number, (name, points) in enumerate(series.items()):
        moved = [
            replace(p, when=p.when + shift * (number - len(series)))
            for p in sorted(points, key=lambda p: p.when)
        ]
        if len(moments) == 1:
            axes.vlines(
                [p.when for p in moved],
                [p.low for p in moved],
                [p.high for p in moved],
                color=colours[name],
                alpha=0.45,
            )
        _line(axes, moved, shorten(name), colours[name], MARKERS[number % len(MARKERS)])
    _band(axes, sorted(ensemble, key=lambda p: p.when))
    _calibrated(axes, sorted(ensemble, key=lambda p: p.when))
    _mark_outcome(axes, outcome)
    _time_axis(axes, moments, outcome, shift * len(series))
    axes.set_ylim(-3, 103)
    axes.set_yticks(range(0, 101, 20))
    _percent(axes.yaxis)
    axes.set_ylabel("probability of yes", fontsize=10)
    _clean(axes)
    handles, labels = axes.get_legend_handles_labels()
    _legend_below(figure, handles, labels, columns=3, centre=0.53, markerscale=0.8)
    return figure


def _line(axes: Any, points: Sequence[HistoryPoint], label: str, colour: str, marker: str) -> None:
    axes.plot(
        [p.when for p in points],
        [p.mean for p in points],
        color=colour,
        linewidth=1.3,
        marker=marker,
        markersize=5,
        markeredgecolor="white",
        markeredgewidth=0.6,
        label=label,
        zorder=3,
    )


def _band(axes: Any, points: Sequence[HistoryPoint]) -> None:
    """The ensemble: a band where there are several forecasts, an error bar where there is one."""
    if not points:
        return
    when, mean = [p.when for p in points], [p.mean for p in points]
    low, high = [p.low for p in points], [p.high for p in points]
    if len(points) > 1:
        axes.fill_between(
            when,
            low,
            high,
            color=ENSEMBLE_COLOUR,
            alpha=0.13,
            linewidth=0,
            label="ensemble, 80 % interval",
            zorder=1,
        )
    else:
        axes.plot(
            [when[0], when[0]],
            [low[0], high[0]],
            color=ENSEMBLE_COLOUR,
            alpha=0.22,
            linewidth=12,
            solid_capstyle="butt",
            label="ensemble, 80 % interval",
            zorder=1,
        )
    axes.plot(
        when,
        mean,
        color=ENSEMBLE_COLOUR,
        linewidth=2.4,
        marker="o",
        markersize=7,
        markeredgecolor="white",
        label="ensemble",
        zorder=4,
    )
    fewer = [p for p in points if p.fewer]
    if fewer:
        shares = ", ".join(dict.fromkeys(p.fewer for p in fewer))
        axes.plot(
            [p.when for p in fewer],
            [p.mean for p in fewer],
            linestyle="none",
            marker="o",
            markersize=7,
            markerfacecolor="white",
            markeredgecolor=ENSEMBLE_COLOUR,
            markeredgewidth=1.6,
            label=f"only {shares} models",
            zorder=5,
        )


def _calibrated(axes: Any, points: Sequence[HistoryPoint]) -> None:
    """The ensemble's means as the record's calibration corrects them, where there is one."""
    known = [(p.when, p.calibrated) for p in points if p.calibrated is not None]
    if known:
        axes.plot(
            [when for when, _ in known],
            [value for _, value in known],
            color=ENSEMBLE_COLOUR,
            linewidth=1.3,
            linestyle=(0, (1, 1.5)),
            marker="D",
            markersize=4.5,
            markerfacecolor="white",
            label="ensemble, calibrated",
            zorder=4,
        )


def _mark_outcome(axes: Any, outcome: Outcome | None) -> None:
    if outcome is None:
        return
    colour = GREY if outcome.value is None else (YES_COLOUR if outcome.value else NO_COLOUR)
    if outcome.when is not None:
        axes.axvline(outcome.when, color=colour, linewidth=1.2, linestyle=(0, (4, 3)), zorder=2)
    if outcome.value is not None:
        height = 100 * outcome.value
        if outcome.when is not None:
            axes.plot(
                [outcome.when],
                [height],
                marker="*",
                markersize=17,
                color=colour,
                linestyle="none",
                label=f"outcome: {outcome.word}",
                zorder=5,
                clip_on=False,
            )
        else:
            axes.axhline(
                height,
                color=colour,
                linewidth=3,
                alpha=0.6,
                label=f"outcome: {outcome.word}",
                zorder=2,
            )
    elif outcome.when is not None:
        axes.plot([], [], color=colour, linestyle=(0, (4, 3)), label="voided")


def _ends(moments: Sequence[datetime], outcome: Outcome | None) -> tuple[datetime, datetime]:
    """First and last moment that a time axis has to show."""
    shown = (
        [*moments, outcome.when]
        if outcome is not None and outcome.when is not None
        else list(moments)
    )
    return min(shown), max(shown)


def _extent(moments: Sequence[datetime], outcome: Outcome | None) -> timedelta:
    """Length of a time axis, two days at least: forecasts minutes apart are one point in time for a reader."""
    first, last = _ends(moments, outcome)
    return max(last - first, timedelta(days=2))


def _time_axis(
    axes: Any,
    moments: Sequence[datetime],
    outcome: Outcome | None,
    before: timedelta = timedelta(0),
) -> None:
    """Limits and dates of a time axis; ``before`` is room kept left of the first moment."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    first, last = _ends(moments, outcome)
    pad = 0.05 * _extent(moments, outcome)
    if first == last:
        pad = timedelta(days=1)
        axes.set_xticks([first], [f"{first:%Y-%m-%d}"])
    else:
        locator = AutoDateLocator(minticks=3, maxticks=8)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.set_xlim(first - pad - before, last + pad)


# --- all questions of a database --------------------------------------------------------------------------------------


def overview_figures(rows: Sequence[OverviewRow], title: str) -> list[Any]:
    """The latest forecast of every question with its 80 % interval, the previous one and the outcome; one figure per page."""
    pages = [rows[start : start + OVERVIEW_ROWS] for start in range(0, len(rows), OVERVIEW_ROWS)]
    return [
        _overview_page(page, title + (f" ({number} of {len(pages)})" if len(pages) > 1 else ""))
        for number, page in enumerate(pages, 1)
    ]


def _overview_page(rows: Sequence[OverviewRow], title: str) -> Any:
    figure = _figure(1.35 + 0.44 * len(rows))
    top = _title(figure, title)
    total = figure.get_figheight()
    axes = figure.add_axes((0.475, 0.78 / total, 0.43, 1 - (top + 0.1 + 0.78) / total))
    for number, row in enumerate(rows):
        axes.plot(
            [row.low, row.high],
            [number, number],
            color="#9A9A9A",
            linewidth=5,
            solid_capstyle="butt",
            zorder=2,
        )
        if row.previous is not None:
            axes.plot(
                [row.previous],
                [number],
                marker="o",
                markersize=7,
                markerfacecolor="white",
                markeredgecolor=PALETTE[0],
                zorder=3,
            )
        axes.plot(
            [row.mean],
            [number],
            marker="o",
            markersize=8,
            color=PALETTE[0],
            markeredgecolor="white",
            zorder=4,
        )
        if row.calibrated is not None:
            axes.plot(
                [row.calibrated],
                [number],
                marker="D",
                markersize=6,
                markerfacecolor="white",
                markeredgecolor=ENSEMBLE_COLOUR,
                zorder=5,
            )
        axes.text(104.5, number, _number(row.mean), va="center", fontsize=9, fontweight="bold")
        if row.fewer:
            axes.text(
                104.5, number + 0.34, f"{row.fewer} models", va="center", fontsize=6.5, color=GREY
            )
        if row.outcome is not None and row.outcome.value is not None:
            colour = YES_COLOUR if row.outcome.value else NO_COLOUR
            axes.plot(
                [100 * row.outcome.value],
                [number],
                marker="*",
                markersize=14,
                color=colour,
                markeredgecolor="white",
                zorder=5,
                clip_on=False,
            )
    axes.set_yticks(range(len(rows)), [row.label() for row in rows], fontsize=8, parse_math=False)
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_xlim(0, 100)
    axes.set_xticks(range(0, 101, 20))
    _percent(axes.xaxis)
    _clean(axes)
    axes.tick_params(axis="y", length=0, labelsize=8, pad=12)
    axes.set_xlabel("probability of yes", fontsize=9.5)
    _overview_legend(figure, rows)
    return figure


def _overview_legend(figure: Any, rows: Sequence[OverviewRow]) -> None:
    from matplotlib.lines import Line2D

    blank: dict[str, Any] = {"linestyle": "none", "markersize": 8}
    handles: list[Any] = [
        Line2D([], [], marker="o", color=PALETTE[0], label="latest forecast", **blank),
        Line2D([], [], color="#9A9A9A", linewidth=5, label="80 % interval"),
    ]
    if any(row.previous is not None for row in rows):
        handles.append(
            Line2D(
                [],
                [],
                marker="o",
                markerfacecolor="white",
                markeredgecolor=PALETTE[0],
                label="one before"
                + (", same models" if any(row.same_models for row in rows) else ""),
                **blank,
            )
        )
    if any(row.calibrated is not None for row in rows):
        diamond: dict[str, Any] = {"marker": "D", "markerfacecolor": "white"}
        diamond |= {**blank, "markersize": 6, "markeredgecolor": ENSEMBLE_COLOUR}
        handles.append(Line2D([], [], label="calibrated", **diamond))
    if any(row.outcome is not None and row.outcome.value is not None for row in rows):
        handles.append(
            Line2D([], [], marker="*", color=GREY, label="outcome", linestyle="none", markersize=12)
        )
    _legend_below(figure, handles, columns=len(handles), centre=0.5)


# --- the track record -------------------------------------------------------------------------------------------------


def reliability_figure(
    title: str, subtitle: str, sets: Mapping[str, Sequence[ReliabilityBin]]
) -> Any:
    """Observed frequency against forecast with 95 % intervals, and under it how many forecasts each bin holds.

    sets: bins by forecaster name (at most a few: each gets a colour and a small sideways shift so that bars do not overlap).

    Raises:
        PlotError: every bin is empty.
    """
    filled = {name: [b for b in bins if b.count] for name, bins in sets.items()}
    if not any(filled.values()):
        raise PlotError("no resolved forecast to draw a reliability diagram of")
    figure = _figure(7.9)
    top = _title(figure, title, subtitle)
    total = figure.get_figheight()
    upper = 1 - (top + 0.1) / total
    axes = figure.add_axes((0.1, 0.33, 0.87, upper - 0.33))
    counts = figure.add_axes((0.1, 0.135, 0.87, 0.145), sharex=axes)
    axes.plot(
        [0, 100],
        [0, 100],
        color=GREY,
        linewidth=1,
        linestyle=(0, (4, 3)),
        label="perfectly calibrated",
        zorder=1,
    )
    colours = _colours([name for name in filled if name != "ensemble"]) | {
        "ensemble": ENSEMBLE_COLOUR
    }
    width = 7.0 / max(len(filled), 1)
    for number, (name, bins) in enumerate(filled.items()):
        shift = (number - (len(filled) - 1) / 2) * 0.7
        x = np.array([100 * b.mean_forecast for b in bins]) + shift
        y = np.array([100 * b.frequency for b in bins])
        errors = np.array(
            [
                [100 * (b.frequency - b.interval.low), 100 * (b.interval.high - b.frequency)]
                for b in bins
            ]
        ).T
        axes.errorbar(
            x,
            y,
            yerr=np.maximum(errors, 0),
            color=colours[name],
            marker=MARKERS[number % len(MARKERS)],
            markersize=6.5,
            linewidth=1.2,
            elinewidth=1.3,
            capsize=3,
            markeredgecolor="white",
            label=shorten(name, 40),
            zorder=3,
        )
        left = (
            np.array([50 * (b.low + b.high) for b in bins])
            + (number - (len(filled) - 1) / 2) * width
        )
        bars = counts.bar(
            left, [b.count for b in bins], width=0.92 * width, color=colours[name], alpha=0.8
        )
        if len(filled) <= 2:
            counts.bar_label(bars, fontsize=7, padding=1)
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
        _clean(one)
    _percent(axes.xaxis)
    _percent(axes.yaxis)
    _percent(counts.xaxis)
    axes.tick_params(labelbottom=False)
    handles, labels = axes.get_legend_handles_labels()
    _legend_below(figure, handles, labels, columns=min(3, len(handles)), centre=0.53)
    return figure


@dataclass(frozen=True)
class ScorePoint:
    """The score of the forecasts made in one period: its middle, how many, the mean Brier score and its interval."""

    when: datetime
    count: int
    brier: float
    interval: Interval


def score_figure(title: str, subtitle: str, series: Mapping[str, Sequence[ScorePoint]]) -> Any:
    """Mean Brier score by period for each forecaster with 95 % intervals; lower is better, 0.25 is always saying 50 %.

    Raises:
        PlotError: no period holds a resolved forecast.
    """
    moments = sorted({p.when for points in series.values() for p in points})
    if not moments:
        raise PlotError("no resolved forecast to draw scores of")
    legend_rows = -(-(len(series) + 1) // 3)
    figure = _figure(4.6 + 0.2 * legend_rows)
    top = _title(figure, title, subtitle)
    total = figure.get_figheight()
    bottom = 0.62 + 0.22 * legend_rows
    axes = figure.add_axes((0.085, bottom / total, 0.89, 1 - (top + 0.12 + bottom) / total))
    axes.axhline(0.25, color=GREY, linewidth=1, linestyle=(0, (4, 3)), label="always 50 %")
    colours = _colours([name for name in series if name != "ensemble"]) | {
        "ensemble": ENSEMBLE_COLOUR
    }
    ceiling = 0.3
    # Error bars of several forecasters in one month stand side by side.
    step = 0.012 * max(_extent(moments, None), timedelta(days=30))
    for number, (name, points) in enumerate(series.items()):
        ordered = sorted(points, key=lambda p: p.when)
        errors = np.array([_score_error(p) for p in ordered]).T
        shift = step * (number - (len(series) - 1) / 2)
        axes.errorbar(
            [p.when + shift for p in ordered],
            [p.brier for p in ordered],
            yerr=errors,
            color=colours[name],
            capsize=3,
            marker=MARKERS[number % len(MARKERS)],
            markersize=6,
            linewidth=1.5,
            elinewidth=1.1,
            markeredgecolor="white",
            label=shorten(name),
        )
        ceiling = max(
            [ceiling, *(p.interval.high if p.interval.known else p.brier for p in ordered)]
        )
    _time_axis(axes, moments, None)
    left, right = axes.get_xlim()
    room = step / timedelta(days=1) * len(series) / 2
    axes.set_xlim(left - room, right + room)
    axes.set_ylim(0, min(1.0, ceiling * 1.05))
    axes.set_ylabel("Brier score (lower is better)", fontsize=10)
    _clean(axes)
    handles, labels = axes.get_legend_handles_labels()
    _legend_below(figure, handles, labels, columns=3, centre=0.53)
    return figure


def _score_error(point: ScorePoint) -> tuple[float, float]:
    """Lengths of an error bar below and above a score; none where the interval is unknown."""
    if not point.interval.known:
        return 0.0, 0.0
    return max(0.0, point.brier - point.interval.low), max(0.0, point.interval.high - point.brier)


def agreement_figure(title: str, subtitle: str, names: Sequence[str], matrix: Any) -> Any:
    """Agreement of every pair of agents (100 % minus their mean total variation distance), as a table of shaded cells.

    matrix: floats of shape (agents, agents) in 0-1, NaN where two agents share no question.

    Raises:
        PlotError: fewer than two agents.
    """
    if len(names) < 2:
        raise PlotError("agreement needs at least two agents")
    values = 100 * np.asarray(matrix, dtype=np.float64)
    size = len(names)
    cell = 0.62
    figure = _figure(1.25 + cell * size + (0 if size <= 4 else 0.7))
    top = _title(figure, title, subtitle)
    total = figure.get_figheight()
    height = cell * size
    width = min(0.68, 1.15 * size / WIDTH)
    axes = figure.add_axes((0.29, 1 - (top + 0.12 + height) / total, width, height / total))
    shown = np.ma.masked_invalid(values)
    axes.imshow(shown, cmap="Blues", vmin=0, vmax=130, aspect="auto")
    for row in range(size):
        for column in range(size):
            text = "–" if not np.isfinite(values[row, column]) else f"{values[row, column]:.0f} %"
            axes.text(
                column,
                row,
                text,
                ha="center",
                va="center",
                fontsize=9.5,
                color="white" if values[row, column] > 80 else "black",
            )
    labels = [wrap(shorten(name), 18, 2) for name in names]
    axes.set_yticks(range(size), [shorten(name) for name in names], fontsize=9, parse_math=False)
    rotation = 0 if size <= 4 else 35
    axes.set_xticks(
        range(size),
        labels,
        fontsize=8.5,
        rotation=rotation,
        ha="center" if not rotation else "right",
        parse_math=False,
    )
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure
