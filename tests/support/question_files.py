"""Write question files and read them back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from questions.files import read_question_file
from questions.question import Question


def write(folder: Path, name: str, content: str | bytes) -> Path:
    """Write a file; text as UTF-8, with its line ends as they are."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def questions_in(path: Path) -> list[Question]:
    """The questions of a file."""
    return read_question_file(path).questions


def rows_of(folder: Path, header: str, *lines: str) -> list[Question]:
    """The questions of a table of these lines."""
    return questions_in(write(folder, "q.csv", "\n".join([header, *lines]) + "\n"))


def own(asked: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What identifies stored questions, and what a model is told of them."""
    return [(q["id"], q["text"], q["background"], q["close_date"]) for q in asked]
