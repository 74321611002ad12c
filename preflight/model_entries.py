"""Judge the entries of the model tables and turn each into a ``ModelSpec``."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from preflight.model_folders import existing, file_problem, folder_problem, is_local
from preflight.rules import (
    ANY_TEXT,
    BOOL,
    WINDOW,
    ConfigError,
    Keys,
    Rule,
    at_least,
    hint,
    one_of,
    shown,
)
from terminal.web_addresses import web_address


@dataclass(frozen=True)
class ModelSpec:
    """One model of the ensemble.

    Args:
        name: how it is called in tables and in the database.
        path: Hugging Face id, local folder, ``s3://bucket/prefix``, or the addresses of servers
            that serve the model (``http://host:port``), separated by commas.
        chat_template_kwargs: passed to the chat template, such as ``{"enable_thinking": False}``.
        answer_prefix: text put after the template's generation prompt, before the number.
        max_model_len: tokens; overrides ``VLLM_CONFIG["max_model_len"]``.
        think: whether it thinks before it answers; a text means yes, and is the line of the
            system prompt that switches its thinking on.
        trust_remote_code: run Python code that the model repository ships. Off unless set here.
        server: what kind of server is at the addresses, one of ``SERVERS``.
        model: the name the servers know the model by; "" takes the only one they have.
        tokenizer: Hugging Face id or folder of the served model's tokenizer; "" takes ``model``.
        api_key_variable: environment variable with the servers' API key; "" sends none.
        top_tokens: likeliest tokens that a server without chosen token ids is asked for.
    """

    name: str
    path: str
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    answer_prefix: str = ""
    max_model_len: int | None = None
    trust_remote_code: bool = False
    server: str = "vllm"
    model: str = ""
    tokenizer: str = ""
    api_key_variable: str = ""
    top_tokens: int = 100
    think: bool | str = False

    @property
    def addresses(self) -> tuple[str, ...]:
        """The servers' addresses; empty for a model that is loaded here."""
        return tuple(self.path.split(",")) if is_address(self.path) else ()


SERVERS: Final = ("vllm", "sglang", "llama.cpp", "openai", "ollama")
# Keys of an entry that mean nothing where a model is loaded here.
SERVER_KEYS: Final = ("server", "model", "tokenizer", "api_key_variable", "top_tokens")


def is_address(path: str) -> bool:
    """Return whether a model path is the address of a server."""
    return path.lower().startswith(("http://", "https://"))


# As the hub's library judges it (huggingface_hub, validate_repo_id).
HUGGING_FACE_ID: Final = re.compile(r"(?!.*(?:--|\.\.))(?!.*\.git\Z)\b[\w.-]+\b/\b[\w.-]{1,96}\b")
S3_ADDRESS: Final = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/\S+")
SPEC_KEYS: Final = Keys(
    {
        "path": Rule(
            lambda v: (isinstance(v, str) and bool(v.strip())) or _is_addresses(v),
            "a text that is not empty, or a list of servers' addresses",
            "write one",
        ),
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
        "server": one_of(*SERVERS),
        "model": ANY_TEXT,
        "tokenizer": ANY_TEXT,
        "api_key_variable": Rule(
            lambda v: isinstance(v, str) and bool(re.fullmatch(r"[A-Za-z_]\w*", v)),
            "the name of an environment variable",
            "write the name, never the key itself",
            secret=True,
        ),
        "top_tokens": at_least(1, 1000, "100 is usual"),
        "think": Rule(
            lambda v: (
                isinstance(v, bool) or (isinstance(v, str) and bool(v.strip()) and v.isprintable())
            ),
            "True, False, or the line of the system prompt that switches thinking on",
            "write True for a model whose chat template shows how it thinks",
        ),
    }
)
# What the record calls the pool and the numbers made of it: a model of that name would be scored as
# one of them.
TAKEN_NAMES: Final = ("ensemble", "assisted", "final")
# Template arguments that switch thinking off.
OFF: Final = {"enable_thinking": False, "thinking": False, "thinking_budget": 0}


def _is_addresses(value: Any) -> bool:
    texts = isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
    return texts and bool(value) and all(is_address(one) for one in value)


def _entry_spec(name: str, entry: Any) -> ModelSpec:
    """Return the spec of an entry that has no problem."""
    if isinstance(entry, str):
        return ModelSpec(name, entry)
    path = entry["path"]
    joined = path if isinstance(path, str) else ",".join(path)
    return ModelSpec(name, **{**entry, "path": joined})


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
        return _entry_spec(name, entry)
    known_form = is_address(name) or name.startswith("s3://") or HUGGING_FACE_ID.fullmatch(name)
    if not (known_form or is_local(name)):
        known = [key for key in entries if isinstance(key, str)]
        near = hint(name, known)
        raise ConfigError([f"unknown model {name!r}; configured: {', '.join(known)}{near}"])
    if problems := list(model_problems("--models", {name: name})):
        raise ConfigError(problems)
    # A folder or an address is named by its last part: the tables stay readable.
    short = name.rstrip("/").rsplit("/", 1)[-1]
    if short.casefold() in TAKEN_NAMES:
        raise ConfigError([f"--models {_taken(short)}; name it in {setting}"])
    return ModelSpec(name=short, path=name)


def _taken(name: str) -> str:
    names = ", ".join(TAKEN_NAMES)
    return f"names a model {name!r}; allowed: any name but {names}, which are the pool's own"


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
        elif name.casefold() in TAKEN_NAMES:
            yield f"{setting} {_taken(name)}; rename it"
        if isinstance(entry, Mapping):
            yield from SPEC_KEYS.problems(label, entry, {})
            yield from _switched_off(label, entry)
            path = entry.get("path")
            # A misspelt key ("pth") is named with the right one: that is the line to act on.
            meant = any("'path'" in hint(str(key), SPEC_KEYS.rules) for key in entry)
            if "path" not in entry and not meant:
                yield (
                    f"{label} has no 'path'; allowed: a Hugging Face id, a folder,"
                    " s3://bucket/prefix or a server's address; add it"
                )
        elif not isinstance(entry, str) or not entry.strip():
            yield (
                f"{label} is {shown(entry)}; allowed: a path or a mapping with the keys"
                f" {', '.join(SPEC_KEYS.rules)}; write one"
            )
        if isinstance(path, str) and path.strip():
            yield from _path_problems(label, path, load_format)
        yield from _server_problems(label, entry, path)


def _server_problems(label: str, entry: Any, path: Any) -> Iterator[str]:
    """Describe what is wrong with addresses and with keys about servers."""
    for address in path if _is_addresses(path) else ():
        yield from _address_problems(label, address)
    if not isinstance(entry, Mapping):
        return
    if not (_is_addresses(path) or (isinstance(path, str) and is_address(path))):
        for key in (key for key in SERVER_KEYS if key in entry):
            yield (
                f"{label} has the key {key!r}; allowed: only where 'path' is a server's"
                " address (http://host:port); drop it"
            )
    if entry.get("think") and entry.get("server", "vllm") != "vllm":
        yield (
            f"{label}['think'] is {shown(entry['think'])} but 'server' is"
            f" {shown(entry['server'])}; allowed: only for a model that is loaded here or"
            " served by vLLM; drop it"
        )


def _switched_off(label: str, entry: Mapping[Any, Any]) -> Iterator[str]:
    """Say that an entry asks a model to think and switches its thinking off."""
    kwargs = entry.get("chat_template_kwargs")
    if not entry.get("think") or not isinstance(kwargs, Mapping):
        return
    for name, value in OFF.items():
        if name in kwargs and kwargs[name] is value:
            yield (
                f"{label}['chat_template_kwargs'][{name!r}] is {value!r} but 'think' is"
                f" {shown(entry['think'])}; allowed: one or the other; remove one of them"
            )


def _path_problems(label: str, path: str, load_format: str | None) -> Iterator[str]:
    start = f"{label} is {shown(path)}"
    if is_address(path):
        for address in path.split(","):
            yield from _address_problems(label, address)
    elif path.startswith("s3://"):
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
            f"{start}; allowed: a Hugging Face id (owner/name), an existing folder,"
            " s3://bucket/prefix or a server's http address; correct it"
        )


def _address_problems(label: str, address: str) -> Iterator[str]:
    start = f"{label} has the address {shown(address)}"
    try:
        parts = web_address(address)
    except ValueError as error:
        yield f"{start} ({error}); allowed: http://host:port; correct it"
        return
    if parts.auth is not None:
        yield (
            f"{label} has an address with a user or password; allowed: one without; give the key"
            " in an environment variable and its name in 'api_key_variable'"
        )
    if address.endswith(("/", "/v1")) or "?" in address or "#" in address:
        yield f"{start}; allowed: http://host:port without /v1 or / at its end; drop that"


def package_problems(setting: str, *modules: str) -> Iterator[str]:
    """Name a missing part of the Run:ai streamer that a setting needs."""
    if missing := [name for name in modules if importlib.util.find_spec(name) is None]:
        yield (
            f"{setting} but the package {missing[0].replace('_', '-')} is missing; allowed: only"
            " with it; pip install 'runai-model-streamer[s3]'"
        )
