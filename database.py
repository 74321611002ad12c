"""One SQLite file holds the evidence, the forecasts and their track record.

Rules kept in ``storage/``: WAL and foreign keys on, numbered migrations with a backup first, one
transaction per result, every timestamp UTC ISO-8601 with a ``Z``, parameters always bound, arrays
as raw little-endian float32 (never pickle) or as JSON that ``sqlite3`` can read by itself:

    sqlite3 database.db "select question, agent, mean, captured_mass from latest_forecasts"
"""

from __future__ import annotations

from pathlib import Path

from storage.articles import ArticleStore
from storage.connection import Connection
from storage.families import FamilyStore
from storage.final_numbers import FinalNumberStore
from storage.forecasts import ForecastStore
from storage.learnt import LearntStore
from storage.listings import ListingStore
from storage.outcomes import OutcomeStore
from storage.points import PointStore
from storage.runs import RunStore
from storage.thoughts import ThoughtStore


class Database:
    """Open a Forecaster database and offer its stores.

    What they take and return is in storage/records.py.

    Args:
        path: the file; created when it does not exist and ``create`` is true.
        create: refuse a missing file when false.
        reading: nothing will be written, so a read-only file or folder will do.

    Raises:
        storage.errors.DatabaseError: not a database, another program's, a newer schema, or not
            writable.
    """

    def __init__(self, path: str | Path, *, create: bool = True, reading: bool = False) -> None:
        self.connection = Connection(Path(path), create=create, reading=reading)
        self.path = self.connection.path
        # Runs and the questions they asked.
        self.runs = RunStore(self.connection)
        # Articles by revision, their passages and embeddings, and what each search found.
        self.articles = ArticleStore(self.connection)
        # Forecasts with prompts, evidence, reasonings and ablations; their pools.
        self.forecasts = ForecastStore(self.connection)
        # Point forecasts of many runs, for scores and histories.
        self.points = PointStore(self.connection)
        # What models thought before their numbers.
        self.thoughts = ThoughtStore(self.connection)
        # The final numbers: pools with market prices, base rates, coherence and calibration.
        self.final = FinalNumberStore(self.connection)
        # What was learnt from resolved questions: weights and curves, and families of questions.
        self.learnt = LearntStore(self.connection)
        self.families = FamilyStore(self.connection)
        # Questions, runs and models, a row each.
        self.listings = ListingStore(self.connection)
        # How questions ended, calibrations, coherence checks.
        self.outcomes = OutcomeStore(self.connection)

    def check_in_place(self) -> None:
        """Raise ReplacedDatabaseError where the path no longer names the open file."""
        self.connection.check_in_place()

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
