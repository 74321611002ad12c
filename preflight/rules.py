"""Define what each setting of config.py may be, and name wrong values in a line.

A problem is one line: the setting, its value, what is allowed, what to do. Only the standard library
and modules that need no more are imported, so that a wrong setting is reported before torch or vLLM are touched.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from logger import redact
from terminal.web_addresses import web_address


class ConfigError(Exception):
    """One or more settings are wrong; ``problems`` has one line for each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


LOAD_FORMATS: Final = (
    "auto",
    "safetensors",
    "runai_streamer",
    "runai_streamer_sharded",
    "dummy",
    "sharded_state",
)
DTYPES: Final = ("auto", "float32", "bfloat16", "float16", "half", "float")
POOLS: Final = ("mean", "entropy", "median", "geometric", "extremised")


def hint(word: str, allowed: Iterable[str]) -> str:
    """The nearest allowed word as the end of a message; empty when none is near."""
    close = difflib.get_close_matches(word, list(allowed), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def is_int(value: Any) -> bool:
    """Whether a value is a whole number; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number; True and False are none."""
    try:
        return (
            isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        )
    except OverflowError:
        return False  # a whole number beyond every float


def shown(value: Any) -> str:
    """Show a value in a message: on one line, without secrets, not too long."""
    try:
        text = redact(repr(value))
    except (ValueError, RecursionError):  # Python writes no whole number of more than 4300 digits
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= 200 else f"{text[:200]}…"


@dataclass(frozen=True)
class Rule:
    """Say what one setting may be: a test, the same in words, and a remedy."""

    check: Callable[[Any], bool]
    allowed: str
    advice: str


def at_least(minimum: int) -> Rule:
    """Whole numbers from ``minimum`` on."""
    return Rule(
        lambda v: is_int(v) and v >= minimum,
        f"a whole number, {minimum} or more",
        "set it to such a number",
    )


def one_of(*values: Any) -> Rule:
    """One of the values, of the same type."""
    words = ", ".join(map(repr, values))
    return Rule(
        lambda v: any(v is x or (type(v) is type(x) and v == x) for x in values),
        f"one of {words}",
        "choose one of them",
    )


def is_address(value: Any) -> bool:
    """Return whether a value is an http address; it may hold user and password."""
    try:
        return isinstance(value, str) and bool(web_address(value))
    except ValueError:
        return False


def share(*, above: float = 0.0) -> Rule:
    """Numbers from 0 to 1."""
    return Rule(
        lambda v: is_number(v) and above <= v <= 1 and (v > 0 or above <= 0),
        "a number from 0 to 1",
        "give a share, not a percentage",
    )


TEXT = Rule(
    lambda v: isinstance(v, str) and bool(v.strip()),
    "a text that is not empty",
    "write it in quotes",
)
POSITIVE = Rule(lambda v: is_number(v) and v > 0, "a number above 0", "set it to such a number")
BOOL = Rule(lambda v: isinstance(v, bool), "True or False", "write one of them, without quotes")

SETTING_RULES: Final[dict[str, Rule]] = {
    "SCORING_TOLERANCE": share(),
    "SCORING_BLOCK_BUDGET": at_least(1),
    "MAX_LOGPROB_CACHE": at_least(102),
    "MIN_CAPTURED_MASS": share(),
    "SCORING_WAVE": at_least(1),
    "LOGIC_WAVE": at_least(1),
    "SEED": at_least(0),
    "POOL_METHOD": one_of(*POOLS),
    "DATABASE_PATH": TEXT,
    "PLOTS_DIR": TEXT,
    "CACHE_DIR": TEXT,
    "CONTEXT_TOKENS": at_least(0),
    "EVIDENCE_CHUNKS": at_least(1),
    "DEFAULT_LOGIC_MODEL_PATH": TEXT,
    "LOGIC_SAMPLES": at_least(1),
    "LOGIC_MAX_TOKENS": at_least(16),
    "LOGIC_TEMPERATURE": Rule(
        lambda value: is_number(value) and 0 <= value <= 2,
        "a number from 0 to 2",
        "0.7 is a usual value",
    ),
    # Analysis
    "MAX_PLOTTED_QUESTIONS": at_least(1),
    "MIN_INTERVAL_CLUSTERS": at_least(2),
    "MIN_INTERVAL_DF": Rule(
        lambda v: is_number(v) and v >= 1, "a number, 1 or more", "12 is usual"
    ),
    "MIN_CLAIM_QUESTIONS": at_least(1),
    "CALIBRATION_SIMULATIONS": at_least(100),
    "HORIZON_DAYS": Rule(
        lambda v: (
            isinstance(v, tuple | list)
            and all(map(is_int, v))
            and list(v) == sorted({d for d in v if d > 0})
        ),
        "rising whole numbers of days",
        "(7, 30, 90, 365) is usual",
    ),
    "CALIBRATION_MIN_QUESTIONS": at_least(10),
    "CALIBRATION_MIN_CLUSTERS": at_least(2),
    "CALIBRATION_MIN_EACH_OUTCOME": at_least(1),
    "CROSS_VALIDATION_FOLDS": at_least(2),
    # Checkpoints and loading
    "S3_CONNECT_TIMEOUT_SECONDS": POSITIVE,
    "S3_READ_TIMEOUT_SECONDS": POSITIVE,
    "S3_MAX_ATTEMPTS": at_least(1),
    "CHECKPOINT_TIMEOUT_SECONDS": POSITIVE,
    "LOAD_STALL_SECONDS": POSITIVE,
    "LOAD_TIMEOUT_SECONDS": POSITIVE,
    # Retrieval
    "WIKIPEDIA_API_URL": Rule(
        lambda v: v == "" or (is_address(v) and re.fullmatch(r"[^?#]+/api\.php", v) is not None),
        'the address of an api.php, or "" for none',
        "https://en.wikipedia.org/w/api.php is Wikipedia's; in a password write @ as %40 and / as %2F",
    ),
    "WIKIPEDIA_CONTACT": Rule(
        lambda v: isinstance(v, str) and v.isprintable() and v.isascii(),
        'a mail address or a page in plain ASCII, or ""',
        "give your own, Wikimedia asks for it",
    ),
    "WIKIPEDIA_MIN_INTERVAL_SECONDS": Rule(
        lambda v: v is None or (is_number(v) and v >= 0),
        "seconds, 0 or more, or None",
        "None follows Wikimedia's limits",
    ),
    "WIKIPEDIA_READ_TIMEOUT_SECONDS": POSITIVE,
    "WIKIPEDIA_TOTAL_TIMEOUT_SECONDS": POSITIVE,
    "WIKIPEDIA_MAX_BYTES": at_least(10_000),
    "WIKIPEDIA_MAXLAG_SECONDS": at_least(1),
    "WIKIPEDIA_MAX_ATTEMPTS": at_least(1),
    "WIKIPEDIA_MAX_WAIT_SECONDS": POSITIVE,
    "WIKIPEDIA_OFFLINE_AFTER": at_least(1),
    "WIKIPEDIA_SEARCHES": at_least(1),
    "WIKIPEDIA_SEARCH_RESULTS": Rule(
        lambda v: is_int(v) and 1 <= v <= 50, "a whole number from 1 to 50", "6 is usual"
    ),
    "WIKIPEDIA_ARTICLES": at_least(1),
    "FRESHNESS_HOURS": Rule(
        lambda v: is_number(v) and v >= 0, "hours, 0 or more", "0 asks the wiki every time"
    ),
    "TOP_ARTICLES": Rule(
        lambda v: is_int(v) and 0 <= v <= 1000, "a whole number from 0 to 1000", "0 switches it off"
    ),
    "PAGEVIEWS_API_URL": Rule(
        is_address,
        "an http address",
        "https://wikimedia.org/api/rest_v1 is Wikimedia's",
    ),
    "PASSAGE_TOKENS": at_least(20),
    "PASSAGE_OVERLAP_TOKENS": at_least(0),
    "EMBEDDING_MODEL_PATH": TEXT,
    "MAX_EMBEDDING_SIZE": at_least(16),
    "EMBED_ALL_UP_TO_PASSAGES": at_least(0),
    "EMBEDDING_BATCH_SIZE": at_least(1),
    "EMBEDDING_DEVICE": TEXT,
    "CROSS_ENCODER_MODEL_PATH": Rule(
        lambda v: isinstance(v, str), 'a Hugging Face id, a folder or ""', "write it in quotes"
    ),
    "RERANK_CANDIDATES": at_least(1),
    "RANKING": one_of("embedding", "bm25", "hybrid"),
    "PASSAGES_PER_QUESTION": at_least(1),
    "PASSAGES_PER_ARTICLE": at_least(1),
    "NEAR_DUPLICATE_SHARE": Rule(
        lambda v: is_number(v) and 0 < v <= 1, "a number above 0, at most 1", "0.6 is usual"
    ),
}

VLLM_RULES: Final[dict[str, Rule]] = {
    "tensor_parallel_size": at_least(1),
    "pipeline_parallel_size": at_least(1),
    "distributed_executor_backend": one_of(None, "mp", "ray"),
    "gpu_memory_utilization": Rule(
        lambda v: is_number(v) and 0 < v <= 1,
        "a number above 0, at most 1",
        "0.90 suits a GPU used by nothing else",
    ),
    "swap_space_gb": Rule(lambda v: is_number(v) and v >= 0, "GiB, 0 or more", "0 switches it off"),
    "max_model_len": Rule(
        lambda v: v is None or (is_int(v) and v >= 256),
        "tokens, 256 or more, or None",
        "None takes the model's own",
    ),
    "load_format": one_of(*LOAD_FORMATS),
    "model_loader_extra_config": Rule(
        lambda v: isinstance(v, dict), "a dictionary", "write {} for none"
    ),
    "dtype": one_of(*DTYPES),
    "block_size": Rule(
        # vLLM's attention kernels on GPUs take multiples of 16 (v1/attention/backends, get_supported_kernel_block_sizes).
        lambda v: v is None or (is_int(v) and v >= 16 and v & (v - 1) == 0),
        "a power of two, 16 or more, or None",
        "16 suits GPUs and CPUs",
    ),
    "enforce_eager": BOOL,
}

# What each load format takes as model_loader_extra_config; the others take nothing here.
STREAMER_RULES: Final[dict[str, Rule]] = {
    "concurrency": at_least(1),
    "memory_limit": at_least(-1),
    "distributed": BOOL,
}
SHARDED_RULES: Final[dict[str, Rule]] = {"pattern": TEXT}
LOADER_RULES: Final[dict[str, dict[str, Rule]]] = {
    "runai_streamer": STREAMER_RULES,
    "runai_streamer_sharded": SHARDED_RULES,
    "sharded_state": SHARDED_RULES,
}


def judge(name: str, value: Any, rule: Rule) -> Iterator[str]:
    """The problem of one value, if any."""
    if not rule.check(value):
        yield f"{name} is {shown(value)}; allowed: {rule.allowed}; {rule.advice}"


def judge_keys(name: str, values: Mapping[Any, Any], rules: Mapping[str, Rule]) -> Iterator[str]:
    """The problems of a mapping: wrong values, and keys that no rule knows."""
    for key, value in values.items():
        if key in rules:
            yield from judge(f"{name}[{key!r}]", value, rules[key])
        else:
            known = f"{', '.join(rules)}{hint(key, rules) if isinstance(key, str) else ''}"
            yield f"{name} has the unknown key {shown(key)}; allowed: {known}"
