"""Draw the latest forecast of every question of a database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from reporting import styles
from reporting.plot_data import Outcome, OverviewRow

# Rows of one figure; more questions continue on a further page.
OVERVIEW_ROWS: Final = 24
RANGE: Final[dict[str, Any]] = {"color": "#9A9A9A", "linewidth": 5}
LATEST: Final[dict[str, Any]] = {"marker": "o", "markersize": 8, "color": styles.PALETTE[0]}
BEFORE: Final[dict[str, Any]] = {
    "marker": "o",
    "markerfacecolor": "white",
    "markeredgecolor": styles.PALETTE[0],
}
MODELS: Final[dict[str, Any]] = {
    "marker": "|",
    "markersize": 13,
    "markeredgewidth": 2,
    "color": styles.ENSEMBLE_COLOUR,
}
CALIBRATED: Final[dict[str, Any]] = {
    "marker": "D",
    "markersize": 6,
    "markerfacecolor": "white",
    "markeredgecolor": styles.ENSEMBLE_COLOUR,
}


def overview_figures(rows: Sequence[OverviewRow], title: str) -> list[Any]:
    """Draw each question's latest forecast, the one before, and the outcome, in pages."""
    pages = [rows[start : start + OVERVIEW_ROWS] for start in range(0, len(rows), OVERVIEW_ROWS)]
    return [
        _draw_page(page, title + (f" ({number} of {len(pages)})" if len(pages) > 1 else ""))
        for number, page in enumerate(pages, 1)
    ]


def _draw_page(rows: Sequence[OverviewRow], title: str) -> Any:
    figure = styles.new_figure(1.35 + 0.44 * len(rows))
    top, total = styles.add_title(figure, title), figure.get_figheight()
    axes = figure.add_axes((0.475, 0.78 / total, 0.43, 1 - (top + 0.1 + 0.78) / total))
    _draw_rows(axes, rows)
    axes.set_yticks(
        range(len(rows)), [row_label(row) for row in rows], fontsize=8, parse_math=False
    )
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_xlim(0, 100)
    axes.set_xticks(range(0, 101, 20))
    styles.percent_axis(axes.xaxis)
    styles.clean(axes)
    axes.tick_params(axis="y", length=0, labelsize=8, pad=12)
    axes.set_xlabel("probability of yes", fontsize=9.5)
    _draw_legend(figure, rows)
    return figure


def row_label(row: OverviewRow) -> str:
    """Return the question, its day, and "voided", which the scale has no place for."""
    voided = row.outcome is not None and row.outcome.value is None
    remarks = [f"(as of {row.day})" if row.day else "", "(voided)" if voided else ""]
    return styles.wrap(row.text, 54, 2, " ".join(remark for remark in remarks if remark))


def _draw_rows(axes: Any, rows: Sequence[OverviewRow]) -> None:
    """Draw each kind of mark of all rows at once: one artist, not one for each row."""

    def points(values: Sequence[float | None], **style: Any) -> None:
        shown = [(value, number) for number, value in enumerate(values) if value is not None]
        if shown:
            axes.plot(*zip(*shown, strict=True), linestyle="none", **style)

    axes.hlines(range(len(rows)), *zip(*((r.low, r.high) for r in rows), strict=True), **RANGE)
    points([row.previous for row in rows], markersize=7, zorder=3, **BEFORE)
    latest = [row.mean if row.final is None else row.final for row in rows]
    points([None if row.final is None else row.mean for row in rows], zorder=4, **MODELS)
    points(latest, markeredgecolor="white", zorder=4, **LATEST)
    points([row.calibrated for row in rows], zorder=5, **CALIBRATED)
    star: dict[str, Any] = {"marker": "*", "markersize": 14, "markeredgecolor": "white"}
    star |= {"zorder": 5, "clip_on": False}
    for value in (0, 1):
        ended = Outcome(value, None)
        places = [
            100.0 * value if row.outcome and row.outcome.value == value else None for row in rows
        ]
        points(places, color=styles.outcome_colour(ended), **star)
    for number, row in enumerate(rows):
        where: dict[str, Any] = {"va": "center"}
        axes.text(
            104.5, number, styles.percent(latest[number]), fontsize=9, fontweight="bold", **where
        )
        if remark := _remark(row, latest[number]):
            where |= {"fontsize": 6.5, "color": styles.GREY}
            axes.text(104.5, number + 0.34, remark, **where)


def _remark(row: OverviewRow, latest: float | None) -> str:
    """Return the change since the forecast before, and how many models took part."""
    moved = "" if row.previous is None or latest is None else f"{latest - row.previous:+.1f}"
    return ", ".join(filter(None, (moved, row.fewer and f"{row.fewer} models")))


def _draw_legend(figure: Any, rows: Sequence[OverviewRow]) -> None:
    from matplotlib.lines import Line2D

    def handle(label: str, **style: Any) -> Any:
        return Line2D([], [], label=label, **{"linestyle": "none", **style})

    final = any(row.final is not None for row in rows)
    handles = [
        handle("latest forecast" + (", final" if final else ""), **LATEST),
        *([handle("its models", **MODELS)] if final else []),
        handle("80 % range", **{"linestyle": "-", **RANGE}),
    ]
    if any(row.previous is not None for row in rows):
        same = ", same models" if any(row.same_models for row in rows) else ""
        handles.append(handle(f"one before{same}", markersize=8, **BEFORE))
    if any(row.calibrated is not None for row in rows):
        handles.append(handle("calibrated", **CALIBRATED))
    if any(row.outcome is not None and row.outcome.value is not None for row in rows):
        handles.append(handle("outcome", marker="*", markersize=12, color=styles.GREY))
    styles.legend_below(figure, handles, columns=len(handles), centre=0.5)
