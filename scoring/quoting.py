"""Make quoted text harmless: data must not change a prompt's structure.

Evidence is quoted inside a fence with numbered headings. Whatever in it could end the fence, pass
for a heading or become one of the tokenizer's control tokens is broken first.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from questions.characters import INVISIBLE, LINE_BREAK, MARKS, nfkd

# Characters that compatibility normalisation makes "<", ">", "[", "]" or "|" are read as those.
_LESS: Final = "<＜﹤"
_GREATER: Final = ">＞﹥"
_OPEN: Final = r"\[［﹇"
_CLOSE: Final = r"\]］﹈"
_INVISIBLE = re.compile(f"[{INVISIBLE}]")
# A possible tag: how it begins, and as much of it as is needed to know the word.
_TAG = re.compile(
    rf"[{_LESS}]([\s{MARKS}]*+(?:[/／⁄∕][\s{MARKS}]*+)?)(?=([^\s{_LESS}{_GREATER}]{{4,40}}))"
)
_FENCE_WORD = re.compile(r"(?:evidence|reasoning)\b")
# Digits of any script or form, raised, lowered and circled ones too.
_DIGIT: Final = (
    r"(?:[\d²³¹⁰⁴-⁹₀-₉\u2460-\u249b\u24ea-\u24ff\u2776-\u2793\U0001f100-\U0001f10a]"
    rf"[{MARKS}]*+)"
)
_BLANK: Final = rf"(?:[^\S\n]|[{MARKS}])*+"
_HEADING = re.compile(
    rf"^({_BLANK})[{_OPEN}](?={_BLANK}{_DIGIT}++{_BLANK}[{_CLOSE}])", re.MULTILINE
)
_CONTROL = re.compile(
    rf"[{_LESS}](?=[|｜])|(?<=[|｜])[{_GREATER}]"
    rf"|[{_LESS}](?=[/／]?(?:s|bos|eos|pad|unk|start_of_turn|end_of_turn|think)[{_GREATER}])"
    rf"|[{_OPEN}](?=[/／]?(?:INST|SYSTEM_PROMPT)[{_CLOSE}])"
)
_HARMLESS: Final = {
    **dict.fromkeys("<＜﹤", "‹"),
    **dict.fromkeys(">＞﹥", "›"),
    **dict.fromkeys("[［﹇", "("),
}


def defuse(text: str, control_tokens: Iterable[str] = ()) -> str:
    """Make quoted text unable to end its fence, fake a heading or a control token.

    Angle brackets become their typographic look-alikes, square ones round, and a control token of
    the tokenizer at hand is broken by a space after its first character. Invisible characters are
    dropped, and all kinds of line breaks become line feeds. Full-width and other compatibility
    forms are treated as their plain forms.
    """
    text = _INVISIBLE.sub("", LINE_BREAK.sub("\n", text))
    text = _TAG.sub(_without_fence, text)
    text = _HEADING.sub(r"\1(", text)
    text = _CONTROL.sub(lambda match: _HARMLESS[match.group()], text)
    return _without_control_tokens(text, tuple(control_tokens))


def _without_control_tokens(text: str, tokens: tuple[str, ...]) -> str:
    """Break control tokens one after the other, in their order."""
    by_beginning, place = _by_beginning(tokens), -1
    while True:
        # Vocabularies have up to 6,000 of them; few texts have the beginning of one.
        there = (found for begins, found in by_beginning.items() if begins in text)
        found = ((i, token) for some in there for i, token in some if i > place and token in text)
        place, token = min(found, default=(-1, ""))
        if not token:
            return text
        text = text.replace(token, f"{token[0]} {token[1:]}")


@lru_cache(maxsize=16)
def _by_beginning(tokens: tuple[str, ...]) -> dict[str, list[tuple[int, str]]]:
    """Group tokens, with their place in the order, by their first two characters."""
    groups: dict[str, list[tuple[int, str]]] = {}
    for place, token in enumerate(tokens):
        # A token of one character would also be ordinary text; no known tokenizer has one.
        if len(token) > 1 and token.strip():
            groups.setdefault(token[:2], []).append((place, token))
    return groups


def _without_fence(tag: re.Match[str]) -> str:
    """Return a tag's beginning, its bracket harmless where it names a fence."""
    letters = (c for c in nfkd(tag[2]) if not unicodedata.category(c).startswith("M"))
    ours = _FENCE_WORD.match("".join(letters).casefold())
    return f"‹{tag[1]}" if ours else tag[0]
