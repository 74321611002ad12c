"""List what a database holds: questions, runs and models, a row each."""

from __future__ import annotations

from dataclasses import dataclass

from storage.connection import Connection
from storage.records import Loose, Moment


@dataclass(frozen=True)
class ListedQuestion:
    """A question: how often it was asked, and its last forecast in percent.

    ``forecast`` is the final number where there is one, else the models' pool; ``as_of`` is the day
    to which it is back-dated.
    """

    id: str
    text: str
    close_date: str | None
    extra: Loose
    runs: int
    last_run: int | None
    forecast: float | None
    as_of: Moment | None


@dataclass(frozen=True)
class ListedRun:
    """A run: what it asked, and how much of it was forecast."""

    run: int
    started: Moment
    status: str
    as_of: Moment | None
    questions: int
    forecasts: int
    errors: int


@dataclass(frozen=True)
class ListedModel:
    """A model by its name and path: its forecasts, those that failed, its last run."""

    model: str
    path: str
    forecasts: int
    errors: int
    runs: int
    last_run: int


class ListingStore:
    """Rows for people, newest first; the fields of runs and models are their headings."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def questions(self) -> list[ListedQuestion]:
        """Return every question, the last asked first; replays do not count."""
        return self._connection.read(
            ListedQuestion,
            "SELECT q.id, q.text, q.close_date, q.extra, count(r.id) AS runs,"
            " max(r.id) AS last_run, coalesce(100 * d.final, n.mean) AS forecast, a.as_of"
            " FROM questions q LEFT JOIN run_questions rq ON rq.question_id = q.id"
            " LEFT JOIN runs r ON r.id = rq.run_id AND r.origin_run IS NULL"
            " LEFT JOIN ensembles n ON n.question_id = q.id AND n.run_id = (SELECT max(e.run_id)"
            "  FROM ensembles e JOIN runs o ON o.id = e.run_id"
            "  WHERE e.question_id = q.id AND o.origin_run IS NULL)"
            " LEFT JOIN final_numbers d ON d.run_id = n.run_id AND d.question_id = n.question_id"
            " LEFT JOIN run_questions a ON a.run_id = n.run_id AND a.question_id = n.question_id"
            " GROUP BY q.id ORDER BY last_run DESC, min(rq.position), q.id",
        )

    def runs(self) -> list[ListedRun]:
        """Return every run, the newest first."""
        return self._connection.read(
            ListedRun,
            "SELECT r.id AS run, r.started_at AS started, r.as_of, CASE WHEN r.origin_run IS NULL"
            " THEN r.status ELSE 'replay of ' || r.origin_run END AS status,"
            " (SELECT count(*) FROM run_questions q WHERE q.run_id = r.id) AS questions,"
            " count(f.id) - count(f.error) AS forecasts, count(f.error) AS errors"
            " FROM runs r LEFT JOIN forecasts f ON f.run_id = r.id"
            " GROUP BY r.id ORDER BY r.id DESC",
        )

    def models(self) -> list[ListedModel]:
        """Return every model that was asked, the last asked first."""
        return self._connection.read(
            ListedModel,
            "SELECT f.agent AS model, f.model AS path, count(*) - count(f.error) AS forecasts,"
            " count(f.error) AS errors, count(DISTINCT f.run_id) AS runs, max(f.run_id) AS last_run"
            " FROM forecasts f GROUP BY f.agent, f.model ORDER BY last_run DESC, f.agent, f.model",
        )
