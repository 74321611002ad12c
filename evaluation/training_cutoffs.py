"""Look up the training cut-off of a model by its exact name.

The table is training_cutoffs.csv. A name is split into its parts, and an entry applies only when
every part is accounted for: the family, the entry's own marks, one of its sizes, a form (instruct,
base ...), and parts that leave the training as it was (quantisation, file format, publisher). Any
further part, such as a new date, a version or a word of a fine-tune, makes the cut-off unknown: a
newer model never gets the date of an older one.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

TABLE: Final = Path(__file__).with_name("training_cutoffs.csv")

# Parts that describe how weights are stored, not what they learnt.
STORAGE: Final = re.compile(
    r"gguf|ggml|awq|gptq|bnb|mlx|exl[23]|hf|safetensors|quantized|dynamic|autoround|marlin|int[48]|"
    r"(?:nv|mx)?fp(?:4|8|16|32)|bf16|f16|f32|w\d{1,2}a\d{1,2}|[2-8]-?bits?|g(?:s)?(?:32|64|128)"
)
# llama.cpp's names of quantised files: Q4_K_M, IQ3_XXS, Q8_0.
GGUF_QUANTISATION: Final = re.compile(
    r"(?<![a-z0-9])i?q\d(?:_(?:\d|k|nl|xs|xxs|s|m|l|xl))*(?![a-z0-9])"
)
# Publishers that come before a name ("Meta-Llama-3-8B", "Qwen_Qwen3-14B").
PUBLISHERS: Final = frozenset((
    "meta", "llama", "qwen", "google", "microsoft", "mistralai", "mistral", "openai", "deepseek",
    "ai", "huggingfacetb", "unsloth",
))  # fmt: skip
FAMILY_WORD: Final = re.compile(
    r"(qwen|llama|gemma|phi|smollm|gpt|deepseek)(oss|\d[\d.]*n?|[vr]\d[\d.]*)"
)
SIZE: Final = re.compile(r"e?\d+(?:\.\d+)?[bm]|a\d+(?:\.\d+)?b|\d+e")
# Folder names that do not describe the model in them.
NAMELESS: Final = re.compile(
    r"models?|weights|checkpoint|current|latest|main|snapshots?|hf|vllm|[0-9a-f]{7,64}|~|\.*|"
    r"data|mnt|srv|opt|home|root|tmp|var|nfs|scratch|storage|local"
)


@dataclass(frozen=True)
class Cutoff:
    """The last day a model can have been trained on.

    Args:
        family: first parts of the name, "qwen 3".
        marks: further parts that must be there, in any order: "2507", "mini reasoning".
        sizes: its sizes, "14b 30b-a3b"; "-" where the name may have none.
        forms: parts it may have besides.
        day: ISO date; months are taken to their last day.
        stated: by its makers; else ``day`` is that of the release, later than any true cut-off.
        source: where that is published.
    """

    family: str
    marks: str
    sizes: str
    forms: str
    day: str
    stated: bool
    source: str

    def describes(self, parts: Sequence[str]) -> bool:
        """Whether these are the parts of a name of this model, nothing left over."""
        family = self.family.split()
        for start in range(len(parts) - len(family) + 1):
            if not PUBLISHERS.issuperset(parts[:start]):
                return False
            behind = start + len(family)
            if list(parts[start:behind]) == family and self._covers(list(parts[behind:])):
                return True
        return False

    def _covers(self, rest: list[str]) -> bool:
        """Whether marks, one size and forms are all that follows the family."""
        for mark in self.marks.split():
            if mark not in rest:
                return False
            rest.remove(mark)
        size = "-".join(part for part in rest if SIZE.fullmatch(part)) or "-"
        forms = {part for part in rest if not SIZE.fullmatch(part)}
        return size in self.sizes.split() and forms <= set(self.forms.split())


@cache
def known_cutoffs() -> tuple[Cutoff, ...]:
    """Read the table of models and their cut-offs."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        rows = [row | {"stated": row["stated"] == "yes"} for row in csv.DictReader(file)]
    return tuple(Cutoff(**row) for row in rows)


def cutoff(name: str, path: str = "") -> Cutoff | None:
    """Look up a model's training cut-off; None if its exact name is not listed.

    Args:
        name: the model's name in config.py; used where the path has no name in it.
        path: Hugging Face id, folder or ``s3://bucket/prefix``; its last telling part counts.
    """
    parts = _parts(model_name(path) or name.rsplit("/", 1)[-1])
    return next((known for known in known_cutoffs() if known.describes(parts)), None)


def model_name(path: str) -> str:
    """Return the part of a path that names the model; empty when none does.

    Folders of the Hugging Face cache ("models--Qwen--Qwen3-14B/snapshots/HASH") are read as the
    models they hold.
    """
    parts = path.split("/")
    # A bucket or the top of a file system names no model; a Hugging Face id is all there is.
    for part in reversed(parts[3:] if path.startswith("s3://") else parts):
        if part.startswith("models--"):
            return part.rsplit("--", 1)[-1]
        if not NAMELESS.fullmatch(part.lower()):
            return part
    return ""


def _parts(name: str) -> list[str]:
    """Split a name into parts in lower case, without those on the weights' format."""
    text = GGUF_QUANTISATION.sub(" ", name.lower().removesuffix(".gguf").removesuffix(".git"))
    text = FAMILY_WORD.sub(r"\1-\2", text)
    # A dot separates words ("instruct.w4a16") unless it is between digits ("3.1").
    parts = re.split(r"[-_\s]+|\.(?!\d)|(?<!\d)\.", text)
    return [part for part in parts if part and not STORAGE.fullmatch(part)]
