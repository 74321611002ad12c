"""Turn stored rows into records, where a foreign value is found.

SQLite takes any value in any column, and a file can be edited by hand: better one clear line here
than a wrong plot elsewhere.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, Final, TypeVar

import numpy as np

from questions.question import Question, QuestionError
from scoring.distribution import Distribution

R = TypeVar("R")


class ForeignValueError(Exception):
    """A row holds what Forecaster does not write; the message names value and column."""


def read(kind: type[R], rows: Iterable[sqlite3.Row]) -> list[R]:
    """Make a record of each row; a field without a column keeps its default.

    Raises:
        ForeignValueError: a value that does not fit its field, or a column that is gone.
    """
    found: list[R] = []
    columns: list[tuple[str, str, Callable[[Any], Any], bool]] = []
    for row in rows:
        if not columns:
            names = row.keys()
            columns = [one for one in _columns(kind) if one[1] in names]  # type: ignore[arg-type]
            for name in sorted(_required(kind) - {one[0] for one in columns}):
                raise ForeignValueError(f"a row has no {name}")
        values: dict[str, Any] = {}
        for name, column, parse, optional in columns:
            value = row[column]
            if value is None and optional:
                values[name] = None
                continue
            try:
                values[name] = parse(value)
            except (
                AttributeError, KeyError, OverflowError, QuestionError, RecursionError, TypeError,
                ValueError,
            ):  # fmt: skip
                raise ForeignValueError(f"a row has {repr(value)[:60]} as {column}") from None
        for name in () if values.get("error") else getattr(kind, "unless_error", ()):
            if values[name] is None:
                empty = "neither probabilities nor an error"
                raise ForeignValueError(
                    f"a row has {empty if name == 'distribution' else f'None as {name}'}"
                )
        found.append(kind(**values))
    return found


def _required(kind: Any) -> set[str]:
    """Return the fields of a record that have no default."""
    return {one.name for one in fields(kind) if one.default is MISSING is one.default_factory}


@cache
def _columns(kind: Any) -> list[tuple[str, str, Callable[[Any], Any], bool]]:
    """List a record's fields: name, column, parser, and whether it may be NULL."""
    result = []
    for one in fields(kind):
        parse = _PARSERS[one.type.removesuffix(" | None")]
        column = {"distribution": "probabilities", "question": "asked"}.get(one.name, one.name)
        result.append((one.name, column, parse, one.type.endswith(" | None")))
    return result


def to_json(value: Any) -> str:
    """Write JSON with sorted keys, so that equal settings are equal texts."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)


def summary_columns(distribution: Distribution | None) -> dict[str, Any]:
    """Write a distribution as columns: 101 numbers that round-trip, and statistics."""
    if distribution is None:
        return {}
    return {
        "probabilities": json.dumps(distribution.probabilities.tolist()),
        "mean": distribution.mean,
        "median": distribution.median,
        "mode": float(distribution.mode),
        "standard_deviation": distribution.standard_deviation,
        "p10": distribution.quantile(0.1),
        "p90": distribution.quantile(0.9),
        "entropy": distribution.entropy,
    }


def _typed(kind: type) -> Callable[[Any], Any]:
    def parse(value: Any) -> Any:
        if not isinstance(value, kind):
            raise TypeError
        return value

    return parse


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError
    return value


def _mass(value: Any) -> float:
    # A sum of many in single precision may end a little above 1.
    if not 0 <= _number(value) <= 1.001:
        raise ValueError
    return value


def _percentage(value: Any) -> float:
    # A mean of 100 may be off by a rounding.
    if not 0 <= _number(value) <= 100.001:
        raise ValueError
    return value


def _moment(value: Any) -> str:
    moment = datetime.fromisoformat(value)
    (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    return value


def _binary(value: Any) -> int:
    if value not in (0, 1):
        raise ValueError
    return int(value)


def _object(value: Any) -> Mapping[str, Any]:
    found = json.loads(value)
    if not isinstance(found, dict):
        raise TypeError
    return found


def _loose(value: Any) -> Mapping[str, Any]:
    try:
        return _object(value)
    except (TypeError, ValueError, RecursionError):
        return {}


# A few, because the questions of a run share their lists of relatives.
@lru_cache(maxsize=32)
def _texts(value: Any) -> tuple[str, ...]:
    found = json.loads(value)
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise TypeError
    return tuple(found)


def _numbers(value: Any) -> Mapping[str, float]:
    return {name: _number(one) for name, one in _object(value).items()}


def _voices(value: Any) -> Mapping[str, Mapping[str, Any]]:
    found = _object(value)
    for one in found.values():
        _mass(one["probability"]), _number(one["weight"])
    return found


def _steps(value: Any) -> Mapping[str, Mapping[str, Any]]:
    found = _object(value)
    for one in found.values():
        _mass(one["before"]), _mass(one["after"])
        for number in one["members"].values():
            _mass(number)
    return found


def _distribution(value: Any) -> Distribution:
    numbers = np.array(json.loads(value), dtype=np.float64)
    if not abs(numbers.sum() - 1) < 1e-6:
        raise ValueError
    return Distribution(numbers)


def _uint32s(value: Any) -> tuple[int, ...]:
    return tuple(np.frombuffer(_typed(bytes)(value), dtype="<u4").tolist())


_PARSERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "str": _typed(str),
    "tuple[int, ...]": _uint32s,
    "int": _typed(int),
    "float": _number,
    "bool": bool,
    "Mass": _mass,
    "Percentage": _percentage,
    "Moment": _moment,
    "Binary": _binary,
    "Mapping[str, Any]": _object,
    "Loose": _loose,
    "tuple[str, ...]": _texts,
    "Numbers": _numbers,
    "Voices": _voices,
    "Steps": _steps,
    "Distribution": _distribution,
    "Question": lambda value: Question(**_object(value)),
}
