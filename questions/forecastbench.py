"""Complete the questions of ForecastBench: dates, placeholders, criteria, prices.

A question about a series is asked once for each of its resolution dates, with ``{resolution_date}``
and ``{forecast_due_date}`` filled in from the row or from the head of the set.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from questions.columns import (
    InputError,
    is_nothing,
    iso_date,
    json_list,
    our_name,
    probability,
    shortened,
)
from questions.placeholders import FILLED, filled, placeholders, unfilled

# A market's freeze value is a probability, a data set's a level of its series.
MARKETS: Final = ("metaculus", "manifold", "polymarket", "infer")
# Resolution dates of one question; the sets have eight.
MAX_DATES: Final = 200
DATASETS: Final = ("acled", "dbnomics", "fred", "wikipedia", "yfinance")


def complete(values: dict[str, Any], head: Mapping[str, Any]) -> None:
    """Fill in the market's own criteria, its price on the freeze day, the due date.

    The criteria of a set only point to the market's. ``freeze_datetime_value`` is a probability
    (0-1) for a market; for a series it is a level and stays what it is.
    """
    if "market_info_resolution_criteria" in values:
        values["resolution_criteria"] = values.pop("market_info_resolution_criteria")
    if not is_nothing(head.get("forecast_due_date")):
        values.setdefault("forecast_due_date", head["forecast_due_date"])
    if "freeze_datetime" in values:
        values.setdefault("freeze_date", iso_date(values["freeze_datetime"], "freeze_datetime"))
    if str(values.get("source")).casefold() in MARKETS and "freeze_datetime_value" in values:
        values.setdefault(
            "baseline_crowd", probability(values["freeze_datetime_value"], "freeze_datetime_value")
        )


def dated(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Make one row for each resolution date, with the placeholders filled in.

    A question about a series on a date gets the id ``ID@RESOLUTION_DATE`` and the cluster ``ID``.

    Raises:
        InputError: a placeholder without a value, or dates that are none.
    """
    dates: list[Any] | None = None
    if "resolution_dates" in values:
        dates = json_list(values["resolution_dates"])
        if dates is None:
            raise InputError(
                f"resolution_dates is {shortened(values['resolution_dates'])}, expected a list of dates"
            )
    if dates and len(dates) > MAX_DATES:
        raise InputError(
            f"resolution_dates holds {len(dates)} dates, at most {MAX_DATES} are allowed"
        )
    if dates:
        days = [iso_date(day, "resolution_dates") for day in dates]
    elif any(
        our_name(p) == "resolution_date"
        for name in FILLED
        for p in placeholders(str(values.get(name)))
    ):
        if "resolution_date" not in values:
            raise InputError(unfilled("question", "resolution_date"))
        days = [iso_date(values["resolution_date"], "resolution_date")]
    else:
        return [filled(values)]
    rest = {key: value for key, value in values.items() if key != "resolution_dates"}
    result = []
    for day in days:
        copy = {**rest, "resolution_date": day}
        copy.setdefault("close_date", day)
        if "id" in values:
            copy["id"] = f"{values['id']}@{day}"
            copy.setdefault("cluster", str(values["id"]))
        result.append(filled(copy))
    return result
