"""Store what runs learn from resolved questions, until that record changes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from storage.connection import Connection, insert
from storage.final_numbers import AppliedCalibration, save_curve
from storage.id_lists import sha256
from storage.rows import to_json

# Days of outcomes whose results are kept: those that a live run may ask for.
KEPT: Final = 3
_OF_DAY: Final = "FROM learnt_weights WHERE cut = ? AND version = ? AND rule_version = ?"
_CURVE: Final = "method, parameters, count, brier_before, brier_after, used, reason"


class LearntStore:
    """Weights and curves by ``cut``, the last day of outcomes they were learnt from.

    ``version`` is always that of the record which was read for them: a row counts only while the
    record is still of that version, and the rule too.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def version(self) -> int:
        """Return the version of the record: read it before the record itself."""
        return int(self._connection.query("SELECT version FROM record_state")[0][0])

    def last_day(self, before: str) -> str | None:
        """Return the last ISO day before a day on which a question ended."""
        found = self._connection.query(
            "SELECT max(substr(resolved_at, 1, 10)) FROM resolutions"
            " WHERE substr(resolved_at, 1, 10) < ?",
            (before,),
        )
        return None if found[0][0] is None else str(found[0][0])

    def weights(self, cut: str, version: int, rule: int) -> dict[str, Any] | None:
        """Return the fields of the weights; None where they are not stored."""
        rows = self._connection.query(f"SELECT weights {_OF_DAY}", (cut, version, rule))
        return dict(json.loads(rows[0][0])) if rows else None

    def save_weights(
        self, cut: str, version: int, rule: int, weights: Any, forecasts: Sequence[str]
    ) -> None:
        """Store weights, and the forecasts behind weights and curves of this day."""
        values = {"cut": cut, "version": version, "rule_version": rule}
        values |= {"weights": to_json(weights), "forecasts": (names := to_json(forecasts))}
        values["forecasts_sha256"] = sha256(names)
        with self._connection.atomic() as sql:
            insert(sql, "learnt_weights", values, "INSERT OR REPLACE")
            sql.execute(
                "DELETE FROM learnt_weights WHERE cut NOT IN"
                " (SELECT cut FROM learnt_weights ORDER BY cut DESC LIMIT ?)",
                (KEPT,),
            )
            sql.execute(
                "DELETE FROM learnt_curves WHERE cut NOT IN (SELECT cut FROM learnt_weights)"
            )

    def curve(self, cut: str, kind: str, version: int, rule: int) -> AppliedCalibration | None:
        """Return a curve without its forecasts; None where it is not stored."""
        found = self._connection.read(
            AppliedCalibration,
            f"SELECT kind, cut AS day, {_CURVE} FROM learnt_curves"
            " WHERE cut = ? AND kind = ? AND version = ? AND rule_version = ?",
            (cut, kind, version, rule),
        )
        return found[0] if found else None

    def save_curve(self, cut: str, version: int, rule: int, curve: AppliedCalibration) -> None:
        """Store a curve; its forecasts are those of the weights."""
        values = {**vars(curve), "cut": cut, "version": version, "rule_version": rule}
        values["parameters"] = to_json(curve.parameters)
        del values["day"], values["forecasts"]
        with self._connection.atomic() as sql:
            insert(sql, "learnt_curves", values, "INSERT OR REPLACE")

    def apply(
        self, run_id: int, curve: AppliedCalibration, cut: str, version: int, rule: int
    ) -> bool:
        """Note a curve with a run; its forecasts are stored with the day's weights.

        False, and nothing is noted, where these are no longer stored.
        """
        key = (cut, version, rule)
        with self._connection.atomic() as sql:
            sql.execute(
                f"INSERT INTO id_lists (sha256, ids) SELECT forecasts_sha256, forecasts {_OF_DAY}"
                " AND forecasts_sha256 NOT IN (SELECT sha256 FROM id_lists)",
                key,
            )
            found = sql.execute(
                f"SELECT id FROM id_lists WHERE sha256 IN (SELECT forecasts_sha256 {_OF_DAY})",
                key,
            ).fetchone()
            if found is not None:
                save_curve(sql, run_id, curve, found[0])
        return found is not None
