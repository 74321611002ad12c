"""Make small faults in a module's source, one at a time.

Kinds: comparisons (boundary and opposite), arithmetic, numbers (one more, one less, 0), True and
False, and/or, conditions negated, returned values, removed statements, min/max and their like,
sorting order, slice ends, first and last, order of zip's arguments, string methods, words of SQL.
Left alone: docstrings, annotations, log messages, code for type checkers, text inside f-strings.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.mutation_kinds import CHANGES, Found

LOGGERS: Final = ("logger", "log", "logging", "warnings")


@dataclass(frozen=True)
class Mutant:
    """Hold one change of a module: its place, and the module's source with it."""

    module: str
    line: int
    end: int
    text: str
    change: str
    source: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What names it however lines move: module, text of its line, change."""
        return self.module, self.text, self.change


def mutants(path: Path, module: str = "") -> list[Mutant]:
    """Yield a module's mutants by line; each compiles and differs from the others.

    They are named after ``module``, such as "scoring/scorer"; else after the file.
    """
    source = path.read_text(encoding="utf-8")
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))

    def place(line: int, column: int) -> int:
        # Columns of the syntax tree count bytes.
        return starts[line - 1] + len(lines[line - 1].encode()[:column].decode())

    found: dict[str, Mutant] = {}
    for node, replacement in _Collector(ast.parse(source)).found():
        last = node.end_lineno or node.lineno
        begin, end = place(node.lineno, node.col_offset), place(last, node.end_col_offset or 0)
        before = source[begin:end]
        after = replacement(before) if callable(replacement) else replacement
        if after is None or not _is_whole(before, node):
            continue
        changed = source[:begin] + after + source[end:]
        if changed == source or changed in found or not _compiles(changed):
            continue
        text = lines[node.lineno - 1].strip()
        change = described(source, begin, end, after)
        found[changed] = Mutant(module or path.stem, node.lineno, last, text, change, changed)
    return sorted(found.values(), key=lambda mutant: (mutant.line, mutant.change))


def sample(every: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """Draw ``count`` mutants by hash, so that an edit elsewhere changes no draw."""

    def rank(mutant: Mutant) -> str:
        return hashlib.sha256(repr((seed, mutant.key)).encode()).hexdigest()

    return sorted(sorted(every, key=rank)[:count], key=lambda mutant: mutant.line)


def _is_whole(text: str, node: ast.stmt | ast.expr) -> bool:
    """Return whether a node's position is right; in f-strings 3.11 gives wrong ones."""
    try:
        body = ast.parse(f"({text})", mode="eval").body if isinstance(node, ast.expr) else None
    except SyntaxError:
        return False
    return body is None or ast.dump(body) == ast.dump(node)


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


def described(source: str, begin: int, end: int, after: str) -> str:
    """What is replaced by what, with some of its line around where it is short."""
    before = source[begin:end]
    if len(before) > 60:
        same = _common(before, after)
        rest = _common(before[same:][::-1], after[same:][::-1])
        return _change(source, begin + same, end - rest, after[same : len(after) - rest])
    if len(before) > 12:
        return f"{_one_line(before)} -> {_one_line(after)}"
    return _change(source, begin, end, after)


def _change(source: str, begin: int, end: int, after: str) -> str:
    left = source[max(0, begin - 15) : begin].rpartition("\n")[2].lstrip()
    right = source[end : end + 15].partition("\n")[0].rstrip()
    return f"{left}{_one_line(source[begin:end])}{right} -> {left}{_one_line(after)}{right}"


def _common(a: str, b: str) -> int:
    """How many characters two texts begin with in common."""
    return next(
        (n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())


class _Collector(ast.NodeVisitor):
    """Walks a module and notes what may be replaced by what."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        self.changes: list[Found] = []

    def found(self) -> list[Found]:
        """Every node with each of its replacements."""
        self.visit(self.tree)
        return self.changes

    def visit(self, node: ast.AST) -> None:
        """Note the changes of a node, then of its parts."""
        if isinstance(node, ast.JoinedStr | ast.Import | ast.ImportFrom) or _for_reading_only(node):
            return
        if isinstance(node, ast.expr | ast.stmt):
            for kind in CHANGES.get(type(node), ()):
                self.changes += [(target, text) for target, text in kind(node)]
        for name, value in ast.iter_fields(node):
            if name in (
                "annotation",
                "returns",
                "decorator_list",
                "type_comment",
                "type_params",
                "bases",
            ):
                continue
            for part in value if isinstance(value, list) else [value]:
                if isinstance(part, ast.AST):
                    self.visit(part)


def _for_reading_only(node: ast.AST) -> bool:
    """Return whether a node is a docstring, a log message or the like."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        called = node.value.func
        if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
            return called.value.id in LOGGERS
    return isinstance(node, ast.If) and ast.unparse(node.test) in (
        "TYPE_CHECKING",
        "__name__ == '__main__'",
    )
