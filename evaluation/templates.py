"""Mask what differs between questions of one kind: dates, names, numbers, quotes."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

# Words of a template that make its opening: "will <name> win the <date> <name> for …".
OPENING_WORDS: Final = 8
# Words that decide which way a question asks. They are never names, whatever their capitals, and
# questions that differ in them share no opening.
POLARITY: Final = frozenset((
    "not", "no", "never", "none", "nobody", "without", "yes", "above", "below", "over", "under",
    "more", "less", "fewer", "greater", "higher", "lower", "least", "most", "up", "down", "rise",
    "rises", "fall", "falls", "increase", "increases", "decrease", "decreases", "raise", "raises",
    "cut", "cuts", "hike", "hikes", "gain", "gains", "drop", "drops", "win", "wins", "lose",
    "loses", "exceed", "exceeds", "pass", "passes", "fail", "fails",
))  # fmt: skip
# Brackets, and what follows the question mark, name an answer ("More than 5") up to this length.
LABEL_CHARACTERS: Final = 60

_QUOTED = re.compile(r"(?<!\w)'[^']{1,60}'(?!\w)|\"[^\"]{1,80}\"|“[^”]{1,80}”|‘[^’]{1,80}’")
_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_DATE = re.compile(
    r"\{\w*date\w*\}|\b\d{4}-\d{2}-\d{2}(?:T[\d:.]+Z?)?\b|\b\d{1,2}/\d{1,2}/\d{2,4}\b"
    rf"|\b(?:{_DAY}(?: of)? )?{_MONTH},? \d{{4}}\b"
    rf"|\b{_MONTH} {_DAY}(?:,? \d{{4}})?\b|\b{_DAY}(?: of)? {_MONTH}(?!\w)"
    r"|\bq[1-4](?: of)?,? \d{4}\b|\b(?:19|20)\d\d\b",
    re.IGNORECASE,
)
_MINUS = re.compile(r"(?<!\S)[-−](?=[$€£¥]?\d)")
_NUMBER = re.compile(r"[$€£¥]?[-+]?\d[\d,.]*(?<=\d)(?:%|(?:k|m|bn?|trn?)\b)?", re.IGNORECASE)
_BRACKETS = re.compile(r" ?\([^()]*\)")
_WORD = re.compile(r"<\w+>|[^\W_](?:[\w.&’']*\w)?|[^\w\s]")
_WITHIN = r"(?:and|of|the|de|la|le|von|van|al|el|bin|&|-|–|’|'|,|\.)"
_JOINED = re.compile(rf"<name>(?:(?: {_WITHIN}){{0,2}} <name>)+")


@lru_cache(maxsize=20_000)
def question_template(text: str) -> str:
    """Mask dates, quoted words, names and numbers in a question's first sentence.

    Behind a "|" follow the words of ``POLARITY`` in short brackets and behind the question mark.
    """
    whole = " ".join(text.split())
    end = whole.find("?")
    first, rest = (whole[: end + 1], whole[end + 1 :]) if end > 0 else (whole, "")
    labels = [part for part in (*_BRACKETS.findall(first), rest) if len(part) <= LABEL_CHARACTERS]
    first = _DATE.sub(" <date> ", _QUOTED.sub(_masked, _BRACKETS.sub("", first)))
    first = _NUMBER.sub(" <number> ", _MINUS.sub(" minus ", first))
    words, begins = list[str](), True
    for word in _WORD.findall(first):
        lower = word.lower()
        name = not (word.startswith("<") or word == lower or begins or _turns(lower))
        words.append("<name>" if name else lower)
        begins = word in ".!?:"
    template = _JOINED.sub("<name>", " ".join(words))
    turning = [word for word in map(str.lower, _WORD.findall(" ".join(labels))) if _turns(word)]
    return " ".join([template, "|", *turning]) if turning else template


def _masked(quoted: re.Match[str]) -> str:
    word = quoted[0][1:-1].lower()
    return f" {word} " if _turns(word) else " <name> "


def _turns(word: str) -> bool:
    """Whether a word in lower case decides which way a question asks."""
    return word in POLARITY or word.endswith(("n't", "n’t"))


def opening(template: str) -> str:
    """Return the first words of a template, which similar templates share.

    Words of ``POLARITY`` follow from the rest: opposite questions are not similar.
    """
    words = template.split()
    return " ".join(words[:OPENING_WORDS] + list(filter(_turns, words[OPENING_WORDS:])))
