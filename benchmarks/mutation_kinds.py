"""The kinds of small faults that benchmarks/mutations.py makes.

Each function takes a node of a syntax tree and gives nodes with the source that takes their place;
``CHANGES`` says which kinds of node it is for.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

COMPARISONS: Final[dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
# Functions and methods that are easily taken for one another.
SWAPPED: Final = """\
min:max any:all all:any max:min minimum:maximum maximum:minimum argmin:argmax argmax:argmin
floor:ceil ceil:floor mean:median lower:upper upper:lower casefold:upper strip:lstrip rstrip:lstrip
lstrip:rstrip startswith:endswith endswith:startswith split:rsplit rsplit:split find:rfind
partition:rpartition rpartition:partition fullmatch:match match:search setdefault:get append:extend
sorted:list reversed:list fetchone:fetchall issubset:issuperset union:intersection"""
CALLS: Final = dict(pair.split(":") for pair in SWAPPED.split())
# Methods without which their object is still of the same type.
REMOVABLE: Final = ("strip", "lstrip", "rstrip", "lower", "casefold", "upper")
SQL: Final = re.compile(
    r"\b(?:SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE (?:VIEW|TABLE|INDEX))\b"
)
SQL_WORDS: Final = (
    (r"\bDESC\b", "ASC"),
    (r"(?<![<>=-])>=", ">"),
    (r"<=", "<"),
    (r"(?<![<>=-])>(?![=<>])", ">="),
    (r"(?<![<>=])<(?![=<>])", "<="),
    (r"\b[Mm][Aa][Xx]\(", "min("),
    (r"\b[Mm][Ii][Nn]\(", "max("),
    (r"\bAND\b", "OR"),
    (r"\bOR\b(?! (?:IGNORE|REPLACE|ABORT|FAIL|ROLLBACK))", "AND"),
    (r"\bIS NULL\b", "IS NOT NULL"),
    (r"\bIS NOT NULL\b", "IS NULL"),
    (r"\bLEFT JOIN\b", "JOIN"),
    (r"\bNOT IN\b", "IN"),
    (r"\bNOT EXISTS\b", "EXISTS"),
    (r"\bDISTINCT ", ""),
    (r" ORDER BY [^'\")]+?(?=$|[\n)'\"])", ""),
)

Replacement = str | Callable[[str], str | None]
Found = tuple[ast.stmt | ast.expr, Replacement]


def _comparison(node: ast.Compare) -> Iterator[Found]:
    for place, operator in enumerate(node.ops):
        for other in COMPARISONS[type(operator)]:
            ops = [*node.ops[:place], other(), *node.ops[place + 1 :]]
            yield node, f"({ast.unparse(ast.Compare(node.left, ops, node.comparators))})"


def _arithmetic(node: ast.BinOp) -> Iterator[Found]:
    other = ARITHMETIC.get(type(node.op))
    text = (ast.JoinedStr, ast.Constant)
    sides = (node.left, node.right)
    if other is None or any(isinstance(s, text) and not _is_number(s) for s in sides):
        return
    yield node, f"({ast.unparse(ast.BinOp(node.left, other(), node.right))})"
    if isinstance(node.op, ast.Sub | ast.Div):
        yield node, f"({ast.unparse(ast.BinOp(node.right, node.op, node.left))})"


def _is_number(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def _constant(node: ast.Constant) -> Iterator[Found]:
    value = node.value
    if isinstance(value, bool):
        yield node, repr(not value)
    elif isinstance(value, int):
        yield from ((node, repr(other)) for other in dict.fromkeys((value + 1, value - 1, 0)))
    elif isinstance(value, float):
        # Twice a tolerance is no fault that a test should see; a thousandfold is.
        others = (value * 2, value / 2, 0.0) if abs(value) > 1e-4 else (value * 1000, 0.0)
        yield from ((node, repr(other)) for other in dict.fromkeys(others))
    elif isinstance(value, str) and SQL.search(value):
        yield from ((node, other) for other in _sql_changes(node))


def _sql_changes(node: ast.Constant) -> Iterator[Callable[[str], str | None]]:
    """Each word of SQL that is there, by its place in the source of the string."""
    for pattern, word in SQL_WORDS:
        for number in range(len(re.findall(pattern, str(node.value)))):
            yield partial(_with_word, pattern=pattern, word=word, number=number)


def _with_word(text: str, *, pattern: str, word: str, number: int) -> str | None:
    places = list(re.finditer(pattern, text))
    if number >= len(places):
        return None
    begin, end = places[number].span()
    return text[:begin] + word + text[end:]


def _junction(node: ast.BoolOp) -> Iterator[Found]:
    other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    yield node, f"({ast.unparse(ast.BoolOp(other, node.values))})"
    for place in range(len(node.values)):
        rest = [*node.values[:place], *node.values[place + 1 :]]
        yield node, f"({ast.unparse(ast.BoolOp(node.op, rest) if len(rest) > 1 else rest[0])})"


def _negation(node: ast.UnaryOp) -> Iterator[Found]:
    if isinstance(node.op, ast.Not | ast.USub):
        yield node, f"({ast.unparse(node.operand)})"


def _condition(node: ast.If | ast.IfExp | ast.While) -> Iterator[Found]:
    if not isinstance(node.test, ast.Compare | ast.UnaryOp):
        yield node.test, f"(not ({ast.unparse(node.test)}))"


def _filter(node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> Iterator[Found]:
    for loop in node.generators:
        yield from ((test, "True") for test in loop.ifs)


def _returned(node: ast.Return) -> Iterator[Found]:
    if node.value is not None and ast.unparse(node.value) != "None":
        yield node, "return None"
        if isinstance(node.value, ast.BinOp | ast.Call):
            yield node, "return 0"


def _removed(node: ast.stmt) -> Iterator[Found]:
    if isinstance(node, ast.Assign) and not isinstance(
        node.targets[0], ast.Attribute | ast.Subscript
    ):
        return
    if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Call):
        return
    yield node, "pass"


def _jump(node: ast.Continue | ast.Break) -> Iterator[Found]:
    yield node, "break" if isinstance(node, ast.Continue) else "continue"


def _assigned(node: ast.AugAssign) -> Iterator[Found]:
    other = ARITHMETIC.get(type(node.op))
    if other is not None and not isinstance(node.value, ast.Constant | ast.JoinedStr | ast.List):
        yield node, ast.unparse(ast.AugAssign(node.target, other(), node.value))
    if isinstance(node.op, ast.Add) and _is_number(node.value):
        yield node, ast.unparse(ast.AugAssign(node.target, ast.Sub(), node.value))


def _call(node: ast.Call) -> Iterator[Found]:
    called = node.func
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    if name == "sorted":
        turned = [key for key in node.keywords if key.arg != "reverse"]
        if len(turned) == len(node.keywords):
            turned.append(ast.keyword("reverse", ast.Constant(True)))
        yield node, ast.unparse(ast.Call(called, node.args, turned))
    # Without a limit both directions split alike.
    everywhere = name in ("split", "rsplit") and len(node.args) + len(node.keywords) < 2
    if (other := CALLS.get(name)) and not everywhere:
        keywords = [] if name == "sorted" else node.keywords
        yield node, ast.unparse(ast.Call(_renamed(called, other), node.args, keywords))
    if isinstance(called, ast.Attribute) and name in REMOVABLE:
        yield node, ast.unparse(called.value)
    if name == "zip" and len(node.args) == 2:
        yield node, ast.unparse(ast.Call(called, node.args[::-1], node.keywords))


def _renamed(called: ast.expr, name: str) -> ast.expr:
    if isinstance(called, ast.Attribute):
        return ast.Attribute(called.value, name)
    return ast.Name(name)


def _part(node: ast.Subscript) -> Iterator[Found]:
    part = node.slice
    if isinstance(part, ast.Slice):
        ends = (part.lower, part.upper, part.step)
        for without in range(3):
            if ends[without] is not None:
                lower, upper, step = (None if n == without else end for n, end in enumerate(ends))
                yield node, ast.unparse(ast.Subscript(node.value, ast.Slice(lower, upper, step)))
    elif ast.unparse(part) in ("0", "-1"):
        other = ast.Constant(-1 if ast.unparse(part) == "0" else 0)
        yield node, ast.unparse(ast.Subscript(node.value, other))


CHANGES: Final[dict[type[ast.AST], tuple[Callable[..., Iterator[Found]], ...]]] = {
    ast.Compare: (_comparison,),
    ast.BinOp: (_arithmetic,),
    ast.Constant: (_constant,),
    ast.BoolOp: (_junction,),
    ast.UnaryOp: (_negation,),
    ast.If: (_condition,),
    ast.IfExp: (_condition,),
    ast.While: (_condition,),
    ast.ListComp: (_filter,),
    ast.SetComp: (_filter,),
    ast.DictComp: (_filter,),
    ast.GeneratorExp: (_filter,),
    ast.Return: (_returned,),
    ast.Expr: (_removed,),
    ast.Assign: (_removed,),
    ast.Raise: (_removed,),
    ast.Delete: (_removed,),
    ast.AugAssign: (_removed, _assigned),
    ast.Continue: (_jump,),
    ast.Break: (_jump,),
    ast.Call: (_call,),
    ast.Subscript: (_part,),
}
