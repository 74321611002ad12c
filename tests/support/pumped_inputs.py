"""Worst inputs for a regular expression, made from the expression itself.

Each repeated part of a pattern is repeated very often, behind what the pattern wants before it:
that is what makes a pattern with two ways to divide a run take quadratic time.
"""

from __future__ import annotations

import ast
import inspect
import re
import re._constants as op  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
from collections.abc import Iterator
from types import ModuleType
from typing import Any

# What is repeated, with what comes before and after it.
Pump = tuple[str, str, str]
METHODS = ("search", "match", "fullmatch", "sub", "split", "findall", "finditer")
# Methods that look at every place of a text.
SCANNING = "sub"
_CANDIDATES = "ax1 -.\n,%A_日\u0300<[\x00"


def patterns(module: ModuleType) -> Iterator[tuple[str, re.Pattern[str], str]]:
    """All patterns of a module: name, pattern and the method it is used with.

    Those it holds in its variables, however deep in tuples, and those written where they are used.
    """
    nodes = list(ast.walk(ast.parse(inspect.getsource(module))))
    held = {name: value for name, value in vars(module).items() if not name.startswith("__")}
    for name, value in held.items():
        for number, pattern in enumerate(_inside(value)):
            yield f"{module.__name__}.{name}[{number}]", pattern, _method(nodes, name)
    for call in nodes:
        if isinstance(call, ast.Call) and (method := _method_of_re(call)):
            try:
                parts = [call.args[0], *_flags(call, method)]
                arguments = [eval(ast.unparse(part), vars(module)) for part in parts]
            except NameError:
                continue  # a variable of a function: the pattern is held elsewhere
            yield f"{module.__name__}:{call.lineno}", re.compile(*arguments), method


def _method_of_re(call: ast.Call) -> str | None:
    """The method that a call such as ``re.sub(...)`` calls."""
    place = call.func
    if (
        isinstance(place, ast.Attribute)
        and isinstance(place.value, ast.Name)
        and place.value.id == "re"
    ):
        return place.attr if place.attr in METHODS else None
    return None


def _flags(call: ast.Call, method: str) -> list[ast.expr]:
    place = 4 if method == "sub" else 3 if method == "split" else 2
    return [k.value for k in call.keywords if k.arg == "flags"] + call.args[place : place + 1]


def _inside(value: Any) -> Iterator[re.Pattern[str]]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, dict):
        yield from _inside(tuple(value.values()))
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _inside(one)


def _method(nodes: list[ast.AST], name: str) -> str:
    """The method a held pattern is used with; one that scans where there are several or none."""
    used = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == name
    } & set(METHODS)
    return used.pop() if len(used) == 1 else SCANNING


def pumped(pattern: re.Pattern[str]) -> list[Pump]:
    """Inputs that repeat each repeated part of a pattern, and each beginning of a match."""
    found: list[Pump] = []
    whole = _example(parser.parse(pattern.pattern, pattern.flags), "", found)
    pumps = [(before, unit, after) for before, unit, _ in found if unit for after in ("", "\x00")]
    pumps += [("", before + unit * 2, "") for before, unit, _ in found if before]
    pumps += [("", part, "") for part in (whole, whole[:-1]) if part]
    return list(dict.fromkeys(pumps))


def _example(tokens: Any, before: str, found: list[Pump]) -> str:
    """A text that (mostly) matches; the pumps on the way are added to ``found``."""
    text = ""
    for kind, value in tokens:
        text += _part(kind, value, before + text, found)
    return text


def _part(kind: Any, value: Any, before: str, found: list[Pump]) -> str:
    if kind is op.LITERAL:
        return chr(value)
    if kind in (op.IN, op.NOT_LITERAL, op.ANY):
        return _character(kind, value)
    if kind is op.BRANCH:
        samples = [_example(branch, before, found) for branch in value[1]]
        return samples[0]
    if kind in (op.SUBPATTERN, op.ATOMIC_GROUP):
        return _example(value[-1] if kind is op.SUBPATTERN else value, before, found)
    if kind in (op.ASSERT, op.ASSERT_NOT):
        sample = _example(value[1], before, found)
        return sample if kind is op.ASSERT and value[0] < 0 else ""
    if kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
        least, most, inner = value
        unit = _example(inner, before, found)
        if most > 5:
            found.append((before, unit, ""))
        return unit * max(least, 1)
    return ""


def _character(kind: Any, value: Any) -> str:
    """A character of a class."""
    if kind is op.ANY:
        return "x"
    if kind is op.NOT_LITERAL:
        return next(c for c in _CANDIDATES if ord(c) != value)
    if value[0][0] is op.NEGATE:
        return next((c for c in _CANDIDATES if not any(_has(item, c) for item in value[1:])), "")
    usual = next((c for c in _CANDIDATES if any(_has(item, c) for item in value)), None)
    kind, first = value[0]
    return usual or chr(first[0] if kind is op.RANGE else first)


def _has(item: tuple[Any, Any], character: str) -> bool:
    kind, value = item
    if kind is op.LITERAL:
        return ord(character) == value
    if kind is op.RANGE:
        return value[0] <= ord(character) <= value[1]
    letter = {op.CATEGORY_DIGIT: "d", op.CATEGORY_SPACE: "s", op.CATEGORY_WORD: "w"}
    opposite = {op.CATEGORY_NOT_DIGIT: "D", op.CATEGORY_NOT_SPACE: "S", op.CATEGORY_NOT_WORD: "W"}
    return re.match("\\" + {**letter, **opposite}[value], character) is not None
