"""Draw the latest forecast of every question of a database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from reporting import styles
from reporting.plot_data import OverviewRow

# Rows of one figure; more questions continue on a further page.
OVERVIEW_ROWS: Final = 24
# Inches of a row, whose text has at most two lines, and where the text ends (in rows).
ROW: Final = 0.66
TEXT_BOTTOM: Final = -0.17
# Right end of the axes; the numbers are beyond it.
AXES_RIGHT: Final = 0.84
RANGE: Final[dict[str, Any]] = {"color": styles.FRAME, "linewidth": 5}
LATEST: Final[dict[str, Any]] = {
    "marker": "o",
    "markersize": 7.5,
    "markerfacecolor": styles.PALETTE[0],
    "markeredgecolor": styles.PALETTE[0],
}
# Of a pool that lacks models.
INCOMPLETE: Final = LATEST | {"markerfacecolor": styles.PAPER, "markeredgewidth": 1.6}
BEFORE: Final[dict[str, Any]] = {
    "marker": "|",
    "markersize": 10,
    "markeredgewidth": 1.6,
    "color": styles.PALETTE[0],
}
MODELS: Final[dict[str, Any]] = {
    "marker": "|",
    "markersize": 13,
    "markeredgewidth": 2,
    "color": styles.ENSEMBLE_COLOUR,
}
CALIBRATED: Final[dict[str, Any]] = {
    "marker": "d",
    "markersize": 6,
    "color": styles.ENSEMBLE_COLOUR,
}
OUTCOME: Final[dict[str, Any]] = {
    "marker": "*",
    "markersize": 13,
    "color": styles.OUTCOME_COLOUR,
    "markeredgecolor": styles.PAPER,
}


def overview_figures(rows: Sequence[OverviewRow], title: str) -> list[Any]:
    """Draw each question's latest forecast, the one before, and the outcome, in pages.

    Open questions come first.
    """
    rows = sorted(rows, key=lambda row: row.outcome is not None)
    pages = [rows[start : start + OVERVIEW_ROWS] for start in range(0, len(rows), OVERVIEW_ROWS)]
    return [
        _draw_page(page, title + (f" ({number} of {len(pages)})" if len(pages) > 1 else ""))
        for number, page in enumerate(pages, 1)
    ]


def _draw_page(rows: Sequence[OverviewRow], title: str) -> Any:
    handles = _legend_handles(rows)
    bottom = styles.AXIS + styles.legend_height(len(handles), styles.RANGE_NOTE)
    figure, axes = styles.new_axes(title, "", ROW * len(rows), bottom)
    place = axes.get_position()
    axes.set_position((0.03, place.y0, AXES_RIGHT - 0.03, place.height))
    axes.set_ylim(len(rows) - 0.75, -0.75)
    axes.set_xlim(0, 100)
    _draw_rows(axes, rows)
    axes.set_yticks(range(len(rows)), [])
    axes.set_xticks(range(0, 101, 20))
    styles.percent_axis(axes.xaxis)
    styles.clean(axes)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("probability of yes", fontsize=styles.TEXT_SIZE)
    styles.legend_below(figure, handles, styles.RANGE_NOTE)
    return figure


def row_label(row: OverviewRow) -> str:
    """Return the question, its day, and "voided", which the scale has no place for."""
    voided = row.outcome is not None and row.outcome.value is None
    remarks = [f"(as of {row.day})" if row.day else "", "(voided)" if voided else ""]
    return styles.wrap(row.text, 56, 2, " ".join(remark for remark in remarks if remark))


def _draw_rows(axes: Any, rows: Sequence[OverviewRow]) -> None:
    """Draw each kind of mark of all rows at once: one artist, not one for each row."""

    def points(values: Sequence[float | None], **style: Any) -> None:
        found = [(value, number) for number, value in enumerate(values) if value is not None]
        if found:
            axes.plot(*zip(*found, strict=True), linestyle="none", clip_on=False, **style)

    axes.hlines(range(len(rows)), *zip(*((r.low, r.high) for r in rows), strict=True), **RANGE)
    points([row.previous for row in rows], zorder=3, **BEFORE)
    latest = [row.mean if row.final is None else row.final for row in rows]
    points([None if row.final is None else row.mean for row in rows], zorder=4, **MODELS)
    full = [None if row.fewer else value for row, value in zip(rows, latest, strict=True)]
    fewer = [value if row.fewer else None for row, value in zip(rows, latest, strict=True)]
    points(full, zorder=4, **LATEST)
    points(fewer, zorder=4, **INCOMPLETE)
    points([row.calibrated for row in rows], zorder=5, **CALIBRATED)
    ended = [row.outcome.value if row.outcome else None for row in rows]
    points([None if value is None else 100 * value for value in ended], zorder=5, **OUTCOME)
    for number, row in enumerate(rows):
        text: dict[str, Any] = {"va": "bottom", "fontsize": styles.SMALL_SIZE, "parse_math": False}
        axes.text(0, number + TEXT_BOTTOM, row_label(row), linespacing=1.15, **text)
        where: dict[str, Any] = {"fontsize": styles.TEXT_SIZE, "fontweight": "bold"}
        axes.text(104, number, styles.percent(latest[number]), va="center", **where)
        text |= {"va": "center", "color": styles.GREY}
        if row.previous is not None:
            # Adding 0 makes a rounded -0 a 0.
            moved = round(latest[number] - row.previous, 1) + 0
            axes.text(104, number + 0.28, f"{moved:+.1f}", **text)
        axes.text(104, number - 0.28, row.fewer, **text)


def _legend_handles(rows: Sequence[OverviewRow]) -> list[Any]:
    from matplotlib.lines import Line2D

    def handle(label: str, **style: Any) -> Any:
        return Line2D([], [], label=label, **{"linestyle": "none", **style})

    final = any(row.final is not None for row in rows)
    handles = [
        handle("latest forecast" + (", final" if final else ""), **LATEST),
        *([handle("its models", **MODELS)] if final else []),
        handle("80 % range", **{"linestyle": "-", **RANGE}),
    ]
    if any(row.fewer for row in rows):
        handles.append(handle("with fewer models", **INCOMPLETE))
    if any(row.previous is not None for row in rows):
        same = ", same models" if any(row.same_models for row in rows) else ""
        handles.append(handle(f"one before{same}", **BEFORE))
    if any(row.calibrated is not None for row in rows):
        handles.append(handle("calibrated", **CALIBRATED))
    if any(row.outcome is not None and row.outcome.value is not None for row in rows):
        handles.append(handle("outcome", **OUTCOME))
    return handles
