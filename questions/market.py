"""Read the market price of a question, whose unit and day are checked.

A price that cannot be used costs one line, never the forecast. A row states its price as
``market_probability`` with ``market_date``; ForecastBench's freeze value is one too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from questions.cells import (
    InputError,
    counted,
    from_milliseconds,
    iso_date,
    json_list,
    listed,
    probability,
    shortened,
)
from questions.checks import parent_id
from questions.columns import Row
from questions.question import Question

# Columns of a price and its day, the first that a question has counts.
PRICES: Final = (("market_probability", "market_date"), ("baseline_crowd", "freeze_date"))
PRICE, PRICE_DAY = PRICES[0]
# How far from 1 the prices of all answers may add up.
PRICES_TOLERANCE: Final = 0.1


@dataclass(frozen=True)
class MarketPrice:
    """A market's or community's probability of yes (0-1), and the ISO day it is of.

    ``day`` is None where the file names none.
    """

    probability: float
    day: str | None


def usable_prices(rows: Sequence[Row]) -> tuple[list[Row], str]:
    """Return rows without the prices that cannot be used, and a line that names those.

    A price is a number from 0 to 1 or a percentage with its sign. Where no fewer numbers of a file
    are above 1 than between 0 and 1, the file is in percent without the sign, and no number of it
    can be trusted: 0.5 may be a half or half a percent, 1 may be certain or one percent.
    """
    # A decimal comma is refused below, but says what the others are written in.
    cells = (str(row.values.get(PRICE)).replace(",", ".", 1) for row in rows)
    numbers = [value for cell in cells if (value := _plain(cell)) is not None]
    above = sum(value > 1 for value in numbers)
    percent = above > 0 and above >= sum(0 < value < 1 for value in numbers)
    kept, bad = list[Row](), list[str]()
    for row in rows:
        if PRICE not in row.values:
            kept.append(row)
            continue
        values = dict(row.values)
        try:
            values[PRICE] = _price(values[PRICE], percent=percent)
            day = from_milliseconds(values.pop(PRICE_DAY, None), PRICE_DAY)
            if day := iso_date(day, PRICE_DAY):
                values[PRICE_DAY] = day
        except InputError as error:
            bad.append(f"{row.place}: {error}")
            # A freeze value is both (``freeze_price``).
            if _plain(values.pop(PRICE)) == values.get("baseline_crowd"):
                values.pop("baseline_crowd", None)
        kept.append(replace(row, values=values))
    if not bad:
        return kept, ""
    return kept, f"{counted(len(bad), 'market price')} not used, {listed(bad)}"


def _plain(value: Any) -> float | None:
    """Return the number of a cell without a sign of per cent, None for anything else."""
    with suppress(TypeError, ValueError, OverflowError):
        number = float(value)
        return number if math.isfinite(number) and not isinstance(value, bool) else None
    return None


def _price(value: Any, *, percent: bool) -> Any:
    """Return a price as it is written, a percentage as a number from 0 to 1.

    Raises:
        InputError: it is no price.
    """
    text = str(value).strip()
    number = _plain(text[:-1].strip()) if text.endswith("%") else None
    if number is not None and 0 <= number <= 100:
        return number / 100
    probability(value, PRICE)
    if percent and _plain(value) is not None:
        raise InputError(
            f"{PRICE} is {shortened(value)}, beside others above 1; write 62 % as 0.62 or with its"
            " sign"
        )
    return value


def freeze_price(values: dict[str, Any]) -> None:
    """Give a ForecastBench market its freeze value as price, in place.

    It is also the yardstick ``baseline_crowd`` where it is a probability.
    """
    price = values.get("freeze_datetime_value")
    values.setdefault(PRICE, price)
    if "freeze_date" in values:
        values.setdefault(PRICE_DAY, values["freeze_date"])
    with suppress(InputError):
        values.setdefault("baseline_crowd", probability(price, "freeze_datetime_value"))


def yes_price(names: Any, prices: Any) -> Any:
    """Return the price of "yes" among a market's answers and prices, or None.

    Prices that do not add up to 1 are none: a market that was never traded has 0 and 0.
    """
    names, prices = json_list(names), json_list(prices)
    if not names or not prices or len(names) != len(prices):
        return None
    numbers = [number for price in prices if (number := _plain(price)) is not None]
    if len(numbers) == len(prices) and abs(sum(numbers) - 1) > PRICES_TOLERANCE:
        return None
    by_name = dict(zip([str(n).strip().casefold() for n in names], prices, strict=True))
    return by_name.get("yes")


def community_price(question: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of the community's newest forecast in a Metaculus question."""
    with suppress(AttributeError, KeyError, TypeError, ValueError, OverflowError, OSError):
        newest = question["aggregations"]["recency_weighted"]["latest"]
        day = datetime.fromtimestamp(newest["start_time"], UTC).date().isoformat()
        return {PRICE: newest["centers"][0], PRICE_DAY: day}
    return {}


def stated_price(extra: Mapping[str, Any]) -> MarketPrice | None:
    """Return the first price among a question's further columns, None without one."""
    return next(_stated_prices(extra), None)


def _stated_prices(extra: Mapping[str, Any]) -> Iterator[MarketPrice]:
    for column, day in PRICES:
        with suppress(InputError):
            value = probability(extra.get(column), column)
            if value is not None:
                yield MarketPrice(value, iso_date(extra.get(day), day))


def market_price(question: Question, day: str, *, live: bool) -> MarketPrice | None:
    """Return the first price that a forecast of an ISO day may use, None without one."""
    prices = _stated_prices(question.extra)
    return next((price for price in prices if not _refusal(price, day, live=live)), None)


def _refusal(price: MarketPrice, day: str, *, live: bool) -> str:
    """Say why a forecast of a day may not use a price, "" where it may."""
    if price.day is None:
        return "" if live else "has no date, so it may be later than as_of"
    return "is dated after the day of the forecast" if price.day > day else ""


def price_notes(questions: Iterable[Question], as_of: str | None, today: str) -> list[str]:
    """Name the questions whose price cannot be used, in a line for each reason."""
    refused: dict[str, list[str]] = {}
    for q in questions:
        price = stated_price(q.extra) if parent_id(q.extra) is None else None
        day, live = q.as_of or as_of or today, (q.as_of or as_of) is None
        if price and market_price(q, day, live=live) is None:
            reason = _refusal(price, day, live=live)
            dated = f" ({price.day})" if price.day else ""
            refused.setdefault(reason, []).append(shortened(q.id) + dated)
    return [
        f"{counted(len(names), 'market price')} not used, it {reason}: {listed(names)}"
        for reason, names in refused.items()
    ]
