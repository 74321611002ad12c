"""Read rows under our names, as the platform that wrote them means them.

Known by their own columns are ForecastBench's question and resolution sets, Metaculus (posts,
questions, the CSV download), Manifold, Polymarket, INFER and Good Judgment Open, and Prophet Arena.
Every other row is read by its headings alone. Questions that are not yes/no (multiple choice,
numbers, dates, groups) are left out by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from questions import forecastbench
from questions.columns import (
    DAYS,
    PROBABILITIES,
    RESERVED,
    InputError,
    folded_heading,
    from_milliseconds,
    is_fractional,
    is_nothing,
    iso_date,
    json_list,
    judge_count,
    listed,
    our_name,
    probability,
    shortened,
    unused_line,
)
from questions.tables import Row, is_blank, read_table

# What platforms call a yes/no question, and other kinds that a plain column "type" may name.
YES_NO: Final = (
    "binary",
    "yes/no",
    "yesno",
    "bool",
    "boolean",
    "t/f",
    "tf",
    "forecast::yesnoquestion",
)
OTHER_KINDS: Final = (
    "multiplechoice", "numeric", "pseudonumeric", "discrete", "continuous", "date", "multinumeric",
    "freeresponse", "number", "group", "groupofquestions", "conditional", "notebook", "poll",
    "bountiedquestion", "stonk", "quadraticfunding", "mc", "num",
)  # fmt: skip


class LeftOutError(Exception):
    """A row that is no yes/no question: what it is called, and why."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} ({reason})")


@dataclass(frozen=True)
class Record:
    """One row under our names; what we have no name for keeps its own.

    ``platform`` is "" for a row that is read by its headings alone. An outcome that is not known
    yet is absent.
    """

    place: str
    values: dict[str, Any]
    platform: str = ""


@dataclass(frozen=True)
class Records:
    """The rows of a file, those left out (in words), and notes for the user.

    ``columns`` are our names of a .csv or .tsv file's headings, None for the other kinds.
    """

    rows: list[Record]
    left_out: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    columns: list[str] | None = None


def read_records(path: Path) -> Records:
    """Read a file of questions or outcomes.

    Raises:
        InputError: what ``read_table`` refuses, two columns of one meaning, or a cell that cannot
            be used.
    """
    table = read_table(path)
    rows: list[Record] = []
    left_out: list[str] = []
    headings: dict[str, None] = dict.fromkeys(filter(None, table.headings or ()))
    for row in table.rows:
        try:
            record = standard(row, table.head)
        except LeftOutError as reason:
            left_out.append(f"{row.place}: {reason}")
            continue
        except InputError as error:
            raise InputError(f"{row.place}: {error}") from None
        rows.append(record)
        if record.platform in ("", "forecastbench"):
            headings |= dict.fromkeys(row.values)
    notes = [listed(table.notes)] if table.notes else []
    if line := unused_line(headings):
        notes.append(line)
    columns = table.headings and [our_name(name) or name for name in table.headings]
    return Records(rows, left_out, notes, columns)


def left_out_line(left_out: Iterable[str], what: str) -> str:
    """Say in one line how many rows were left out, and name the first."""
    left_out = list(left_out)
    return f"{len(left_out)} left out, {what}: {listed(left_out)}"


def standard(row: Row, head: Mapping[str, Any]) -> Record:
    """Read one row under our names.

    Raises:
        LeftOutError: no yes/no question.
        InputError: a cell that cannot be used; the message lacks the place.
    """
    source = _unnested(row.values)
    judge_count(len(source))
    folded = {folded_heading(key): key for key in source}
    for name in RESERVED:
        if folded_heading(name) in folded:
            raise InputError(f"the name {name} is this program's own; rename the column")
    platform = _platform(source, folded, head)
    values = dict(source)
    if platform in _ADAPTERS:
        values = _ADAPTERS[platform](_View(source, folded))
    elif isinstance(row.values.get("question"), Mapping):
        platform = "metaculus"
    values = _renamed(values)
    _refuse_other_kinds(values)
    if platform == "forecastbench":
        forecastbench.complete(values, head)
    if str(values.get("resolved", "")).strip().casefold() in ("false", "no", "0", "open"):
        outcome = values.pop("outcome", None)
        # Platforms keep the price of an open question there.
        if not platform and outcome is not None and not is_fractional(outcome):
            raise InputError(
                f"resolved is {shortened(values['resolved'])} and outcome is {shortened(outcome)};"
                " leave one of them blank"
            )
    for name in PROBABILITIES:
        probability(values.get(name), name)
    for name in DAYS:
        iso_date(values.get(name), name)
    return Record(row.place, values, platform)


