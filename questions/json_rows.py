"""Read the objects of JSON files with their lines.

JSON is meant strictly: no NaN, no infinity, no key twice in one object, no half characters. Texts
come in Unicode's composed form (NFC).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from questions.cells import InputError
from questions.characters import composed
from questions.columns import PROBABILITIES, Row, folded_heading, named_alike, our_name

# Keys under which an object may hold the list of rows.
CONTAINERS: Final = ("questions", "results", "resolutions", "markets")
# Keys that hold rows and nothing else, in exports of all sorts.
GENERIC: Final = ("data", "items", "rows", "records", "posts", "entries", *CONTAINERS)
# Columns that count in a row alone; people write them once, beside the list.
OF_A_ROW: Final = (
    "as_of", "close_date", "resolution_criteria", "outcome", "resolution_date", "cluster",
    "reference_class", "market_probability", "market_date", *PROBABILITIES,
)  # fmt: skip
# No row of a question or outcome nests lists and objects deeper.
MAX_DEPTH: Final = 50


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise InputError(named_alike(key, key))
        values[key] = value
    return values


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise ValueError(f"{number[:40]} is too large")
    return value


def _not_json(constant: str) -> None:
    # Python reads NaN and infinities; JSON has none, and SQLite would not store the row.
    raise ValueError(f"{constant} is not a JSON value")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_constant=_not_json, parse_float=_finite
)


def _decode(text: str, begin: int, place: str) -> tuple[Any, int]:
    """Return the value that begins at a position, and the position behind it."""
    try:
        value, end = _DECODER.raw_decode(text, begin)
        value = composed(value, MAX_DEPTH)
        _judge_texts(json.dumps(value, ensure_ascii=False))
    except InputError as error:
        raise InputError(f"{place}: {error}") from None
    except RecursionError:
        raise InputError(f"{place}: not JSON (nested too deeply)") from None
    except ValueError as error:
        if isinstance(error, json.JSONDecodeError) and error.lineno > 1:
            place = f"line {error.lineno}"
        raise InputError(f"{place}: not JSON ({getattr(error, 'msg', error)})") from None
    return value, end


def _judge_texts(dumped: str) -> None:
    try:
        dumped.encode()
    except UnicodeEncodeError:
        raise ValueError("half a character, a lone surrogate") from None
    if "\\u0000" in dumped.replace("\\\\", ""):
        raise ValueError("it holds NUL characters")


def _row(value: Any, place: str) -> Row:
    if not isinstance(value, dict):
        raise InputError(f"{place}: expected a JSON object, got {type(value).__name__}")
    first: dict[str, str] = {}
    for key in value:
        twin = first.setdefault(folded_heading(key), key)
        if twin != key and value[twin] != value[key]:
            raise InputError(f"{place}: {named_alike(twin, key)}")
    return Row(place, value)


def jsonl_rows(lines: list[str]) -> Iterator[Row]:
    """Yield the objects of a file with one on each line."""
    for number, line in enumerate(lines, start=1):
        if text := line.strip():
            place = f"line {number}"
            if text in ("{", "["):
                raise InputError(
                    f"{place}: it goes on in the next line; a .jsonl file has a whole object in"
                    " each line, name other JSON .json"
                )
            value, end = _decode(text, 0, place)
            if text[end:].strip():
                raise InputError(f"{place}: not JSON (more than one value in the line)")
            yield _row(value, place)


def json_rows(text: str) -> tuple[list[Row], Mapping[str, Any]]:
    """Read the objects of a list, of the list in an object, or one object.

    Returns:
        The objects, and the values beside the list.

    Raises:
        InputError: not JSON, a key twice in one object, or something else than objects; the
            message names the line.
    """
    text = text.rstrip()
    begin = _after_space(text, 0)
    if begin == len(text):
        raise InputError("line 1: the file is empty")
    head: Mapping[str, Any] = {}
    if text[begin] == "[":
        rows, end = _json_list(text, begin)
    else:
        place = f"line {_line(text, begin)}"
        whole, end = _decode(text, begin, place)
        rows = [_row(whole, place)]
        if name := _container(rows[0]):
            rows = _inner_list(text, begin, name)
            head = {key: value for key, value in whole.items() if key != name}
    if end < len(text):
        more = "more behind its end; name a file with one object a line .jsonl"
        raise InputError(f"line {_line(text, end)}: not JSON ({more})")
    return rows, head


def _container(whole: Row) -> str:
    """Return the key of the list of rows in an object, "" where it is a row itself.

    Raises:
        InputError: it has several such lists, or rows elsewhere.
    """
    values, place = whole.values, whole.place
    lists = [name for name in CONTAINERS if isinstance(values.get(name), list)]
    full = [name for name in lists if any(isinstance(one, dict) for one in values[name])]
    own = {folded_heading(key) for key in values} & {"question", "questiontext"}
    others = [key for key in values if key not in lists and _holds_rows(key, values[key])]
    if len(full) > 1 or (full and others):
        both = " and ".join(map(repr, [*full, *others][:2]))
        raise InputError(f"{place}: lists of rows under {both}; give each a file of its own")
    if others and not own:
        raise InputError(
            f"{place}: rows under {others[0]!r}; give them as a list, alone or under 'questions'"
        )
    rows = [one for name in full for one in values[name] if isinstance(one, dict)]
    for key in values if full else ():
        name = our_name(key)
        # An event of Polymarket says when it ends, and so does each of its markets.
        missing = name in OF_A_ROW and not all(name in map(our_name, row) for row in rows)
        if missing or folded_heading(key) == "question":
            raise InputError(f"{place}: {key} is beside the rows; write it in each row")
    return next(iter(full or lists), "")


def _holds_rows(key: str, value: Any, levels: int = 3) -> bool:
    """Return whether a list or object holds rows, by the columns that they have."""
    if not isinstance(value, dict | list) or not levels:
        return False
    inner = list(value.values()) if isinstance(value, dict) else value
    columns = ("question", "title", "text") if key in GENERIC else ("question",)
    return any(
        any(isinstance(one.get(column), str) for column in columns)
        for one in inner
        if isinstance(one, dict)
    ) or any(_holds_rows(key, one, levels - 1) for one in inner)


def _line(text: str, end: int) -> int:
    return text.count("\n", 0, end) + 1


_SPACE: Final = re.compile(r"[ \t\n]*")


def _after_space(text: str, begin: int) -> int:
    found = _SPACE.match(text, begin)
    return found.end() if found else begin


def _inner_list(text: str, begin: int, name: str) -> list[Row]:
    """Read the list under a key of the (valid) object that begins at ``begin``."""
    at = _after_space(text, begin + 1)
    while True:
        key, at = _DECODER.raw_decode(text, at)
        at = _after_space(text, _after_space(text, at) + 1)
        if key == name:
            return _json_list(text, at)[0]
        _, at = _DECODER.raw_decode(text, at)
        at = _after_space(text, _after_space(text, at) + 1)


def _json_list(text: str, begin: int) -> tuple[list[Row], int]:
    """Return the objects of the list at ``begin``, and the position behind it."""
    entries: list[tuple[int, Any]] = []
    line, counted, at = 1, 0, _after_space(text, begin + 1)
    while at < len(text) and text[at] != "]":
        line, counted = line + text.count("\n", counted, at), at
        value, at = _decode(text, at, f"line {line}, entry {len(entries) + 1}")
        entries.append((line, value))
        at = _after_space(text, at)
        if text[at : at + 1] == ",":
            at = _after_space(text, at + 1)
            if text[at : at + 1] == "]":
                raise InputError(f"line {line}: not JSON (a comma before the end of the list)")
        elif text[at : at + 1] != "]":
            expected = f"',' or ']' expected behind entry {len(entries)}"
            raise InputError(f"line {line}: not JSON ({expected})")
    if at >= len(text):
        raise InputError(f"line {_line(text, at)}: not JSON (the list does not end)")
    alone = len({line for line, _ in entries}) == len(entries)
    return [
        _row(value, f"line {line}" if alone else f"line {line}, entry {number}")
        for number, (line, value) in enumerate(entries, start=1)
    ], at + 1
