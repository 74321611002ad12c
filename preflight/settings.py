"""The settings module, imported with care, and the judgement of everything in it.

    from preflight.settings import config

A config.py that cannot be imported, lacks a setting or has a misspelt one ends the program here,
with one line for each problem and exit code 2, before anything is started. Programs import this
module first; the others may then import ``config`` as it is.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from logger import show
from preflight.defaults import DEFAULTS
from preflight.model_entries import folder_of, is_local, model_problems, package_problems
from preflight.rules import (
    LOAD_FORMATS,
    LOADER_RULES,
    SETTING_RULES,
    VLLM_RULES,
    ConfigError,
    hint,
    is_int,
    judge,
    judge_keys,
    shown,
)
from terminal.text import visible_line

# Tables of rules that stood in config.py before they had modules of their own: no settings.
FORMER_NAMES: Final = frozenset(
    (
        "SETTING_RULES",
        "VLLM_RULES",
        "STREAMER_RULES",
        "SHARDED_RULES",
        "LOADER_RULES",
        "LOADER_KEYS",
        "SPEC_RULES",
        "SPEC_KEYS",
        "LOAD_FORMATS",
        "DTYPES",
        "POOLS",
        "HUGGING_FACE_ID",
        "S3_ADDRESS",
    )
)


# --- names ------------------------------------------------------------------------------------------


def name_problems(values: Mapping[str, Any] | None = None) -> list[str]:
    """Settings that are missing or misspelt in config.py, one line each.

    Args:
        values: everything config.py defines, by name; default: as it is imported.
    """
    values = vars(config) if values is None else values
    problems: list[str] = []
    meant: set[str] = set()
    for name, value in values.items():
        if name in DEFAULTS or name in FORMER_NAMES or name.startswith("_") or not _is_plain(value):
            continue
        if name.upper() in DEFAULTS:
            meant.add(name.upper())
            problems.append(
                f"{name} is no setting of config.py; write it in capitals: {name.upper()}"
            )
        elif name.isupper():
            near = hint(name, DEFAULTS)
            meant.add(near.split("'")[1] if near else "")
            problems.append(
                f"{name} is no setting of config.py; correct or remove it (a name of your own begins"
                f" with an underscore){near}"
            )
    for name, default in DEFAULTS.items():
        if name not in values and name not in meant:
            problems.append(f"{name} is missing in config.py; add {name} = {default!r}")
    return problems


def _is_plain(value: Any) -> bool:
    """Return whether a value may be meant as a setting; modules and classes are not."""
    return value is None or isinstance(
        value, str | bytes | int | float | Mapping | list | tuple | set | PurePath
    )


# --- values -----------------------------------------------------------------------------------------


def _vllm_problems(vllm_config: Any) -> Iterator[str]:
    if not isinstance(vllm_config, Mapping):
        yield f"VLLM_CONFIG is {shown(vllm_config)}; allowed: a dictionary; write {{}} for vLLM's defaults"
        return
    yield from judge_keys("VLLM_CONFIG", vllm_config, VLLM_RULES)
    loader = vllm_config.get("model_loader_extra_config") or {}
    load_format = vllm_config.get("load_format", "auto")
    if not isinstance(load_format, str) or load_format not in LOAD_FORMATS:
        load_format = None  # said already
    if isinstance(loader, Mapping) and loader and load_format in LOADER_RULES:
        yield from judge_keys(
            "VLLM_CONFIG['model_loader_extra_config']", loader, LOADER_RULES[load_format]
        )
    elif isinstance(loader, Mapping) and loader and load_format is not None:
        yield (
            f"VLLM_CONFIG['model_loader_extra_config'] is {shown(loader)} but load_format is {shown(load_format)};"
            " allowed: only with"
            " 'runai_streamer'; write {} or change load_format"
        )
    if load_format in ("runai_streamer", "runai_streamer_sharded"):
        yield from package_problems(
            f"VLLM_CONFIG['load_format'] is {load_format!r}", "runai_model_streamer"
        )
    backend = vllm_config.get("distributed_executor_backend")
    if backend == "ray" and importlib.util.find_spec("ray") is None:
        yield (
            "VLLM_CONFIG['distributed_executor_backend'] is 'ray' but the package ray is missing; allowed: 'mp' on one node;"
            " pip install ray"
        )


def _retrieval_problems(values: Mapping[str, Any]) -> Iterator[str]:
    size, overlap, embedded = (
        values[name] for name in ("PASSAGE_TOKENS", "PASSAGE_OVERLAP_TOKENS", "MAX_EMBEDDING_SIZE")
    )
    if is_int(size) and is_int(overlap) and overlap >= size > 0:
        yield f"PASSAGE_OVERLAP_TOKENS is {overlap!r}; allowed: less than PASSAGE_TOKENS ({size}); a fifth of it is usual"
    if is_int(size) and is_int(embedded) and size > embedded:
        yield (
            f"PASSAGE_TOKENS is {size!r}; allowed: at most MAX_EMBEDDING_SIZE"
            f" ({embedded}); the rest would not be embedded; lower it"
        )
    for name in ("EMBEDDING_MODEL_PATH", "CROSS_ENCODER_MODEL_PATH"):
        path = values[name]
        if not isinstance(path, str) or not path.strip():
            continue
        if (is_local(path) or path.count("/") > 1) and folder_of(path) is None:
            yield (
                f"{name} is {shown(path)}; allowed: a Hugging Face id or a folder that exists; there is no folder of that name;"
                " correct the path"
            )


def config_problems(settings: Mapping[str, Any] | None = None) -> list[str]:
    """Every problem of config.py, one line each; empty when all is well.

    Args:
        settings: values that replace those of config.py, by name.
    """
    given = {**vars(config), **(settings or {})}
    problems = name_problems(given)
    values = {**DEFAULTS, **given}
    vllm_config = values["VLLM_CONFIG"]
    for name, rule in SETTING_RULES.items():
        problems += judge(name, values[name], rule)
    problems += _retrieval_problems(values)
    problems += _vllm_problems(vllm_config)
    load_format = (
        vllm_config.get("load_format", "auto") if isinstance(vllm_config, Mapping) else None
    )
    for setting, default, form in (
        ("FORECAST_MODEL_PATHS_VLLM", "DEFAULT_MODEL_VLLM", load_format),
        ("FORECAST_MODEL_PATHS", "DEFAULT_MODEL", None),
    ):
        problems += _table_problems(values, setting, default, form)
    return problems


def _table_problems(
    values: Mapping[str, Any], setting: str, default: str, load_format: str | None
) -> Iterator[str]:
    """The problems of one model table and of the name of its default model."""
    entries = values[setting]
    if not isinstance(entries, Mapping) or not entries:
        yield f"{setting} is {shown(entries)}; allowed: a dictionary with at least one model; add one"
        return
    yield from model_problems(setting, entries, load_format)
    chosen = values[default]
    keys = [name for name in entries if isinstance(name, str) and name.isprintable()]
    if chosen not in keys:
        yield (
            f"{default} is {shown(chosen)}; allowed: a key of {setting} ({', '.join(keys)[:1000]});"
            f" choose one{hint(chosen, keys) if isinstance(chosen, str) else ''}"
        )


def validate_config(settings: Mapping[str, Any] | None = None) -> None:
    """Judge every setting without importing anything heavy.

    Args:
        settings: values that replace those of config.py, by name; for tests.

    Raises:
        ConfigError: with every problem found, not only the first.
    """
    if problems := config_problems(settings):
        raise ConfigError(problems)


# --- import -----------------------------------------------------------------------------------------


def import_problem(error: BaseException) -> str:
    """One line on a config.py that cannot be imported: line, error, what stands there."""
    if isinstance(error, ModuleNotFoundError) and error.name == "config":
        return "config.py is missing; restore it (git checkout config.py)"
    what = visible_line(f"{type(error).__name__}: {error}")[:300]
    if isinstance(error, SyntaxError):
        text = f": {error.text.strip()[:80]!r}" if error.text and error.text.strip() else ""
        line = f", line {error.lineno}" if error.lineno else ""
        return f"config.py{line}: {error.msg}{text}; correct it"
    lines = [
        f.lineno
        for f in traceback.extract_tb(error.__traceback__)
        if f.filename.endswith("config.py")
    ]
    line = f", line {lines[-1]}" if lines and lines[-1] else ""
    return f"config.py{line}: {what}; correct it"


def refuse(problems: list[str]) -> None:
    """Print the problems of config.py and end the program, if there are any."""
    if problems:
        program = sys.argv[0].rsplit("/", 1)[-1] or "forecaster.py"
        show(*(f"{program}: {problem}" for problem in problems), error=True)
        raise SystemExit(2)


def _imported() -> ModuleType:
    try:
        return importlib.import_module("config")
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever stands in a file that is edited by hand, exit() too
        refuse([import_problem(error)])
        raise


if TYPE_CHECKING:
    import config
else:
    config = _imported()
    refuse(name_problems())
