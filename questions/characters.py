"""Classes of Unicode characters, and normalisation in linear time.

``\\w`` leaves out combining marks, which tears the words of Hindi, Thai and decomposed Latin text.
The classes are computed from ``unicodedata``, so they follow the interpreter's Unicode version.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Final

# Above this code point only variation selectors and tags matter here; they are named below.
_LAST: Final = 0x1FFFF
# Marks kept on one character; the stream-safe text format of UAX 15 allows as many.
_MARKS_KEPT: Final = 30


def _ranges(belongs: Callable[[str], bool]) -> str:
    """Write the characters up to ``_LAST`` that belong as the class of a pattern."""
    parts: list[str] = []
    start: int | None = None
    for code in range(_LAST + 2):
        inside = code <= _LAST and belongs(chr(code))
        if inside and start is None:
            start = code
        elif not inside and start is not None:
            parts.append(f"\\U{start:08x}-\\U{code - 1:08x}")
            start = None
    return "".join(parts)


# Combining marks: vowel signs, accents, variation selectors.
MARKS: Final = _ranges(lambda c: unicodedata.category(c)[0] == "M") + r"\U000e0100-\U000e01ef"
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

_TOO_MANY_MARKS: Final = re.compile(rf"([{MARKS}]{{{_MARKS_KEPT}}})[{MARKS}]+")


def trimmed(text: str) -> str:
    """Take white space and characters of no width off both ends."""
    stripped = text.strip()
    if stripped.isascii():
        return stripped
    start, end = 0, len(stripped)
    while start < end and _shows_nothing(stripped[start]):
        start += 1
    while end > start and _shows_nothing(stripped[end - 1]):
        end -= 1
    return stripped[start:end]


def _shows_nothing(character: str) -> bool:
    # Tags, above U+E0000, end the flags of England, Scotland and Wales.
    return character.isspace() or (
        unicodedata.category(character) == "Cf" and character < "\U000e0000"
    )


def nfc(text: str) -> str:
    """Compose a text (NFC) in linear time; marks beyond 30 on a character are dropped.

    Ordering a run of marks takes ``unicodedata.normalize`` time quadratic in its length.
    """
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", _TOO_MANY_MARKS.sub(r"\1", text))


def nfkd(text: str) -> str:
    """Unicode's compatibility decomposition (NFKD) with the limit of ``nfc``."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFKD", _TOO_MANY_MARKS.sub(r"\1", text))
