"""Refuse cells without a text or name: errors, formulas, missing values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from questions.cells import OUTCOMES, is_nothing, shortened
from questions.characters import trimmed
from questions.columns import our_name
from questions.question import QuestionError

# Columns that group questions: the same text in two rows says that they belong together.
NAMES: Final = ("cluster", "reference_class", "source")
# What spreadsheets show for a formula that failed or waits, in any language: #REF!, #¡VALOR!,
# #DIV/0!, #N/D, Err:502, and ### for a column that is too narrow.
_SHEET_ERROR: Final = re.compile(
    r"#[¡¿]?[^\W\d]+(?:/0)?[!?]|#[^\W\d_]/[^\W\d_]"
    r"|#(?:NV|YOK|HIÁNYZIK|NENÍ_K_DISPOZICI|GETTING_DATA)|#{3,}|Err:\d{3}|Loading\.\.\."
)
# A formula in place of its value: =B2&" rises", =VLOOKUP(A2;…), ='a sheet'!C3.
_FORMULA: Final = re.compile(
    r"=\s*[+-]?(?:[\w.]+\(|\$?[A-Z]{1,3}\$?\d|\"|(?:'[^'!\n]{1,40}'|[\w.]{1,40})!\$?[A-Z]).*",
    re.DOTALL,
)
# What programs write for a missing value.
_MISSING: Final = ("nan", "nat", "none", "null", "nil", "undefined", "<na>", "(null)")
# A number, a day or a time, an address, an object of JSON or Python.
_NO_WORDS: Final = re.compile(
    r"[+-]?[\d.,]*\d(?:e[+-]?\d+)?|\d[\d.,:/ tz+-]*(?: ?[ap]m| ?utc)?|\w+://\S+|www\.\S+"
    r"|[\[{]\s*[\"'\[{].*",
    re.DOTALL,
)


def judge_text(column: str, value: str | int | float) -> None:
    """Refuse a spreadsheet's error or formula, and a question without a sentence.

    Raises:
        QuestionError: the cell is no text of this column; the message lacks the place.
    """
    text = trimmed(str(value))
    shown = f"{column} is {shortened(value)}"
    if _SHEET_ERROR.fullmatch(text):
        raise QuestionError(f"{shown}, a spreadsheet's error; correct it")
    if _FORMULA.fullmatch(text):
        raise QuestionError(f"{shown}, a formula; give its value")
    if column == "question" and not _says_something(text):
        raise QuestionError(f"{shown}, expected a question in words")


def _says_something(text: str) -> bool:
    said = text.casefold()
    if said in (*_MISSING, *OUTCOMES, "questions") or _NO_WORDS.fullmatch(said):
        return False
    # A heading of a table, or of what follows in a list.
    if our_name(text) is not None or text.endswith((":", "：")):
        return False
    return any(map(str.isalpha, text))


def judge_names(values: Mapping[str, Any]) -> None:
    """Refuse values that mean nothing in the columns that group questions.

    Raises:
        QuestionError: a cell that is no name; the message lacks the place.
    """
    for column in NAMES:
        cell = values.get(column)
        if is_nothing(cell) or (column == "source" and not isinstance(cell, str)):
            continue
        shown = f"{column} is {shortened(cell)}"
        if not isinstance(cell, str | int | float):
            raise QuestionError(f"{shown}, expected text")
        judge_text(column, cell)
        text = trimmed(str(cell))
        if text.casefold() in _MISSING or not any(map(str.isalnum, text)):
            raise QuestionError(f"{shown}, expected a name; leave it blank where there is none")
