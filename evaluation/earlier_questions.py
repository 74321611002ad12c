"""Read from a database what was asked before, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from database import Database
from questions.question import Question
from storage.records import EarlierQuestion, Resolution


@dataclass(frozen=True)
class Known:
    """The questions that a database knows.

    Args:
        asked: all that was asked, oldest first.
        resolved: the latest outcome by subject.
        subjects: the subject of each id.
        path: the database's file.
    """

    asked: Sequence[EarlierQuestion] = ()
    resolved: Mapping[str, Resolution] = field(default_factory=dict)
    subjects: Mapping[str, str] = field(default_factory=dict)
    path: str = ""

    @classmethod
    def of(cls, path: Path) -> Known:
        """Read it from a file; without one nothing is known."""
        if not path.exists():
            return cls()
        with Database(path, create=False) as database:
            return cls.read(database)

    @classmethod
    def read(cls, database: Database) -> Known:
        """Read it from an open database."""
        asked = database.runs.asked_before()
        subjects = {one.id: one.subject for one in asked}
        outcomes = database.outcomes.latest().items()
        resolved = {subjects[name]: one for name, one in outcomes if name in subjects}
        return cls(asked, resolved, subjects, str(database.path))

    @cached_property
    def _by_subject(self) -> dict[str, list[EarlierQuestion]]:
        found: dict[str, list[EarlierQuestion]] = {}
        for one in self.asked:
            found.setdefault(one.subject, []).append(one)
        return found

    def earlier(self, question: Question) -> Sequence[EarlierQuestion]:
        """Return all earlier questions of a question's subject, oldest first."""
        return self._by_subject.get(self.subject(question), ())

    def subject(self, question: Question) -> str:
        """Return a question's subject: the database's where it knows the id or subject."""
        return self.subjects.get(question.id, self.subjects.get(question.subject, question.subject))
