"""Looks and parts that all figures share.

A figure is as wide as a phone's screen in CSS pixels, so that its text keeps its size there; on a
larger screen it is scaled up. matplotlib is imported inside the functions that draw, so that
``--help`` stays fast. Only its object interface is used: no display is needed and no figure leaks.
A ``$`` in a text starts no formula.
"""

from __future__ import annotations

import itertools
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from reporting.fonts import OWN_FONT
from terminal.text import visible, without_direction_marks

# Okabe & Ito (jfly.uni-koeln.de/color), for colour-blind readers too: without yellow, too pale for
# lines on white, and without vermillion, the outcome's.
PALETTE: Final = ("#0072B2", "#009E73", "#E69F00", "#CC79A7", "#56B4E9")
# With the characters that show them in text.
MARKERS: Final = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚", "X": "✖"}
OUTCOME_COLOUR: Final = "#D55E00"
INK: Final = "#1A1A1A"
ENSEMBLE_COLOUR: Final = INK
GREY: Final = "#595959"
FINAL_COLOUR: Final = "#6A1B9A"
PAPER: Final = "#FFFFFF"
GRID: Final = "#E6E6E6"
FRAME: Final = "#B0B0B0"
# The report's dark page shows these colours as those; others are good on both.
DARK: Final = {
    INK: "#E8E8E8",
    GREY: "#A8A8A8",
    FINAL_COLOUR: "#C79BEA",
    PAPER: "#16181C",
    GRID: "#30343A",
    FRAME: "#5A5F66",
    PALETTE[0]: "#4A9FE0",
}
# Ticks of years, months, days, hours, minutes, seconds: each is whole, without a rest at the end
# of the axis. Then those of the first month, day, hour...
DATES: Final = ["%Y", "%b %Y", "%d %b", "%H:%M", "%H:%M", "%H:%M:%S"]
ROUND_DATES: Final = ["", "%b %Y", "%d %b", "%d %b", "%H:%M", "%H:%M"]
DASHED: Final = (0, (4, 3))
# Inches, 72 units of an SVG each: 360 CSS pixels, the width of a phone's screen inside its margins.
WIDTH: Final = 5.0
# Points, at that width CSS pixels.
TITLE_SIZE: Final = 11.0
TEXT_SIZE: Final = 10.0
SMALL_SIZE: Final = 9.0
# Inches of a line of small text, of the ticks and label of a horizontal axis, around the axes.
LINE: Final = 0.175
AXIS: Final = 0.46
LEFT: Final = 0.115
RIGHT: Final = 0.94
# Left edge of titles (share of the figure's width).
TEXT_LEFT: Final = 0.012
TITLE_CHARACTERS: Final = 46
SMALL_CHARACTERS: Final = 66
LABEL_CHARACTERS: Final = 26
RANGE_NOTE: Final = "80 % range: spread of the belief, not a confidence interval"


# --- text -----------------------------------------------------------------------------------------


def wrap(text: str, width: int = TITLE_CHARACTERS, lines: int = 6, ending: str = "") -> str:
    """Wrap text to ``lines`` lines of ``width`` characters; never cut its ``ending``."""
    # An ideograph is as wide as two letters: it counts as two characters.
    wide = "".join(
        c + "\0" if unicodedata.east_asian_width(c) in "WF" else c for c in _drawable(text)
    )
    whole = " ".join(f"{wide} {ending}".split())
    wrapped = textwrap.wrap(whole, width, max_lines=lines, placeholder=f" … {ending}".rstrip())
    return "\n".join(wrapped or [""]).replace("\0", "")


def shorten(name: str) -> str:
    """Cut the middle of a long name: beginning and end tell models apart."""
    name = _drawable(name)
    if len(name) <= LABEL_CHARACTERS:
        return name
    head = (LABEL_CHARACTERS - 1) * 2 // 3
    return f"{name[:head]}…{name[-(LABEL_CHARACTERS - 1 - head) :]}"


def percent(value: float) -> str:
    """Format a percentage: with one decimal below 10 and above 90, where it matters."""
    return f"{value:.1f} %" if value < 10 or value > 90 else f"{value:.0f} %"


def _drawable(text: str) -> str:
    return visible(without_direction_marks(text))


# --- parts of a figure ----------------------------------------------------------------------------