class _View:
    """A row's values by folded heading."""

    def __init__(self, source: Mapping[str, Any], folded: Mapping[str, str]) -> None:
        self.source = source
        self.folded = folded

    def get(self, name: str) -> Any:
        """The value of a column, None where it is missing."""
        return self.source.get(self.folded.get(folded_heading(name), ""))

    def without(self, *names: str) -> dict[str, Any]:
        """All values but some columns'."""
        left = {self.folded.get(folded_heading(name)) for name in names}
        return {key: value for key, value in self.source.items() if key not in left}


def _platform(source: Mapping[str, Any], folded: Mapping[str, str], head: Mapping[str, Any]) -> str:
    """Return the platform whose own columns a row has, "" for none."""
    has = folded.keys()
    kind = str(_View(source, folded).get("type") or "")
    if "outcometype" in has or ("isresolved" in has and has & {"closetime", "resolutiontime"}):
        return "manifold"
    if (
        has & {"conditionid", "outcomeprices", "umaresolutionstatus", "clobtokenids"}
        or {"enddate", "outcomes"} <= has
    ):
        return "polymarket"
    if kind.casefold().startswith("forecast::") or {"name", "answers"} <= has:
        return "infer"
    if "taskid" in has and has & {"outcomes", "resolvedoutcome", "predictby"}:
        return "prophet"
    own = {
        "freezedatetime",
        "resolutiondates",
        "marketinfoclosedatetime",
        "combinationof",
        "resolvedto",
    }
    if has & own or "question_set" in head or "forecast_due_date" in head:
        return "forecastbench"
    return ""


def _renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Put values under our names, without those that say nothing.

    Raises:
        InputError: two columns of one meaning with different values.
    """
    result: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for key, value in values.items():
        name = our_name(key) or key.strip()
        # An outcome of "N/A" is a voided question.
        if is_blank(value) if name == "outcome" else is_nothing(value):
            continue
        if name in result and not _same(result[name], value, name):
            raise InputError(
                f"two columns are named {name}: {origin[name]} is {shortened(result[name])},"
                f" {' '.join(key.split())} is {shortened(value)}; leave one out"
            )
        if name not in result:
            result[name], origin[name] = value, " ".join(key.split())
    return result


def _same(first: Any, second: Any, name: str) -> bool:
    if name.endswith("_date"):
        try:
            return iso_date(first, name) == iso_date(second, name)
        except InputError:
            return False
    return " ".join(str(first).split()) == " ".join(str(second).split())


def _refuse_other_kinds(values: Mapping[str, Any]) -> None:
    name = shortened(values.get("id") or values.get("question") or "a row")
    identifier = values.get("id")
    if (
        isinstance(identifier, list)
        or "combination_of" in values
        or isinstance(json_list(identifier), list)
    ):
        raise LeftOutError(name, "a combination of questions")
    kind = values.get("question_type")
    if kind is not None and _kind(kind) not in YES_NO:
        raise LeftOutError(name, " ".join(str(kind).split())[:40])
    possible = values.get("possibilities")  # of Metaculus' first interface
    kind = values.get("type", possible.get("type") if isinstance(possible, Mapping) else None)
    if kind is not None and (
        _kind(kind) in OTHER_KINDS
        or (_kind(kind).startswith("forecast::") and _kind(kind) not in YES_NO)
    ):
        raise LeftOutError(name, " ".join(str(kind).split())[:40])
    for column in ("outcomes", "options"):
        choices = _choices(values.get(column))
        if choices and {str(choice).strip().casefold() for choice in choices} != {"yes", "no"}:
            raise LeftOutError(
                name, f"its {column} are {listed(shortened(choice) for choice in choices)}"
            )


def _choices(value: Any) -> list[Any] | None:
    """The answers to choose from: a list, or a text that separates them."""
    if isinstance(value, str) and not value.strip().startswith("["):
        parts = [part for part in re.split(r"[|;,/\n]", value) if part.strip()]
        return parts if len(parts) > 1 else None
    return json_list(value)


def _kind(value: Any) -> str:
    return folded_heading(str(value))


# --- platforms --------------------------------------------------------------------------------


def _unnested(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the question in a Metaculus post; other rows as they are."""
    title = shortened(values.get("title") or values.get("id"))
    for group in ("group_of_questions", "conditional", "notebook"):
        if isinstance(values.get(group), Mapping):
            raise LeftOutError(title, group.replace("_", " "))
    for group in ("markets", "questions", "subquestions"):
        if isinstance(inner := values.get(group), list) and any(
            isinstance(i, Mapping) for i in inner
        ):
            raise LeftOutError(title, f"a group of {len(inner)} {group}; give those alone")
    inner = values.get("question")
    if not isinstance(inner, Mapping):
        return values
    kept = {key: values[key] for key in ("title", "url") if not is_nothing(values.get(key))}
    # The post's title is the question's, or that of its page.
    return {**kept, **{key: value for key, value in inner.items() if not is_nothing(value)}}


