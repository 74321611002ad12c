"""Define a question, its identity, and when two wordings are the same."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

from questions.cells import InputError, is_nothing, iso_date
from questions.characters import composed, trimmed

# A question is a sentence or two. Anything longer is a wrong column or a wrong file.
MAX_QUESTION_CHARACTERS = 2000
MAX_BACKGROUND_CHARACTERS = 20_000
# What spreadsheets make of a long number: 1.23457E+17.
SHORTENED_NUMBER = re.compile(r"\d(?:[.,]\d+)?E\+\d{1,3}", re.IGNORECASE)

# A line that ends like a question above another one: a cell with a line break in it.
_TWO: Final = re.compile(r"[?？؟][ \t\"”»)]*\n\s*\S[^?？؟]*[?？؟][\s\"”»)]*\Z")
# Punctuation that may end a question without making it another one.
_END = " .?!…;:。？！؟"
# At the ends of a text they belong to the file it comes from; direction marks belong to the text.
_NO_WIDTH = " \ufeff\u200b\u2060"
# JSON and argv can spell half characters, which UTF-8 cannot hold.
_HALF = re.compile(r"[\ud800-\udfff]")


def folded(text: str) -> str:
    """Fold case, white space, composition, final punctuation, what has no width."""
    lower = composed(text).casefold()
    if not lower.isascii():
        lower = "".join(c for c in lower if unicodedata.category(c) != "Cf")
    return " ".join(composed(lower).split()).rstrip(_END)


def text_id(text: str) -> str:
    """Return the id of a question without one.

    It is the first 12 hexadecimal digits of the SHA-256 of the text with single spaces.
    """
    return hashlib.sha256(composed(" ".join(text.split())).encode()).hexdigest()[:12]


class QuestionError(InputError):
    """A question or a question file that cannot be used; the message is one line."""


@dataclass(frozen=True)
class Question:
    """One forecastable yes/no question; its texts are in composed form (NFC).

    Args:
        text: the question, not empty, at most ``MAX_QUESTION_CHARACTERS`` characters.
        id: stable identity under which forecasts of different runs are joined; when empty, it is
            made from the text (``text_id``).
        background: optional facts given to the model with the question.
        resolution_criteria: optional text that says exactly what counts as yes.
        close_date: optional ISO date after which the question is settled.
        as_of: optional ISO date; evidence and the prompt's "today" are held at or before it.
        extra: further columns of the file; of them models are shown a market price only.
        subject: identity that joins histories and outcomes of several ids; when empty, the id.

    Raises:
        QuestionError: an empty or overlong text, one of two questions in two lines, or a date that
            is not an ISO date.
    """

    text: str
    id: str = ""
    background: str = ""
    resolution_criteria: str = ""
    close_date: str | None = None
    as_of: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    subject: str = ""

    def __post_init__(self) -> None:
        for name in TEXT_FIELDS:
            if _HALF.search(getattr(self, name) or ""):
                raise QuestionError(
                    f"{name} holds half a character (a lone surrogate), which is no Unicode text"
                )
        if _TWO.search(self.text):
            first = " ".join(self.text.split())[:60]
            raise QuestionError(f"two questions in one text; give each its own: {first!r}")
        text = composed(" ".join(self.text.split()).strip(_NO_WIDTH))
        if not text:
            raise QuestionError("the question is empty")
        if len(text) > MAX_QUESTION_CHARACTERS:
            allowed = f"at most {MAX_QUESTION_CHARACTERS} are allowed"
            raise QuestionError(f"the question has {len(text)} characters, {allowed}")
        identifier = composed(trimmed(self.id)) or text_id(text)
        values: dict[str, str | None] = {"text": text, "id": identifier}
        values["subject"] = composed(self.subject) or identifier
        for name in ("background", "resolution_criteria"):
            values[name] = longer = composed(getattr(self, name))
            if len(longer) > MAX_BACKGROUND_CHARACTERS:
                raise QuestionError(f"{name} has more than {MAX_BACKGROUND_CHARACTERS} characters")
        for name in ("close_date", "as_of"):
            try:
                values[name] = iso_date(getattr(self, name), name)
            except InputError as error:
                raise QuestionError(str(error)) from None
        for name, value in values.items():
            object.__setattr__(self, name, value)


# The columns of a question file; the subject is never one of them.
TEXT_FIELDS = tuple(f.name for f in fields(Question) if f.name not in ("extra", "subject"))


def cluster_of(extra: Mapping[str, Any], subject: str) -> str:
    """Return the cluster of related questions: the column, else the question alone."""
    cluster = extra.get("cluster")
    return subject if is_nothing(cluster) else trimmed(str(cluster))
