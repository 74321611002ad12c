"""Judge the entries of the model tables and turn each into a ``ModelSpec``."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from preflight.model_folders import existing, file_problem, folder_problem, is_local
from preflight.rules import BOOL, TEXT, WINDOW, ConfigError, Keys, Rule, hint, shown


@dataclass(frozen=True)
class ModelSpec:
    """One model of the ensemble.

    Args:
        name: how it is called in tables and in the database.
        path: Hugging Face id, local folder or ``s3://bucket/prefix``.
        chat_template_kwargs: passed to the chat template, such as ``{"enable_thinking": False}``.
        answer_prefix: text put after the template's generation prompt, before the number.
        max_model_len: tokens; overrides ``VLLM_CONFIG["max_model_len"]``.
        trust_remote_code: run Python code that the model repository ships. Off unless set here.
    """

    name: str
    path: str
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    answer_prefix: str = ""
    max_model_len: int | None = None
    trust_remote_code: bool = False


# As the hub's library judges it (huggingface_hub, validate_repo_id).
HUGGING_FACE_ID: Final = re.compile(r"(?!.*(?:--|\.\.))(?!.*\.git\Z)\b[\w.-]+\b/\b[\w.-]{1,96}\b")
S3_ADDRESS: Final = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/\S+")
SPEC_KEYS: Final = Keys(
    {
        "path": TEXT,
        "chat_template_kwargs": Rule(
            lambda v: isinstance(v, dict) and all(isinstance(key, str) for key in v),
            "a dictionary with texts as keys",
            "write {} for none",
        ),
        "answer_prefix": Rule(
            lambda v: isinstance(v, str) and not v.endswith(" "),
            "a text that does not end in a space",
            "drop the space",
        ),
        "max_model_len": WINDOW,
        "trust_remote_code": BOOL,
    }
)


def model_spec(
    name: str, table: Mapping[str, Any], setting: str = "FORECAST_MODEL_PATHS_VLLM"
) -> ModelSpec:
    """Return the model behind a configured name, or behind a path given in its place.

    A path is a Hugging Face id, a folder or an ``s3://`` address. A ``table`` that is no mapping
    counts as empty; ``setting`` is its name in messages.

    Raises:
        ConfigError: neither a configured name nor something that looks like a model path.
    """
    entries = table if isinstance(table, Mapping) else {}
    if name in entries:
        entry = entries[name]
        if problems := list(model_problems(setting, {name: entry})):
            raise ConfigError(problems)
        return ModelSpec(name, entry) if isinstance(entry, str) else ModelSpec(name, **entry)
    if not (is_local(name) or HUGGING_FACE_ID.fullmatch(name) or name.startswith("s3://")):
        known = [key for key in entries if isinstance(key, str)]
        near = hint(name, known)
        raise ConfigError([f"unknown model {name!r}; configured: {', '.join(known)}{near}"])
    if problems := list(model_problems("--models", {name: name})):
        raise ConfigError(problems)
    # A folder or an address is named by its last part: the tables stay readable.
    return ModelSpec(name=name.rstrip("/").rsplit("/", 1)[-1], path=name)


def model_problems(
    setting: str, entries: Mapping[Any, Any], load_format: str | None = None
) -> Iterator[str]:
    """Describe every problem of a model table, one line each.

    ``setting`` is its name in messages; ``load_format`` that of ``VLLM_CONFIG`` where it counts.
    """
    for name, entry in entries.items():
        label = f"{setting}[{shown(name)}]"
        path = entry
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            yield f"{label} has a key that is no name; allowed: a printable text; correct it"
        if isinstance(entry, Mapping):
            yield from SPEC_KEYS.problems(label, entry, {})
            path = entry.get("path")
            # A misspelt key ("pth") is named with the right one: that is the line to act on.
            meant = any("'path'" in hint(str(key), SPEC_KEYS.rules) for key in entry)
            if "path" not in entry and not meant:
                yield (
                    f"{label} has no 'path'; allowed: a Hugging Face id, a folder or"
                    " s3://bucket/prefix; add it"
                )
        elif not isinstance(entry, str) or not entry.strip():
            yield (
                f"{label} is {shown(entry)}; allowed: a path or a mapping with the keys"
                f" {', '.join(SPEC_KEYS.rules)}; write one"
            )
        if isinstance(path, str) and path.strip():
            yield from _path_problems(label, path, load_format)


def _path_problems(label: str, path: str, load_format: str | None) -> Iterator[str]:
    start = f"{label} is {shown(path)}"
    if path.startswith("s3://"):
        if not S3_ADDRESS.fullmatch(path):
            yield (
                f"{start}; allowed: s3://bucket/prefix with a valid bucket name;"
                " correct the address"
            )
        if load_format not in (None, "runai_streamer"):
            yield (
                f"{start} but VLLM_CONFIG['load_format'] is {shown(load_format)};"
                " allowed: 'runai_streamer' for s3:// models; set it"
            )
        yield from package_problems(start, "runai_model_streamer_s3", "boto3")
    elif is_local(path):
        found = existing(path)
        if found is None:
            yield (
                f"{start}; allowed: a model folder that exists; there is no folder of that name;"
                " correct it"
            )
        elif problem := folder_problem(found) if found.is_dir() else file_problem(found):
            yield f"{start}; allowed: a model folder; this one {problem}"
    elif not HUGGING_FACE_ID.fullmatch(path):
        yield (
            f"{start}; allowed: a Hugging Face id (owner/name), an existing folder or"
            " s3://bucket/prefix; correct it"
        )


def package_problems(setting: str, *modules: str) -> Iterator[str]:
    """Name a missing part of the Run:ai streamer that a setting needs."""
    if missing := [name for name in modules if importlib.util.find_spec(name) is None]:
        yield (
            f"{setting} but the package {missing[0].replace('_', '-')} is missing; allowed: only"
            " with it; pip install 'runai-model-streamer[s3]'"
        )
