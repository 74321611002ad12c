"""Turn figures into SVG: files, and parts of the report.

Text stays text: it can be searched and copied, and files stay small. A viewer draws it in the first
font of its list that is installed there. Equal data give equal bytes.
"""

from __future__ import annotations

import hashlib
import io
import re
import warnings
from pathlib import Path
from typing import Any, Final

from reporting import styles
from reporting.fonts import OWN_FONT, set_fonts
from reporting.plot_data import PlotError
from terminal.file_names import write_whole

# What XML 1.0 cannot hold.
_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# The document type, and a style that would hold for a whole page.
_HEAD: Final = re.compile(r"<!DOCTYPE[^>]*>\n|\s*<defs>\s*<style.*?</style>\s*</defs>", re.S)
# Text holds no such marks: matplotlib escapes them.
_TAG: Final = re.compile(r"<[^>]*>")
# Paths of straight lines.
_POINT: Final = re.compile(r"([ML]) (-?[\d.]+) (-?[\d.]+)")
_PATH: Final = re.compile(r' d="((?:[ML] -?[\d.]+ -?[\d.]+\s*)+)(z?)\s*"')
_STYLE: Final = re.compile(r' style="[^"]*"')
_LONG: Final = re.compile(r"-?\d+\.\d{3,}")
# Numbered ids that nothing refers to, turns by nothing, the font that the root names.
_SURPLUS: Final = re.compile(
    r' id="[A-Za-z0-9.]+_\d+"| transform="rotate\(-0 [^"]*"'
    rf"|(?<=; )font-family: '{OWN_FONT}'(; |(?=\"))"
)
_ROOT_STYLE: Final = (
    f"font-family: '{OWN_FONT}', Verdana, sans-serif; stroke-linejoin: round; stroke-linecap: butt"
)
# The colours that a dark page changes.
_COLOUR: Final = re.compile(f'(?<=:)#({"|".join(c[1:].lower() for c in styles.DARK)})(?=[;"])')


def render(figure: Any, name: str = "forecaster") -> str:
    """Return a figure as the text of an SVG file.

    ``name`` goes into its ids, so that figures of different names can be parts of one page.
    """
    from matplotlib import rcParams
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    set_fonts(figure)
    FigureCanvasSVG(figure)
    rcParams["svg.fonttype"], rcParams["svg.hashsalt"], rcParams["svg.id"] = "none", name, None
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # ``report_missing_scripts`` names once what no font of this machine has.
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*missing.*")
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", facecolor=styles.PAPER, metadata=nothing)
    text = _FORBIDDEN.sub("\ufffd", buffer.getvalue().decode("utf-8", "replace"))
    text = _HEAD.sub("", text, count=2)
    text = text.replace("<svg", f'<svg style="{_ROOT_STYLE}"', 1)
    return _shortened(text)


def _shortened(text: str) -> str:
    """Leave out of the tags what changes nothing: groups, ids, digits."""
    kept: list[bool] = []

    def short(tag: re.Match[str]) -> str:
        found = _SURPLUS.sub("", tag[0])
        if found == "</g>":
            return found if kept.pop() else ""
        if found == "<g/>":
            return ""
        if found.startswith("<g"):
            kept.append(found != "<g>")
            return found if kept[-1] else ""
        found = _STYLE.sub(lambda style: re.sub("([:;]) ", r"\1", style[0]), found)
        return _LONG.sub(_rounded, _PATH.sub(_steps, found))

    return re.sub(r"\n\s*", "\n", _TAG.sub(short, text))


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def _steps(path: re.Match[str]) -> str:
    """Write a path of straight lines as steps in tenths of a CSS pixel."""
    written, x, y = [], 0, 0
    for command, right, down in _POINT.findall(path[1]):
        to_x, to_y = round(10 * float(right)), round(10 * float(down))
        if command == "M":
            written.append(f"M{to_x / 10:g} {to_y / 10:g}")
        elif to_y == y:
            written.append(f"h{(to_x - x) / 10:g}")
        elif to_x == x:
            written.append(f"v{(to_y - y) / 10:g}")
        else:
            written.append(f"l{(to_x - x) / 10:g} {(to_y - y) / 10:g}")
        x, y = to_x, to_y
    return f' d="{"".join(written)}{path[2]}"'


def inline(figure: Any, name: str, description: str) -> str:
    """Return a figure as an element of a page; its colours are the page's variables."""
    from markupsafe import Markup, escape

    text = render(figure, name)
    text = text[text.index("<svg") :]
    text = _TAG.sub(lambda tag: _COLOUR.sub(r"var(--c\1)", tag[0]), text)
    label = f' role="img" aria-label="{escape(description)}"'
    text = re.sub(r' (width|height)="[^"]*pt"', "", text, count=2)
    # matplotlib escapes all text of a figure.
    return Markup(text.replace("<svg", "<svg" + label, 1))  # noqa: S704


def save(figure: Any, path: Path) -> Path:
    """Write a figure, whole or not at all.

    Raises:
        PlotError: the file cannot be written.
    """
    # Opened by itself on a narrow screen it shrinks as it does inside a page.
    narrow = '<svg style="max-width:100%;height:auto;'
    content = render(figure).replace('<svg style="', narrow, 1).encode()
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
