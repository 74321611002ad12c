"""Define the rules behind the values of config.py.

    LOGIC_SAMPLES: Annotated[int, at_least(1)] = 3

A problem is one line: the setting, its value, what is allowed, what to do.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final, Protocol, TypeGuard

from preflight.model_folders import folder_of, is_local
from terminal.redaction import REDACTED, redact
from terminal.web_addresses import web_address


class ConfigError(Exception):
    """One or more settings are wrong; ``problems`` has one line for each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


# User and password of an address, also with spaces, which no address has.
_CREDENTIALS = re.compile(r"\A\s*([a-z][a-z0-9+.-]{1,20}://).*@", re.IGNORECASE | re.DOTALL)


def hint(word: str, allowed: Iterable[str]) -> str:
    """Return the nearest allowed word as the end of a message, "" where none is near."""
    close = difflib.get_close_matches(word, list(allowed), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def shown(value: Any) -> str:
    """Show a value in a message: on one line, without secrets, not too long."""
    if isinstance(value, str):
        value = _CREDENTIALS.sub(r"\1***@", value)
    try:
        text = redact(repr(value))
    except (ValueError, RecursionError):  # Python writes no whole number of more than 4300 digits
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= 200 else f"{text[:200]}…"


def is_int(value: Any) -> TypeGuard[int]:
    """Return whether a value is a whole number; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> TypeGuard[float]:
    """Return whether a value is a finite number; True and False are none."""
    try:
        return (is_int(value) or isinstance(value, float)) and math.isfinite(value)
    except OverflowError:
        return False  # a whole number beyond every float


# --- kinds of rules -------------------------------------------------------------------------------


class Judge(Protocol):
    """A rule written behind a setting's type in config.py."""

    def problems(self, name: str, value: Any, settings: Mapping[str, Any]) -> Iterator[str]:
        """Describe what is wrong with a value; ``settings`` are all values, by name."""
        ...


@dataclass(frozen=True)
class Rule:
    """Say what one value may be: a test, the same in words, and a remedy."""

    check: Callable[[Any], bool]
    allowed: str
    advice: str
    # All of them, where they are few.
    values: tuple[Any, ...] = ()
    # Whether a wrong value may be a secret, which no message shows.
    secret: bool = False

    def problems(self, name: str, value: Any, settings: Mapping[str, Any]) -> Iterator[str]:
        """Describe a value that fails the test."""
        if not self.check(value):
            given = REDACTED if self.secret else shown(value)
            yield f"{name} is {given}; allowed: {self.allowed}; {self.advice}"


@dataclass(frozen=True)
class Limit:
    """Limit a whole number by another setting: "at most" its value, or "less than" it."""

    words: str
    other: str
    advice: str

    def problems(self, name: str, value: Any, settings: Mapping[str, Any]) -> Iterator[str]:
        """Describe a value beyond the limit; a wrong limit has its own line."""
        limit = settings.get(self.other)
        if not is_int(value) or not is_int(limit) or limit <= 0:
            return
        if value > limit or (value == limit and self.words == "less than"):
            allowed = f"{self.words} {self.other} ({shown(limit)})"
            yield f"{name} is {shown(value)}; allowed: {allowed}; {self.advice}"


@dataclass(frozen=True)
class KeyOf:
    """Require a key of another setting, a table."""

    table: str

    def problems(self, name: str, value: Any, settings: Mapping[str, Any]) -> Iterator[str]:
        """Describe a value that is no key; a wrong table has its own line."""
        table = settings.get(self.table)
        if not isinstance(table, Mapping) or not table:
            return
        known = [key for key in table if isinstance(key, str) and key.isprintable()]
        if value not in known:
            near = hint(value, known) if isinstance(value, str) else ""
            allowed = f"a key of {self.table} ({', '.join(known)[:1000]})"
            yield f"{name} is {shown(value)}; allowed: {allowed}; choose one{near}"


@dataclass(frozen=True)
class Keys:
    """Require a dictionary with some of these keys, each with a rule of its own."""

    rules: Mapping[str, Rule]
    defaults: str = "the defaults"  # what an empty dictionary means

    def problems(self, name: str, value: Any, settings: Mapping[str, Any]) -> Iterator[str]:
        """Describe wrong values, and keys that no rule knows."""
        if not isinstance(value, Mapping):
            advice = f"write {{}} for {self.defaults}"
            yield f"{name} is {shown(value)}; allowed: a dictionary; {advice}"
            return
        for key, item in value.items():
            if key in self.rules:
                yield from self.rules[key].problems(f"{name}[{key!r}]", item, settings)
            else:
                near = hint(key, self.rules) if isinstance(key, str) else ""
                known = ", ".join(self.rules)
                yield f"{name} has the unknown key {shown(key)}; allowed: {known}{near}"


def rules_of(config: ModuleType) -> dict[str, tuple[Judge, ...]]:
    """Return the rules of each setting, by name, from the annotations of config.py."""
    annotations = config.__annotations__.items()
    return {name: a.__metadata__ for name, a in annotations if hasattr(a, "__metadata__")}


# --- the vocabulary of config.py ------------------------------------------------------------------


def number(
    least: float, most: float | None, allowed: str, advice: str, *, none: bool = False
) -> Rule:
    """Numbers from ``least`` to ``most``, and None where ``none`` allows it."""
    top = math.inf if most is None else most
    return Rule(
        lambda v: (none and v is None) or (is_number(v) and least <= v <= top), allowed, advice
    )


def at_least(least: int, most: int | None = None, advice: str = "set it to such a number") -> Rule:
    """Whole numbers from ``least`` on, or up to ``most``."""
    words = f", {least} or more" if most is None else f" from {least} to {most}"
    return Rule(
        lambda v: is_int(v) and least <= v and (most is None or v <= most),
        f"a whole number{words}",
        advice,
    )


def share(advice: str = "give a share, not a percentage", *, zero: bool = True) -> Rule:
    """Numbers from 0 to 1, without 0 itself unless ``zero``."""
    words = "a number from 0 to 1" if zero else "a number above 0, at most 1"
    return Rule(lambda v: is_number(v) and 0 <= v <= 1 and (zero or v > 0), words, advice)


def one_of(*values: Any) -> Rule:
    """One of the values, of the same type."""
    return Rule(
        lambda v: any(v is x or (type(v) is type(x) and v == x) for x in values),
        f"one of {', '.join(map(repr, values))}",
        "choose one of them",
        values,
    )


def keys(**rules: Rule) -> Keys:
    """A dictionary with some of these keys, arguments of vLLM."""
    return Keys(rules, "vLLM's defaults")


def _is_api_address(value: Any) -> bool:
    try:
        return value == "" or bool(web_address(value) and re.fullmatch(r"[^?#]+/api\.php", value))
    except (TypeError, ValueError):
        return False


ANY_TEXT: Final = Rule(
    lambda v: isinstance(v, str), 'a Hugging Face id, a folder or ""', "write it in quotes"
)
TEXT: Final = Rule(
    lambda v: isinstance(v, str) and bool(v.strip()),
    "a text that is not empty",
    "write it in quotes",
)
POSITIVE: Final = Rule(
    lambda v: is_number(v) and v > 0, "a number above 0", "set it to such a number"
)
WEIGHT: Final = number(
    0, None, "a number, 0 or more, or None", "None is usual, 0 leaves it out", none=True
)
BOOL: Final = Rule(
    lambda v: isinstance(v, bool), "True or False", "write one of them, without quotes"
)
DICTIONARY: Final = Rule(lambda v: isinstance(v, dict), "a dictionary", "write {} for none")
MODELS: Final = Rule(
    lambda v: isinstance(v, Mapping) and bool(v), "a dictionary with at least one model", "add one"
)
# What is written like a folder must be one; a Hugging Face id is not looked up. A value that is no
# text, or an empty one, is judged by the rule before.
MODEL_PATH: Final = Rule(
    lambda v: (
        not isinstance(v, str)
        or not v.strip()
        or not (is_local(v) or v.count("/") > 1)
        or folder_of(v) is not None
    ),
    "a Hugging Face id or a folder that exists",
    "there is no folder of that name; correct the path",
)
LOAD_FORMAT: Final = one_of(
    "auto", "safetensors", "runai_streamer", "runai_streamer_sharded", "dummy", "sharded_state"
)
DTYPE: Final = one_of("auto", "float32", "bfloat16", "float16", "half", "float")
WINDOW: Final = Rule(
    lambda v: v is None or (is_int(v) and v >= 256),
    "tokens, 256 or more, or None",
    "None takes the model's own",
)
# vLLM's attention kernels on GPUs take multiples of 16 (get_supported_kernel_block_sizes).
BLOCK_SIZE: Final = Rule(
    lambda v: v is None or (is_int(v) and v >= 16 and v & (v - 1) == 0),
    "a power of two, 16 or more, or None",
    "16 suits GPUs and CPUs",
)
API_ADDRESS: Final = Rule(
    _is_api_address,
    'the address of an api.php, or "" for none',
    "https://en.wikipedia.org/w/api.php is Wikipedia's; in a password write @ as %40 and / as %2F",
)
CONTACT: Final = Rule(
    lambda v: isinstance(v, str) and v.isprintable() and v.isascii(),
    'a mail address or a page in plain ASCII, or ""',
    "give your own, Wikimedia asks for it",
)
RISING_DAYS: Final = Rule(
    lambda v: (
        isinstance(v, tuple | list)
        and all(map(is_int, v))
        and list(v) == sorted({days for days in v if days > 0})
    ),
    "rising whole numbers of days",
    "(7, 30, 90, 365) is usual",
)
