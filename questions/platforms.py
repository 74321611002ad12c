"""Read rows under our names, as the platform that wrote them means them.

Known by their own columns are ForecastBench's question and resolution sets, Metaculus (posts,
questions, the CSV download), Manifold, Polymarket, INFER and Good Judgment Open, and Prophet Arena.
Every other row is read by its headings alone. Questions that are not yes/no (multiple choice,
numbers, dates, groups) are left out by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from questions.cells import (
    InputError,
    from_milliseconds,
    is_blank,
    is_fractional,
    is_nothing,
    iso_date,
    json_list,
    listed,
    located,
    probability,
    shortened,
    truth,
)
from questions.columns import (
    DAYS,
    PROBABILITIES,
    RESERVED,
    Row,
    Table,
    folded_heading,
    judge_count,
    our_name,
    unused_line,
)
from questions.kinds import LeftOutError, open_column, refuse_other_kinds
from questions.market import (
    PRICE,
    PRICE_DAY,
    community_price,
    freeze_price,
    usable_prices,
    yes_price,
)
from questions.rows import raw_table

# Folded columns by which a platform is told, alone or together; the first that fits counts.
OWN_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "manifold": ("outcometype", "isresolved closetime", "isresolved resolutiontime"),
    "polymarket": (
        "conditionid", "outcomeprices", "umaresolutionstatus", "clobtokenids", "enddate outcomes",
    ),
    "infer": ("forecast::", "name answers"),
    "prophet": ("taskid outcomes", "taskid resolvedoutcome", "taskid predictby"),
    "forecastbench": (
        "freezedatetime", "resolutiondates", "marketinfoclosedatetime", "combinationof",
        "resolvedto",
    ),
}  # fmt: skip
# What people write beside a post of Metaculus, which has no such columns.
ADDED: Final = (
    "as_of", "cluster", "reference_class", "source", "negation", "paraphrases", PRICE, PRICE_DAY,
    *PROBABILITIES,
)  # fmt: skip
# ForecastBench's markets: their freeze value is a probability, that of others a level of a series.
MARKETS: Final = ("metaculus", "manifold", "polymarket", "infer")


def read_table(path: Path) -> Table:
    """Read a file of questions or outcomes; rows and headings come under our names.

    Raises:
        InputError: what ``raw_table`` refuses, two columns of one meaning, or a cell that cannot
            be used.
    """
    raw = raw_table(path)
    rows, left_out = list[Row](), list[str]()
    used: dict[str, None] = {}
    for row in raw.rows:
        try:
            with located(row.place):
                rows.append(standard(row, raw.head))
            if rows[-1].platform in ("", "forecastbench"):
                used |= dict.fromkeys([*filter(None, raw.headings or ()), *row.values])
        except LeftOutError as reason:
            left_out.append(f"{row.place}: {reason}")
    rows, unusable = usable_prices(rows)
    notes = list(filter(None, [listed(raw.notes), unused_line(used), unusable]))
    headings = raw.headings and [our_name(name) or name for name in raw.headings]
    return Table(rows, raw.head, notes, headings, left_out)


def left_out_line(left_out: Iterable[str], what: str) -> str:
    """Say in one line how many rows were left out, and name the first."""
    left_out = list(left_out)
    return f"{len(left_out)} left out, {what}: {listed(left_out)}"


def standard(row: Row, head: Mapping[str, Any]) -> Row:
    """Put one row under our names; what we have no name for keeps its own.

    An outcome that is not known yet is absent.

    Raises:
        LeftOutError: no yes/no question.
        InputError: a cell that cannot be used; the message lacks the place.
    """
    cells = _Cells(_unnested(row.values))
    judge_count(len(cells.source))
    for name in RESERVED:
        if folded_heading(name) in cells.folded:
            raise InputError(f"the name {name} is this program's own; rename the column")
    platform = _platform(cells, head)
    if platform in _ADAPTERS:
        values = _renamed(_ADAPTERS[platform](cells))
    else:
        values = _renamed(cells.source)
        if isinstance(row.values.get("question"), Mapping):
            platform = "metaculus"
    refuse_other_kinds(values)
    if platform == "forecastbench":
        _complete(values, head)
    if "outcome" in values and (column := open_column(values, platform)):
        outcome = values.pop("outcome")
        # Platforms keep the price of an open question there.
        if not platform and not is_fractional(outcome):
            raise InputError(
                f"{column} is {shortened(values[column])} and outcome is {shortened(outcome)};"
                " leave one of them blank"
            )
    for name in PROBABILITIES:
        probability(values.get(name), name)
    for name in DAYS:
        iso_date(values.get(name), name)
    return Row(row.place, values, platform)


class _Cells:
    """A row's values by folded heading."""

    def __init__(self, source: Mapping[str, Any]) -> None:
        self.source = source
        self.folded = {folded_heading(key): key for key in source}

    def get(self, name: str) -> Any:
        """The value of a column, None where it is missing."""
        return self.source.get(self.folded.get(folded_heading(name), ""))

    def first(self, *names: str) -> Any:
        """The first value of these columns that says something, None without one."""
        return next((v for v in map(self.get, names) if not is_nothing(v)), None)

    def says(self, name: str, word: str) -> bool:
        """Whether a column has this word, whatever its case."""
        return str(self.get(name)).casefold() == word

    def truth(self, name: str) -> bool | None:
        """Whether a column says true, None where it says nothing."""
        return truth(self.get(name), name)

    def without(self, names: str) -> dict[str, Any]:
        """All values but those of some columns, which are separated by spaces."""
        left = {self.folded.get(folded_heading(name)) for name in names.split()}
        return {key: value for key, value in self.source.items() if key not in left}