def _manifold(row: _View) -> dict[str, Any]:
    left = [
        "textDescription",
        "description",
        "isResolved",
        "resolution",
        "resolutionTime",
        "closeTime",
        "probability",
    ]
    values = row.without(*left)
    text = row.get("textDescription")
    values["background"] = row.get("description") if is_nothing(text) else text
    if not isinstance(values["background"], str):
        values["background"] = None  # rich text, which has textDescription beside it
    values["close_date"] = from_milliseconds(row.get("closeTime"), "closeTime")
    solved = row.get("isResolved")
    if (
        solved is True
        or str(solved).casefold() == "true"
        or (solved is None and row.get("resolution"))
    ):
        values["outcome"] = row.get("resolution")
        values["resolution_date"] = from_milliseconds(row.get("resolutionTime"), "resolutionTime")
    else:
        values["market_probability"] = row.get("probability")
    return values


def _polymarket(row: _View) -> dict[str, Any]:
    left = [
        "id",
        "conditionId",
        "questionID",
        "endDate",
        "endDateIso",
        "outcomePrices",
        "closedTime",
        "umaEndDate",
        "resolutionSource",
        "description",
    ]
    values = row.without(*left)
    values["resolution_criteria"] = row.get("description")  # the market's rules
    values["id"] = row.get("id") if not is_nothing(row.get("id")) else row.get("conditionId")
    values["condition_id"] = row.get("conditionId")
    end = row.get("endDate") if not is_nothing(row.get("endDate")) else row.get("endDateIso")
    values["close_date"] = end
    names, prices = json_list(row.get("outcomes")), json_list(row.get("outcomePrices"))
    if not names or not prices or len(names) != len(prices):
        return values
    price = dict(zip([str(name).strip().casefold() for name in names], prices, strict=True)).get(
        "yes"
    )
    if (
        str(row.get("umaResolutionStatus")).casefold() == "resolved"
        and str(row.get("closed")).casefold() == "true"
    ):
        values["outcome"] = price
        known = (row.get(name) for name in ("closedTime", "umaEndDate", "endDate", "endDateIso"))
        values["resolution_date"] = next((when for when in known if not is_nothing(when)), None)
    else:
        values["market_probability"] = price
    return values


def _infer(row: _View) -> dict[str, Any]:
    values = row.without("name", "answers")
    values["question"] = row.get("name") if is_nothing(row.get("question")) else row.get("question")
    answers = row.get("answers")
    if isinstance(answers, list):
        by_name = {
            str(a.get("name")).strip().casefold(): a.get("probability")
            for a in answers
            if isinstance(a, Mapping)
        }
        if not set(by_name) <= {"yes", "no"}:
            raise LeftOutError(
                shortened(row.get("id") or row.get("name")),
                f"its answers are {listed(map(repr, by_name))}",
            )
        values["market_probability"] = by_name.get("yes")
    return values


def _prophet(row: _View) -> dict[str, Any]:
    values = row.without("resolved_outcome")
    solved = row.get("resolved_outcome")
    if isinstance(solved, Mapping):
        choice = solved.get("value")
        values["outcome"] = (
            choice[0] if isinstance(choice, list) and len(choice) == 1 else choice or None
        )
        values["resolution_date"] = solved.get("resolved_at")
    return values


_ADAPTERS: Final = {
    "manifold": _manifold,
    "polymarket": _polymarket,
    "infer": _infer,
    "prophet": _prophet,
}
