"""Read from a database what was asked before, and how it ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from database import Database
from questions.question import Question, folded
from storage.records import EarlierQuestion, Resolution


@dataclass(frozen=True)
class Known:
    """What a database knows of some questions, and of others that have their texts.

    Args:
        asked: their wordings, oldest first.
        resolved: the latest outcome by subject.
        subjects: the subject of each id.
        path: the database's file.
    """

    asked: Sequence[EarlierQuestion] = ()
    resolved: Mapping[str, Resolution] = field(default_factory=dict)
    subjects: Mapping[str, str] = field(default_factory=dict)
    path: str = ""

    @classmethod
    def of(cls, path: Path, questions: Iterable[Question]) -> Known:
        """Read it from a file; without one nothing is known."""
        if not path.exists():
            return cls()
        with Database(path, create=False) as database:
            return cls.read(database, questions)

    @classmethod
    def read(cls, database: Database, questions: Iterable[Question]) -> Known:
        """Read it from an open database; the records of other questions are not read."""
        names = {name for question in questions for name in (question.id, question.subject)}
        texts = {folded(question.text) for question in questions}
        wanted = names | {*database.runs.subjects(list(names)).values()}
        wanted |= {one for one, text in database.runs.wordings() if folded(text) in texts}
        asked = database.runs.asked_before(wanted)
        subjects = {one.id: one.subject for one in asked}
        outcomes = database.outcomes.latest([*{*subjects.values()}]).items()
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
