"""Find installed fonts for a figure's characters; name the scripts none has.

A figure is laid out by these fonts and names them; a viewer elsewhere uses its own.

DejaVu Sans comes with matplotlib and has Latin, Greek, Cyrillic, Arabic, Hebrew and many symbols.
For anything else the fonts of this machine are searched once. matplotlib's own list of them is not
used: it misses fonts that were installed later. Right-to-left text is put in order by matplotlib
itself (3.11 and newer, with libraqm).
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Final

log = logging.getLogger(__name__)

OWN_FONT: Final = "DejaVu Sans"
# First words of Unicode names whose characters Debian keeps in fonts-noto-cjk.
CJK: Final = frozenset(
    [
        "CJK",
        "HIRAGANA",
        "KATAKANA",
        "KATAKANA-HIRAGANA",
        "HANGUL",
        "BOPOMOFO",
        "IDEOGRAPHIC",
        "FULLWIDTH",
        "HALFWIDTH",
    ]
)
# Debian packages of the other kinds; "" has no package.
PACKAGES: Final = {
    "CJK": "fonts-noto-cjk",
    "emoji and symbols": "fonts-symbola",
    "characters without a name": "",
}
OTHER_PACKAGE: Final = "fonts-noto-core"
# Variation selectors, joiners and tags say how a neighbour is drawn and have no picture themselves.
UNDRAWN: Final = frozenset(
    map(chr, (*range(0xFE00, 0xFE10), 0x200C, 0x200D, *range(0xE0000, 0xE0080)))
)
# Words in the names of font files that are no plain text fonts.
STYLES: Final = ("bold", "italic", "oblique", "light", "thin", "black", "mono", "condensed")
# Characters listed of a script without a font.
LISTED: Final = 5

# Script to its characters that no font has and that are not reported yet; and what was reported.
_missing: dict[str, set[str]] = {}
_reported: set[str] = set()


def set_fonts(figure: Any) -> None:
    """Set the fonts of a figure's texts so that each character is drawn, if possible."""
    from matplotlib.text import Text

    texts = figure.findobj(Text)
    chosen = families(text.get_text() for text in texts)
    for text in texts:
        text.set_fontfamily(chosen)


def families(texts: Iterable[str]) -> list[str]:
    """Choose font families that have the characters of ``texts``, the usual one first.

    Characters that no installed font has are kept for ``report_missing_scripts``.
    """
    from matplotlib import font_manager

    wanted = {c for text in texts for c in text if c.isprintable() and not c.isspace()} - UNDRAWN
    wanted -= _coverage(font_manager.findfont(OWN_FONT))
    found = [OWN_FONT]
    for path in _installed() if wanted else ():
        if has := wanted & _coverage(path):
            found.append(_family(path))
            wanted -= has
        if not wanted:
            break
    for character in wanted:
        _missing.setdefault(_script(character), set()).add(character)
    return list(dict.fromkeys(found))


def report_missing_scripts() -> None:
    """Log one line on the scripts that no installed font has, once for each."""
    new = {script: sorted(_missing[script]) for script in sorted(set(_missing) - _reported)}
    _missing.clear()
    if not new:
        return
    _reported.update(new)
    listed = ", ".join(f"{script} ({''.join(found[:LISTED])})" for script, found in new.items())
    packages = sorted({PACKAGES.get(script, OTHER_PACKAGE) for script in new} - {""})
    remedy = f"; on Debian: apt-get install {' '.join(packages)}"
    log.warning(
        "plots: no installed font has %s; where none has, plots show boxes%s",
        listed,
        remedy if packages else "",
    )


def _script(character: str) -> str:
    """Name the kind of a character: "Devanagari", "CJK", "emoji and symbols"."""
    word = unicodedata.name(character, "").partition(" ")[0]
    if word in CJK:
        return "CJK"
    if unicodedata.category(character) in ("So", "Sk"):
        return "emoji and symbols"
    return word.capitalize() or "characters without a name"


@cache
def _installed() -> tuple[str, ...]:
    """List the font files of this machine, plain sans-serif ones first."""
    from matplotlib import font_manager

    def rank(path: str) -> tuple[bool, bool, bool, str]:
        name = Path(path).stem.lower()
        styled = any(word in name for word in STYLES)
        return styled, "sans" not in name, "regular" not in name, path

    return tuple(sorted(font_manager.findSystemFonts(), key=rank))


@cache
def _coverage(path: str) -> frozenset[str]:
    """Read the characters a font file has outlines for; none if unreadable or bitmaps."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
        return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()
    except (OSError, RuntimeError, ValueError):
        return frozenset()


@cache
def _family(path: str) -> str:
    """Tell matplotlib of a font file and its bold one; return the family.

    Without a bold file the plain font is used as bold too: matplotlib would warn of every bold
    title otherwise.
    """
    from matplotlib import font_manager

    known = font_manager.fontManager
    before = len(known.ttflist)
    known.addfont(path)
    # A collection adds several fonts; ``_coverage`` read its first.
    plain = known.ttflist[before]
    bold = Path(path.replace("Regular", "Bold"))
    if bold != Path(path) and bold.is_file():
        known.addfont(str(bold))
    else:
        known.ttflist.append(replace(plain, weight=700))
    return str(plain.name)
