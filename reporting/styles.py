"""Looks and parts that all figures share, and writing them as PNG files.

matplotlib is imported inside the functions that draw, so that ``--help`` stays fast. Only its
object interface is used: no display is needed and no figure leaks. Colours are the palette of Okabe
and Ito for colour-blind readers (jfly.uni-koeln.de/color); a ``$`` in a text starts no formula.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import re
import textwrap
import unicodedata
import warnings
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from reporting.fonts import OWN_FONT, set_fonts
from reporting.plot_data import Outcome, PlotError
from terminal.file_names import write_whole
from terminal.text import visible, without_direction_marks

# Okabe & Ito (2008) without yellow, too pale for lines on white, and black, the ensemble's.
PALETTE: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X")
ENSEMBLE_COLOUR: Final = "#000000"
GREY: Final = "#595959"
# Of the final number: no model's and not the ensemble's.
FINAL_COLOUR: Final = "#6A1B9A"
DASHED: Final = (0, (4, 3))
# 144 dots per inch: an 8.4 inch figure is 1210 pixels wide, sharp in a report and on a screen.
DOTS_PER_INCH: Final = 144
WIDTH: Final = 8.4
# Left edge of titles (share of the figure's width).
TEXT_LEFT: Final = 0.012
TITLE_CHARACTERS: Final = 84
LABEL_CHARACTERS: Final = 30


# --- text -----------------------------------------------------------------------------------------


def wrap(text: str, width: int = TITLE_CHARACTERS, lines: int = 3, ending: str = "") -> str:
    """Wrap text to ``lines`` lines of ``width`` characters; never cut its ``ending``."""
    # An ideograph is as wide as two letters: it counts as two characters.
    wide = "".join(
        c + "\0" if unicodedata.east_asian_width(c) in "WF" else c for c in _drawable(text)
    )
    whole = " ".join(f"{wide} {ending}".split())
    wrapped = textwrap.wrap(whole, width, max_lines=lines, placeholder=f" … {ending}".rstrip())
    return "\n".join(wrapped or [""]).replace("\0", "")


def shorten(name: str, width: int = LABEL_CHARACTERS) -> str:
    """Cut the middle of a long name: beginning and end tell models apart."""
    name = _drawable(name)
    if len(name) <= width:
        return name
    head = (width - 1) * 2 // 3
    return f"{name[:head]}…{name[-(width - 1 - head) :]}"


def percent(value: float) -> str:
    """Format a percentage: with one decimal below 10 and above 90, where it matters."""
    return f"{value:.1f} %" if value < 10 or value > 90 else f"{value:.0f} %"


def _drawable(text: str) -> str:
    return visible(without_direction_marks(text))


# --- parts of a figure ----------------------------------------------------------------------------


def new_figure(height: float) -> Any:
    """Make an empty figure of the usual width; ``height`` is in inches."""
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    # Names and questions hold $ and \\: whatever a user's matplotlibrc says, they are text.
    rcParams["text.parse_math"] = rcParams["text.usetex"] = False
    rcParams["font.family"] = [OWN_FONT]
    return Figure(figsize=(WIDTH, height))


def add_title(figure: Any, title: str, subtitle: str = "") -> float:
    """Draw a title and a grey line under it; return the inches they take."""
    height, used = figure.get_figheight(), 0.12
    title, subtitle = wrap(title), subtitle and wrap(subtitle, 110, 2)
    place: dict[str, Any] = {"va": "top", "parse_math": False}
    bold: dict[str, Any] = {"fontsize": 12, "fontweight": "bold", "linespacing": 1.25}
    figure.text(TEXT_LEFT, 1 - used / height, title, **bold, **place)
    used += 0.215 * (title.count("\n") + 1) + 0.06
    if subtitle:
        figure.text(TEXT_LEFT, 1 - used / height, subtitle, fontsize=9, color=GREY, **place)
        used += 0.16 * (subtitle.count("\n") + 1) + 0.06
    return used


def add_axes(figure: Any, top: float, legend_rows: int) -> Any:
    """Add axes that fill the figure between a title of ``top`` inches and a legend."""
    total, bottom = figure.get_figheight(), 0.62 + 0.22 * legend_rows
    return figure.add_axes((0.085, bottom / total, 0.89, 1 - (top + 0.12 + bottom) / total))


def clean(axes: Any) -> None:
    """Give axes the common look: no frame, a light grid behind everything."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#B0B0B0")
    axes.tick_params(colors="#333333", labelsize=9, length=3)
    axes.grid(True, color="#E6E6E6", linewidth=0.8)
    axes.set_axisbelow(True)


def percent_axis(axis: Any, decimals: int = 0) -> None:
    """Label an axis in percent."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.{decimals}f} %"))


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
        locator = AutoDateLocator(minticks=3, maxticks=8)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.set_xlim(first - pad - before, last + pad)


def legend_below(
    figure: Any, handles: Sequence[Any], *, columns: int, centre: float, **options: Any
) -> None:
    """Draw a legend at the bottom; ``centre`` is a share of the figure's width."""
    figure.legend(
        handles,
        [handle.get_label() for handle in handles],
        loc="lower center",
        ncol=columns,
        frameon=False,
        fontsize=8.5,
        bbox_to_anchor=(centre, 0.0),
        **options,
    )


def colours(names: Iterable[str]) -> dict[str, str]:
    """Choose a colour for each forecaster; black is the ensemble's."""
    models = [name for name in dict.fromkeys(names) if name != "ensemble"]
    chosen = {name: PALETTE[number % len(PALETTE)] for number, name in enumerate(models)}
    return chosen | {"ensemble": ENSEMBLE_COLOUR}


def series_styles(names: Sequence[str], width: int = LABEL_CHARACTERS) -> dict[str, dict[str, Any]]:
    """Choose colour, marker and legend label of each forecaster."""
    chosen = colours(names)
    return {
        name: {"color": chosen[name], "marker": marker, "label": shorten(name, width)}
        for name, marker in zip(names, itertools.cycle(MARKERS), strict=False)
    }


def outcome_colour(outcome: Outcome) -> str:
    """Choose green for yes, red for no, grey for void."""
    return GREY if outcome.value is None else "#009E73" if outcome.value else "#D55E00"


# --- files ----------------------------------------------------------------------------------------


def png(figure: Any) -> bytes:
    """Render a figure as the bytes of a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    set_fonts(figure)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # A character that no font has is drawn as a box; ``report_missing_scripts`` says so once.
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*missing.*")
        figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, facecolor="white")
    return buffer.getvalue()


def save(figure: Any, path: Path) -> Path:
    """Write a figure as PNG, whole or not at all.

    Raises:
        PlotError: the file cannot be written.
    """
    content = png(figure)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        reason = error.strerror or error
        raise PlotError(f"{path}: the plot could not be written ({reason})") from error
    return path


def file_part(identifier: object) -> str:
    """Turn an id into a part of a file name: letters, digits, dash and underscore.

    An id with anything else in it is cleaned and gets a short hash, so that ids stay apart.
    """
    text = str(identifier)
    clean_text = re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-")[:60]
    if clean_text == text:
        return text
    mark = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{clean_text}-{mark}" if clean_text else mark
