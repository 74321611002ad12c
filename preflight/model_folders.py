"""Tell model folders from other folders, and say in one line what those are.

Adapters, embedding models and files of other programs are often given for a model. A local folder
and an ``s3://`` prefix are described in the same words.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

ADAPTER: Final = "adapter_config.json"
SENTENCE_TRANSFORMERS: Final = ("modules.json", "config_sentence_transformers.json")
GGUF_REMEDY: Final = "take the model's safetensors files instead"
# Longest name of a base model that is repeated; it comes from a file of unknown origin.
NAME_CHARACTERS: Final = 120


def existing(path: str) -> Path | None:
    """Return a path with ``~`` resolved, None where nothing of that name exists."""
    try:
        found = Path(path).expanduser()
        return found if found.exists() else None
    except (OSError, RuntimeError, ValueError):  # too long a name, no such user, a NUL
        return None


def is_local(path: str) -> bool:
    """Return whether a model path is a local one: it exists, or is written like one."""
    return path.startswith(("/", "./", "../", "~")) or existing(path) is not None


def folder_of(path: str) -> Path | None:
    """Return a path as a folder of this machine, None where it is none."""
    found = existing(path)
    return found if found is not None and found.is_dir() else None


def not_a_model(names: Collection[str], read: Callable[[str], str]) -> str | None:
    """Say what a folder is if it is no model, with a remedy; None if it may be one.

    ``names`` are the files at its top; ``read`` returns the text of one, or raises OSError or
    ValueError.
    """
    if not names:
        return "is empty; download the model into it, or correct the path"
    if ADAPTER in names:
        return _adapter(names, read)
    if any(name in names for name in SENTENCE_TRANSFORMERS):
        return (
            "is a sentence-transformers model, which embeds texts and writes no answer; give a"
            " language model here, an embedding model is for EMBEDDING_MODEL_PATH"
        )
    if "config.json" not in names and any(name.endswith(".gguf") for name in names):
        return f"holds GGUF files for llama.cpp, which are not read here; {GGUF_REMEDY}"
    return None


def _adapter(names: Collection[str], read: Callable[[str], str]) -> str:
    """Name an adapter's kind and the model it belongs to."""
    try:
        settings: Any = json.loads(read(ADAPTER))
    except (OSError, ValueError, RecursionError):
        settings = None
    settings = settings if isinstance(settings, dict) else {}
    base = settings.get("base_model_name_or_path")
    text = "".join(filter(str.isprintable, base if isinstance(base, str) else ""))
    of = f" of {text[:NAME_CHARACTERS]}" if text.strip() else ""
    what = "a LoRA adapter" if settings.get("peft_type", "LORA") == "LORA" else "an adapter"
    whole = any(n.endswith(".safetensors") and not n.startswith("adapter_") for n in names)
    if whole and "config.json" in names:
        return (
            f"holds {what}{of} beside a model; merge it and save the result to a folder of its"
            " own, or move the adapter_ files away"
        )
    return (
        f"is {what}{of}; merge it first (peft: merge_and_unload, then save_pretrained) and give"
        " the result"
    )


def folder_problem(folder: Path) -> str | None:
    """Apply ``not_a_model`` to a folder; one of the hub's cache gets its snapshot."""
    try:
        names = {entry.name for entry in folder.iterdir()}
        snapshots = sorted(p for p in folder.glob("snapshots/*") if p.is_dir())
    except OSError as error:
        return f"cannot be read ({error.strerror}); correct its rights"
    if snapshots and "config.json" not in names:
        inside = folder_problem(snapshots[-1])
        at = f"its snapshots/{snapshots[-1].name}"
        return f"{at} {inside}" if inside else f"is a folder of the Hugging Face cache; give {at}"
    if problem := not_a_model(names, lambda name: (folder / name).read_text(encoding="utf-8")):
        return problem
    if "config.json" in names:
        return None
    return (
        "holds no model (config.json is missing in it); correct the path, or download the model"
        " again"
    )


def file_problem(path: Path) -> str:
    """Describe a file that was given for a model folder."""
    if path.suffix == ".gguf":
        return f"is a GGUF file for llama.cpp, which is not read here; {GGUF_REMEDY}"
    return "is a file; give the folder that holds the model"
