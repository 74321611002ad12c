"""Make text from outside safe for a screen, log line, page or figure.

Question files, wikis, documents, model folders and servers' errors may hold characters that command
a terminal (title, colours, clearing), reverse the reading direction or begin a line of their own.
``visible`` writes them out; every screen, log, report and figure uses it.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# Marks and embeddings of the bidirectional algorithm (Unicode, property Bidi_Control).
_DIRECTION: Final = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
# C0 but tab and newline, DEL, C1, line separators, surrogates, interlinear annotations.
_COMMANDS: Final = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufff9-\ufffb"
_DIRECTION_MARKS: Final = re.compile(f"[{_DIRECTION}]")
_UNSEEN: Final = re.compile(f"[{_COMMANDS}{_DIRECTION}]")


def visible(text: str) -> str:
    r"""Write out characters that command a terminal or a page, for example as ``\x1b``.

    Newlines and tabs stay. The result can be encoded in UTF-8; applying it twice changes nothing.
    """
    return _UNSEEN.sub(_escaped, text)


def visible_line(text: str) -> str:
    r"""Do the same for one line: a newline becomes ``\n``."""
    return visible(text).replace("\n", "\\n")


def without_direction_marks(text: str) -> str:
    """Remove direction marks, for figures: their renderer reorders nothing."""
    return _DIRECTION_MARKS.sub("", text)


def width(text: str) -> int:
    """Count the columns of a terminal that a text takes.

    Chinese characters and emoji take two (UAX 11), marks none.
    """
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def cut(text: str, columns: int) -> str:
    """Cut a text to the columns of a terminal; what is cut off becomes an ellipsis."""
    if width(text) <= columns:
        return text
    end = min(len(text), columns)
    while end and width(text[:end]) > columns - 1:
        end -= 1
    return f"{text[:end]}…"


def _escaped(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"