def new_axes(title: str, subtitle: str, height: float, below: float) -> tuple[Any, Any]:
    """Make a figure of the usual width with a title and axes; return both.

    ``height`` is that of the axes, ``below`` what is left under them, in inches.
    """
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    # Names and questions hold $ and \\: whatever a user's matplotlibrc says, they are text.
    rcParams["text.parse_math"] = rcParams["text.usetex"] = False
    rcParams["font.family"] = [OWN_FONT]
    rcParams["text.color"] = rcParams["axes.labelcolor"] = INK
    title, subtitle = title and wrap(title), subtitle and wrap(subtitle, SMALL_CHARACTERS, 3)
    head = 0.2 * (title.count("\n") + 1) if title else 0
    above = 0.1 + head + (LINE * (subtitle.count("\n") + 1) if subtitle else 0) + 0.1
    total = above + below + height
    figure = Figure(figsize=(WIDTH, total), facecolor=PAPER)
    place: dict[str, Any] = {"va": "top", "parse_math": False}
    bold: dict[str, Any] = {"fontsize": TITLE_SIZE, "fontweight": "bold", "linespacing": 1.2}
    figure.text(TEXT_LEFT, 1 - 0.06 / total, title, **bold, **place)
    if subtitle:
        under = 0.06 + (0.04 + head if title else 0)
        small: dict[str, Any] = {"fontsize": SMALL_SIZE, "color": GREY, **place}
        figure.text(TEXT_LEFT, 1 - under / total, subtitle, linespacing=1.25, **small)
    return figure, figure.add_axes((LEFT, below / total, RIGHT - LEFT, 1 - (above + below) / total))


def clean(axes: Any) -> None:
    """Give axes the common look: no frame, a light grid behind everything."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FRAME)
    axes.tick_params(colors=FRAME, labelcolor=INK, labelsize=SMALL_SIZE, length=0, pad=5)
    axes.set_facecolor("none")
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def percent_axis(axis: Any) -> None:
    """Label an axis in percent."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f} %"))


def time_extent(moments: Iterable[datetime]) -> timedelta:
    """Return the length of a time axis, two days at least.

    Forecasts minutes apart are one point in time for a reader.
    """
    moments = list(moments)
    return max(max(moments) - min(moments), timedelta(days=2))


def time_axis(axes: Any, moments: Sequence[datetime], before: timedelta = timedelta(0)) -> None:
    """Set limits and dates of a time axis, with space ``before`` the first moment."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    first, last = min(moments), max(moments)
    pad = 0.05 * time_extent(moments)
    if first == last:
        pad = timedelta(days=1)
        axes.set_xticks([first], [f"{first:%Y-%m-%d}"])
    else:
        locator = AutoDateLocator(minticks=3, maxticks=5)
        axes.xaxis.set_major_locator(locator)
        dates: dict[str, Any] = {"formats": DATES, "zero_formats": ROUND_DATES}
        formatter = ConciseDateFormatter(locator, show_offset=False, **dates)
        axes.xaxis.set_major_formatter(formatter)
    axes.set_xlim(first - pad - before, last + pad)


def legend_height(entries: int, note: str = "") -> float:
    """Return the inches of a legend of two columns and of a note under it."""
    return 0.06 + LINE * (-(-entries // 2) + bool(note))


def legend_below(figure: Any, handles: Sequence[Any], note: str = "") -> None:
    """Draw a legend at the bottom in two columns, and a note under it."""
    height = figure.get_figheight()
    figure.legend(
        handles,
        [handle.get_label() for handle in handles],
        loc="lower left",
        ncol=2,
        frameon=False,
        fontsize=SMALL_SIZE,
        labelspacing=0.35,
        columnspacing=1.2,
        borderpad=0.2,
        markerscale=0.8,
        bbox_to_anchor=(0.0, (LINE if note else 0.0) / height),
    )
    if note:
        figure.text(TEXT_LEFT, 0.05 / height, note, fontsize=SMALL_SIZE, color=GREY)


def colours(names: Iterable[str]) -> dict[str, str]:
    """Choose a colour for each forecaster; the ink is the ensemble's."""
    models = [name for name in dict.fromkeys(names) if name != "ensemble"]
    chosen = {name: PALETTE[number % len(PALETTE)] for number, name in enumerate(models)}
    return chosen | {"ensemble": ENSEMBLE_COLOUR}


def series_styles(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Choose colour, marker and legend label of each forecaster."""
    chosen = colours(names)
    return {
        name: {"color": chosen[name], "marker": marker, "label": shorten(name)}
        for name, marker in zip(names, itertools.cycle(MARKERS), strict=False)
    }