def _platform(cells: _Cells, head: Mapping[str, Any]) -> str:
    """Return the platform whose own columns a row has, "" for none."""
    has = set(cells.folded)
    if "endDate" not in cells.source:
        has -= {"enddate"}  # anybody's end date
    if str(cells.get("type")).casefold().startswith("forecast::"):
        has.add("forecast::")
    for platform, told in OWN_COLUMNS.items():
        if any(has.issuperset(columns.split()) for columns in told):
            return platform
    return "forecastbench" if "question_set" in head or "forecast_due_date" in head else ""


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


# --- platforms --------------------------------------------------------------------------------


def _unnested(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the question in a Metaculus post; other rows as they are."""
    title = shortened(values.get("title") or values.get("id"))
    for group in ("group_of_questions", "conditional", "notebook"):
        if isinstance(values.get(group), Mapping):
            raise LeftOutError(title, group.replace("_", " "))
    for group in ("markets", "questions", "subquestions"):
        inner = values.get(group)
        if isinstance(inner, list) and any(isinstance(one, Mapping) for one in inner):
            raise LeftOutError(title, f"a group of {len(inner)} {group}; give those alone")
    inner = values.get("question")
    if not isinstance(inner, Mapping):
        return values
    if not {"id", "type"} & {folded_heading(key) for key in inner}:
        raise InputError(f"question is {shortened(inner)}, expected text")
    # The post's title is the question's, or that of its page; the rest of a post is its own.
    post = {k: v for k, v in values.items() if k in ("title", "url") or our_name(k) in ADDED}
    parts = (post, community_price(inner), inner)
    return {k: v for part in parts for k, v in part.items() if not is_nothing(v)}


def _manifold(row: _Cells) -> dict[str, Any]:
    values = row.without(
        "textDescription description isResolved resolution resolutionTime closeTime probability"
    )
    text = row.first("textDescription", "description")
    # Rich text, which has textDescription beside it, is no text.
    values["background"] = text if isinstance(text, str) else None
    values["close_date"] = from_milliseconds(row.get("closeTime"), "closeTime")
    resolved = row.truth("isResolved")
    if resolved or (resolved is None and row.get("resolution")):
        values["outcome"] = row.get("resolution")
        values["resolution_date"] = from_milliseconds(row.get("resolutionTime"), "resolutionTime")
    else:
        values["market_probability"] = row.get("probability")
        values["market_date"] = row.first("lastBetTime", "lastUpdatedTime")
    return values


def _polymarket(row: _Cells) -> dict[str, Any]:
    values = row.without(
        "id conditionId questionID endDate endDateIso outcomePrices closedTime umaEndDate"
        " resolutionSource description tokens"
    )
    values["resolution_criteria"] = row.get("description")  # the market's rules
    values["id"] = row.first("id", "conditionId")
    values["condition_id"] = row.get("conditionId")
    values["close_date"] = row.first("endDate", "endDateIso")
    names, prices, outcome = row.get("outcomes"), row.get("outcomePrices"), None
    tokens = [one for one in json_list(row.get("tokens")) or () if isinstance(one, Mapping)]
    if tokens and names is None:  # of the order book's interface
        names, prices = ([one.get(key) for one in tokens] for key in ("outcome", "price"))
        values["outcomes"] = names
        outcome = next((one.get("outcome") for one in tokens if one.get("winner") is True), None)
    yes, closed = yes_price(names, prices), row.truth("closed")
    if json_list(prices) is None and not is_nothing(prices):
        yes = prices  # prices that cannot be read are named
    if closed and row.says("umaResolutionStatus", "resolved"):
        outcome = yes
    if closed and outcome is not None:
        values["outcome"] = outcome
        values["resolution_date"] = row.first("closedTime", "umaEndDate", "endDate", "endDateIso")
    elif not closed and yes is not None:  # the prices of a closed market are its answer
        values["market_probability"] = yes
        values["market_date"] = row.get("updatedAt")
    return values


def _infer(row: _Cells) -> dict[str, Any]:
    values = row.without("name answers")
    values["question"] = row.first("question", "name")
    answers = json_list(row.get("answers"))
    if answers is not None:
        by_name = {
            str(a.get("name")).strip().casefold(): a.get("probability")
            for a in answers
            if isinstance(a, Mapping)
        }
        if not set(by_name) <= {"yes", "no"}:
            name = shortened(row.get("id") or row.get("name"))
            raise LeftOutError(name, f"its answers are {listed(map(repr, by_name))}")
        values["market_probability"] = None if row.says("state", "resolved") else by_name.get("yes")
    return values


def _prophet(row: _Cells) -> dict[str, Any]:
    values = row.without("resolved_outcome")
    solved = row.get("resolved_outcome")
    if not is_nothing(solved) and not isinstance(solved, Mapping):
        raise InputError(f"resolved_outcome is {shortened(solved)}, expected an object")
    if isinstance(solved, Mapping):
        choice = solved.get("value")
        values["outcome"] = choice or None
        if isinstance(choice, list) and len(choice) == 1:
            values["outcome"] = choice[0]
        values["resolution_date"] = solved.get("resolved_at")
    return values


_ADAPTERS: Final[Mapping[str, Callable[[_Cells], dict[str, Any]]]] = {
    "manifold": _manifold,
    "polymarket": _polymarket,
    "infer": _infer,
    "prophet": _prophet,
}


def _complete(values: dict[str, Any], head: Mapping[str, Any]) -> None:
    """Fill in what ForecastBench keeps elsewhere: criteria, due date, freeze price.

    The criteria of a set only point to the market's. ``freeze_datetime_value`` is a probability
    (0-1) for a market; for a series it is a level and stays what it is.
    """
    if "market_info_resolution_criteria" in values:
        values["resolution_criteria"] = values.pop("market_info_resolution_criteria")
    if not is_nothing(head.get("forecast_due_date")):
        values.setdefault("forecast_due_date", head["forecast_due_date"])
    if "freeze_datetime" in values:
        values.setdefault("freeze_date", iso_date(values["freeze_datetime"], "freeze_datetime"))
    is_market = str(values.get("source")).strip().casefold() in MARKETS
    if is_market and values.get("freeze_datetime_value") is not None:
        freeze_price(values)
