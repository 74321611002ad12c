"""Store what models thought before their numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

import numpy as np

from storage.connection import Connection, copy_rows, insert


@dataclass(frozen=True)
class ThoughtRecord:
    """One thought of a model for a question and chunk, as it was generated.

    ``rest`` ends a ``text`` whose last token began the mark that ends a thought; ``token_ids`` lack
    that token. ``said`` is the number in the model's ``answer``, in percent.
    """

    question_id: str
    chunk: int
    agent: str
    sample: int
    model: str
    text: str
    rest: str
    token_ids: tuple[int, ...]
    tokens: int
    finish_reason: str
    ended: bool
    cut: bool
    looped: bool
    empty: bool
    seed: int
    answer: str
    said: float | None


@dataclass(frozen=True)
class ThoughtRead:
    """What a model said after a thought and the mean read there, percent."""

    agent: str
    cut: bool
    looped: bool
    empty: bool
    said: float | None
    read: float | None


class ThoughtStore:
    """Thoughts by run, question, chunk, agent and sample."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def save(self, run_id: int, record: ThoughtRecord) -> None:
        """Store one thought; one that is there already stays."""
        values = {"run_id": run_id, "created_at": self._connection.now(run_id), **asdict(record)}
        values["token_ids"] = np.array(record.token_ids, dtype="<u4").tobytes()
        with self._connection.atomic() as sql:
            insert(sql, "thoughts", values, "INSERT OR IGNORE")

    def of_run(self, run_id: int, agent: str) -> list[ThoughtRecord]:
        """Return an agent's thoughts of a run, by question, chunk and sample."""
        return self._connection.read(
            ThoughtRecord,
            "SELECT * FROM thoughts WHERE run_id = ? AND agent = ?"
            " ORDER BY question_id, chunk, sample",
            (run_id, agent),
        )

    def read(self, run_id: int) -> list[ThoughtRead]:
        """Return what was said and read after each thought of a run."""
        return self._connection.read(
            ThoughtRead,
            "SELECT agent, cut, looped, empty, said, read FROM thoughts_read"
            " WHERE run = ? ORDER BY agent, question_id, chunk, sample",
            (run_id,),
        )

    def copy(self, origin: int, run_id: int) -> None:
        """Give a run the thoughts of another one that asks the same questions."""
        columns = [one.name for one in fields(ThoughtRecord)]
        with self._connection.atomic() as sql:
            copy_rows(sql, "thoughts", [*columns, "created_at"], origin, run_id)
