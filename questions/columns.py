"""Name the columns of input files.

Headings and JSON keys are compared in Unicode's composed form (NFC), without case, spaces, ``_``
and ``-``.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from questions.cells import InputError, is_blank, listed, shortened
from questions.characters import nfc

# Our name of a column, and what platforms and people call it.
SYNONYMS: Final[Mapping[str, tuple[str, ...]]] = {
    "question": ("question", "text", "title", "question_title", "question_text"),
    "id": ("id", "question_id", "task_id"),
    "background": ("background", "description", "text_description", "context", "background_info"),
    "resolution_criteria": (
        "resolution_criteria", "criteria", "resolution_criterion", "resolution_rules",
    ),
    "close_date": (
        "close_date", "close_time", "closes_at", "closing_date", "close_datetime", "end_date",
        "ends_at", "scheduled_close_time", "scheduled_close_date", "market_info_close_datetime",
        "predict_by", "deadline",
    ),
    "as_of": ("as_of",),
    "outcome": ("outcome", "resolution", "resolved_to"),
    "resolution_date": (
        "resolution_date", "resolved_at", "resolution_time", "resolve_time", "resolve_date",
        "resolved_date", "resolution_known_time", "actual_resolve_time", "date_resolved",
        "resolved_time",
    ),
    "market_probability": (
        "market_probability", "market_price", "market_prob", "market_implied_probability",
        "implied_probability", "current_probability", "community_prediction",
        "community_probability", "community_median", "crowd_probability", "crowd_forecast",
    ),
    "market_date": (
        "market_date", "market_probability_date", "market_probability_as_of", "market_price_date",
        "market_time", "market_datetime", "price_date", "price_time", "price_as_of",
        "probability_date", "community_prediction_date", "crowd_date",
    ),
    "fine_print": ("fine_print",),
    "question_type": ("question_type", "outcome_type", "qtype"),
}  # fmt: skip
# Columns with somebody else's probability of yes, 0-1, beside the market's.
PROBABILITIES: Final = (
    "crowd", "baseline_crowd", "crowd_at_due", "superforecaster_median", "public_median",
)  # fmt: skip
# What else is used, or known and kept without being used.
KNOWN: Final = (
    *PROBABILITIES,
    "cluster", "reference_class", "source", "source_type", "negation", "paraphrases",
    "forecast_due_date", "freeze_date", "freeze_datetime", "freeze_datetime_value",
    "freeze_datetime_value_explanation", "source_intro", "resolution_dates", "resolved",
    "direction", "market_info_open_datetime",
    "market_info_resolution_criteria", "question_set", "combination_of", "url", "question_url",
    "split", "sibling_in_other_split", "date", "type", "market_type", "outcomes", "options",
    "choices", "answers", "status", "state",
    "post_id", "open_time", "created_at", "published_at", "created_time", "actual_close_time",
    "scheduled_resolve_time", "is_resolved", "possibilities", "tags", "category", "categories",
    "slug",
)  # fmt: skip
# Days that are kept beside a question; as_of and close_date are its own.
DAYS: Final = ("forecast_due_date", "freeze_date", "resolution_date")
# Set by this program on the questions it derives; a file cannot give them.
RESERVED: Final = ("coherence_of", "coherence_kind")

# How many unknown headings get a nearest name in a message.
COMPARED: Final = 50
# No row or header of a real file has as many columns, keys of JSON among them.
MAX_COLUMNS: Final = 1000


@dataclass(frozen=True)
class Row:
    """One row: where it begins in its file, for messages, and its values by heading.

    ``platform`` is "" for a row that is read by its headings alone.
    """

    place: str
    values: Mapping[str, Any]
    platform: str = ""

    @property
    def is_blank(self) -> bool:
        """Whether no cell holds anything."""
        return all(map(is_blank, self.values.values()))


@dataclass(frozen=True)
class Table:
    """The rows of a file in order, those left out (in words), and notes for the user.

    ``head`` has the values beside the list of rows in a .json file. ``headings`` are those of a
    .csv or .tsv file, None for the other kinds.
    """

    rows: list[Row]
    head: Mapping[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    headings: list[str] | None = None
    left_out: list[str] = field(default_factory=list)


def folded_heading(heading: str) -> str:
    """Fold a heading or key for comparison; invisible characters are ignored."""
    kept = (
        c
        for c in nfc(heading)
        if not c.isspace() and c not in "_-" and unicodedata.category(c) != "Cf"
    )
    return "".join(kept).casefold()


_OURS: Final[Mapping[str, str]] = {
    **{folded_heading(name): name for name in KNOWN},
    **{folded_heading(name): ours for ours, names in SYNONYMS.items() for name in names},
}
_SPELLINGS: Final[Mapping[str, str]] = {
    folded_heading(name): name for names in (KNOWN, *SYNONYMS.values()) for name in names
}


def our_name(heading: str) -> str | None:
    """Return this program's name of a column, None for an unknown one."""
    return _OURS.get(folded_heading(heading))


def unused_line(headings: Iterable[str]) -> str | None:
    """Name the columns that are not used in one line; None when all are known."""
    unknown = list(dict.fromkeys(h for h in headings if our_name(h) is None))
    # Those that are close to a known name first: the list may be cut.
    names = sorted(with_guesses(unknown), key=lambda name: "did you mean" not in name)
    return f"columns that are not used: {listed(names)}" if unknown else None


def with_guesses(headings: Iterable[str]) -> list[str]:
    """Quote headings for a message, an unknown one with the nearest known name."""
    names = []
    for number, heading in enumerate(headings):
        names.append(shortened(heading))
        if our_name(heading) is None and number < COMPARED:
            folded = folded_heading(heading)
            close = difflib.get_close_matches(folded, _SPELLINGS, n=1, cutoff=0.8)
            names[-1] += f" (did you mean {_SPELLINGS[close[0]]}?)" if close else ""
    return names


def named_alike(first: str, second: str) -> str:
    """Say in a message that two headings or keys mean one column."""
    also = "" if first == second else f" ({shortened(first)} and {shortened(second)})"
    return f"two columns are named {our_name(first) or shortened(first)}{also}; leave one out"


def judge_count(columns: int) -> None:
    """Refuse too many columns: their cells are copied for each date and row."""
    if columns > MAX_COLUMNS:
        raise InputError(f"{columns} columns, at most {MAX_COLUMNS} are allowed; leave some out")
