"""Judge config.py: its names when a program starts, its values before a run."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from types import ModuleType
from typing import Any, Final

from preflight import overrides
from preflight.model_entries import model_problems, package_problems
from preflight.rules import BOOL, LOAD_FORMAT, TEXT, Keys, at_least, hint, rules_of, shown

# What a whole config.py has. Only the names are repeated here, to notice one that is gone.
NAMES: Final = (
    "FORECAST_MODEL_PATHS_VLLM", "OPEN_FORECASTERS", "DEFAULT_MODEL_VLLM", "FORECAST_MODEL_PATHS",
    "DEFAULT_MODEL", "DEFAULT_LOGIC_MODEL_PATH", "LOGIC_SAMPLES", "LOGIC_MAX_TOKENS",
    "LOGIC_TEMPERATURE", "THINK_SAMPLES", "THINK_MAX_TOKENS", "THINK_MIN_TOKENS",
    "THINK_TEMPERATURE", "THINK_TOP_P", "VLLM_CONFIG", "S3_CONNECT_TIMEOUT_SECONDS",
    "S3_READ_TIMEOUT_SECONDS", "S3_MAX_ATTEMPTS",
    "CHECKPOINT_TIMEOUT_SECONDS", "LOAD_STALL_SECONDS", "LOAD_TIMEOUT_SECONDS",
    "SERVER_MAX_ATTEMPTS", "SERVER_MAX_WAIT_SECONDS", "SERVER_READ_TIMEOUT_SECONDS",
    "SERVER_MAX_RESIDUAL",
    "SCORING_TOLERANCE", "MAX_LOGPROB_CACHE", "MIN_CAPTURED_MASS",
    "SCORING_WAVE", "LOGIC_WAVE", "SEED", "POOL_METHOD", "SHOW_MARKET", "MARKET_WEIGHT",
    "SHOW_BASE_RATE", "BASE_RATE_WEIGHT", "SCORING_WORDINGS", "DATABASE_PATH", "PLOTS_DIR",
    "CACHE_DIR",
    "CONTEXT_TOKENS", "EVIDENCE_CHUNKS", "WIKIPEDIA_API_URL", "WIKIPEDIA_CONTACT",
    "WIKIPEDIA_MIN_INTERVAL_SECONDS", "WIKIPEDIA_READ_TIMEOUT_SECONDS",
    "WIKIPEDIA_TOTAL_TIMEOUT_SECONDS", "WIKIPEDIA_MAX_BYTES", "WIKIPEDIA_MAXLAG_SECONDS",
    "WIKIPEDIA_MAX_ATTEMPTS", "WIKIPEDIA_MAX_WAIT_SECONDS", "WIKIPEDIA_OFFLINE_AFTER",
    "WIKIPEDIA_SEARCHES", "WIKIPEDIA_SEARCH_RESULTS", "WIKIPEDIA_ARTICLES", "FRESHNESS_HOURS",
    "PASSAGE_TOKENS", "PASSAGE_OVERLAP_TOKENS",
    "EMBEDDING_MODEL_PATH", "MAX_EMBEDDING_SIZE", "EMBED_ALL_UP_TO_PASSAGES",
    "EMBEDDING_BATCH_SIZE", "EMBEDDING_DEVICE", "CROSS_ENCODER_MODEL_PATH", "RERANK_CANDIDATES",
    "RANKING", "PASSAGES_PER_QUESTION", "PASSAGES_PER_ARTICLE", "MIN_PASSAGE_SIMILARITY",
    "NEAR_DUPLICATE_SHARE",
    "MAX_PLOTTED_QUESTIONS", "MIN_INTERVAL_CLUSTERS", "MIN_INTERVAL_DF", "MIN_CLAIM_QUESTIONS",
    "CALIBRATION_SIMULATIONS", "HORIZON_DAYS", "CALIBRATION_MIN_QUESTIONS",
    "CALIBRATION_MIN_CLUSTERS", "CALIBRATION_MIN_EACH_OUTCOME", "CROSS_VALIDATION_FOLDS",
)  # fmt: skip
RESTORE: Final = "restore it (git checkout config.py) and keep your own values in forecaster.toml"
# What load formats take as model_loader_extra_config; the others take nothing there.
STREAMER_KEYS: Final = Keys(
    {"concurrency": at_least(1), "memory_limit": at_least(-1), "distributed": BOOL}
)
SHARDED_KEYS: Final = Keys({"pattern": TEXT})
LOADER_KEYS: Final = {
    "runai_streamer": STREAMER_KEYS,
    "runai_streamer_sharded": SHARDED_KEYS,
    "sharded_state": SHARDED_KEYS,
}


def load(config: ModuleType, argv: Sequence[str] = ()) -> list[str]:
    """Judge the names of config.py and put settings from outside over its values.

    The ``--database`` of ``argv`` says where forecaster.toml is. Each problem of a name or a file
    is one line; ``config.validate_config()`` judges values.
    """
    return name_problems(config) or overrides.apply(config, argv)


def name_problems(config: ModuleType) -> list[str]:
    """Name the settings that are missing or misspelt in config.py, one line each."""
    rules = rules_of(config)
    if not rules:
        return [f"config.py is of an earlier version, without rules; {RESTORE}"]
    problems: list[str] = []
    meant: set[str] = set()
    for name, value in vars(config).items():
        if name in NAMES or name.startswith("_") or not _is_plain(value):
            continue
        if name.upper() in NAMES:
            meant.add(name.upper())
            problems.append(
                f"{name} is no setting of config.py; write it in capitals: {name.upper()}"
            )
        elif name.isupper():
            near = hint(name, NAMES)
            meant.add(near.split("'")[1] if near else "")
            problems.append(
                f"{name} is no setting of config.py; correct or remove it"
                f" (a name of your own begins with an underscore){near}"
            )
    for name in NAMES:
        if name not in meant and not hasattr(config, name):
            problems.append(f"{name} is missing in config.py; {RESTORE}")
        elif name not in meant and name not in rules:
            problems.append(f"{name} has no rule in config.py; {RESTORE}")
    return problems


def _is_plain(value: Any) -> bool:
    """Return whether a value may be meant as a setting, unlike a module or a rule."""
    plain = str | bytes | int | float | Mapping | list | tuple | set | PurePath
    return value is None or isinstance(value, plain)


def setting_problems(config: ModuleType, settings: Mapping[str, Any] | None = None) -> list[str]:
    """Describe every problem of config.py, one line each; ``settings`` replace values."""
    values = {**vars(config), **(settings or {})}
    problems = name_problems(config)
    for name, rules in rules_of(config).items():
        if name in values:
            for rule in rules:
                problems += rule.problems(name, values[name], values)
    engine = values.get("VLLM_CONFIG")
    load_format = None
    if isinstance(engine, Mapping):
        problems += _engine_problems(engine)
        load_format = engine.get("load_format", "auto")
    for table, form in (
        ("FORECAST_MODEL_PATHS_VLLM", load_format),
        ("OPEN_FORECASTERS", None),
        ("FORECAST_MODEL_PATHS", None),
    ):
        if isinstance(entries := values.get(table), Mapping):
            problems += model_problems(table, entries, form)
    return [overrides.with_origin(problem) for problem in problems]


def _engine_problems(engine: Mapping[Any, Any]) -> Iterator[str]:
    """Describe keys of ``VLLM_CONFIG`` that do not fit each other, or lack a package."""
    loader = engine.get("model_loader_extra_config") or {}
    load_format = engine.get("load_format", "auto")
    if not LOAD_FORMAT.check(load_format):
        return  # the format has a line of its own
    if isinstance(loader, Mapping) and loader:
        name = "VLLM_CONFIG['model_loader_extra_config']"
        if load_format in LOADER_KEYS:
            yield from LOADER_KEYS[load_format].problems(name, loader, {})
        else:
            yield (
                f"{name} is {shown(loader)} but load_format is {shown(load_format)};"
                " allowed: only with 'runai_streamer'; write {} or change load_format"
            )
    if load_format in ("runai_streamer", "runai_streamer_sharded"):
        yield from package_problems(
            f"VLLM_CONFIG['load_format'] is {load_format!r}", "runai_model_streamer"
        )
    backend = engine.get("distributed_executor_backend")
    if backend == "ray" and importlib.util.find_spec("ray") is None:
        yield (
            "VLLM_CONFIG['distributed_executor_backend'] is 'ray' but the package ray is missing;"
            " allowed: 'mp' on one node; pip install ray"
        )
