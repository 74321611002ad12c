"""Classes of Unicode characters, and normalisation in linear time.

``\\w`` leaves out combining marks, which tears the words of Hindi, Thai and decomposed Latin text.
The classes are computed from ``unicodedata``, so they follow the interpreter's Unicode version.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from itertools import groupby
from typing import Any, Final

# Above this code point only variation selectors and tags matter here; they are named below.
_CHARACTERS: Final = "".join(map(chr, range(0x20000)))
# Marks kept on one character; the stream-safe text format of UAX 15 allows as many.
_MARKS_KEPT: Final = 30


def _mark_ranges() -> str:
    """Write the combining marks as the inside of a pattern's class."""
    runs = groupby(_CHARACTERS, key=lambda c: unicodedata.category(c)[0] == "M")
    marks = ["".join(run) for is_mark, run in runs if is_mark]
    return "".join(f"\\U{ord(run[0]):08x}-\\U{ord(run[-1]):08x}" for run in marks)


# Combining marks: vowel signs, accents, variation selectors.
MARKS: Final = _mark_ranges() + r"\U000e0100-\U000e01ef"
# One character of a word, and one that is not of a word.
WORD: Final = rf"[\w{MARKS}]"
NOT_WORD: Final = rf"[^\w{MARKS}]"
# Characters that show nothing: Default_Ignorable_Code_Point of the Unicode standard, direction
# marks, controls except tab and line feed, and the blank Braille pattern.
INVISIBLE: Final = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    r"\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)

# Not the tags above U+E0000: they end the flags of England, Scotland and Wales.
_BLANK: Final = "".join(c for c in _CHARACTERS if c.isspace() or unicodedata.category(c) == "Cf")
_TOO_MANY_MARKS: Final = re.compile(rf"([{MARKS}]{{{_MARKS_KEPT}}})[{MARKS}]+")


def trimmed(text: str) -> str:
    """Take white space and characters of no width off both ends."""
    return text.strip() if text.isascii() else text.strip(_BLANK)


def nfc(text: str) -> str:
    """Compose a text (NFC) in linear time; marks beyond 30 on a character are dropped.

    Ordering a run of marks takes ``unicodedata.normalize`` time quadratic in its length.
    """
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", _TOO_MANY_MARKS.sub(r"\1", text))


def nfkd(text: str) -> str:
    """Decompose a text for compatibility (NFKD) with the limit of ``nfc``."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFKD", _TOO_MANY_MARKS.sub(r"\1", text))


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
