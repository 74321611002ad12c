"""Classes of Unicode characters, and normalisation in linear time.

``\\w`` leaves out combining marks, which tears the words of Hindi, Thai and decomposed Latin text.
The classes are computed from ``unicodedata``, so they follow the interpreter's Unicode version.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

# Made at their first use, which takes 30 ms that a wrong command line need not wait for.
MARKS: str  # combining marks, as the inside of a pattern's class: vowel signs, accents …
WORD: str  # pattern of one character of a word
NOT_WORD: str  # pattern of one character that is not of a word

# Above it only variation selectors and tags matter here; they are named below.
_LAST: Final = 0x1FFFF
# Marks kept on one character; the stream-safe text format of UAX 15 allows as many.
_MARKS_KEPT: Final = 30


# Characters that show nothing: Default_Ignorable_Code_Point of the Unicode standard, direction
# marks, controls except tab and line feed, and the blank Braille pattern.
INVISIBLE: Final = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    r"\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)


# Whatever breaks a line, but for the line feed.
LINE_BREAK: Final = re.compile(r"\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")


def __getattr__(name: str) -> str:
    if name not in ("MARKS", "WORD", "NOT_WORD"):
        raise AttributeError(name)
    marks = _marks()
    return {"MARKS": marks, "WORD": rf"[\w{marks}]", "NOT_WORD": rf"[^\w{marks}]"}[name]


@cache
def _marks() -> str:
    """Write the combining marks as the inside of a pattern's class."""
    runs = _runs("(?:M[a-z])+")
    return (
        "".join(rf"\U{first:08x}-\U{last:08x}" for first, last in runs) + r"\U000e0100-\U000e01ef"
    )


def _runs(categories: str) -> list[tuple[int, int]]:
    """List the code points, first and last, whose categories a pattern matches."""
    everything = "".join(map(unicodedata.category, map(chr, range(_LAST + 1))))
    found = (match.span() for match in re.finditer(categories, everything))
    return [(start // 2, end // 2 - 1) for start, end in found]


@cache
def _blank() -> str:
    """List white space and what has no width.

    The tags above U+E0000 are not among it: they end the flags of England, Scotland and Wales.
    """
    characters = (
        chr(n) for first, last in _runs("(?:C[cf]|Z[a-z])+") for n in range(first, last + 1)
    )
    return "".join(c for c in characters if c.isspace() or unicodedata.category(c) == "Cf")


@cache
def _too_many_marks() -> re.Pattern[str]:
    return re.compile(rf"([{_marks()}]{{{_MARKS_KEPT}}})[{_marks()}]+")


def trimmed(text: str) -> str:
    """Take white space and characters of no width off both ends."""
    return text.strip() if text.isascii() else text.strip(_blank())


def nfc(text: str) -> str:
    """Compose a text (NFC) in linear time; marks beyond 30 on a character are dropped.

    Ordering a run of marks takes ``unicodedata.normalize`` time quadratic in its length.
    """
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", _too_many_marks().sub(r"\1", text))


def nfkd(text: str) -> str:
    """Decompose a text for compatibility (NFKD) with the limit of ``nfc``."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFKD", _too_many_marks().sub(r"\1", text))


def composed(value: Any, levels: float = float("inf")) -> Any:
    """Bring all texts of a JSON value, keys included, into composed form (NFC).

    Raises:
        RecursionError: a value that nests more than ``levels`` deep.
    """
    if levels <= 0:
        raise RecursionError
    if isinstance(value, str):
        return nfc(value)
    if isinstance(value, Mapping):
        return {composed(key): composed(inner, levels - 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [composed(inner, levels - 1) for inner in value]
    return value
