"""Training cut-offs of models, by their exact name.

A model's name is split into its parts. An entry applies only when every part is accounted for: the
family, the entry's own marks, one of its sizes, a form (instruct, base ...), and parts that leave
the training as it was (quantisation, file format, publisher). Any further part, such as a new date,
a version or a word of a fine-tune, makes the cut-off unknown: a newer model never gets the date of
an older one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


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
        source: where it is said.
    """

    family: str
    marks: str
    sizes: str
    forms: str
    day: str
    stated: bool
    source: str


_LLAMA: Final = "github.com/meta-llama/llama-models, model card"
_QWEN3: Final = "github.com/QwenLM/Qwen3, News"
_DEEPSEEK: Final = "api-docs.deepseek.com, News"
_MISTRAL: Final = "the month in its name is that of its release"
_QWEN3_SIZES: Final = "0.6b 1.7b 4b 8b 14b 32b 30b-a3b 235b-a22b"
_VL_SIZES: Final = "2b 4b 8b 32b 30b-a3b 235b-a22b"

CUTOFFS: Final[tuple[Cutoff, ...]] = tuple(
    Cutoff(*row)
    for row in (
        ("llama 3", "", "8b", "instruct", "2023-03-31", True, f"{_LLAMA}: March 2023"),
        ("llama 3", "", "70b", "instruct", "2023-12-31", True, f"{_LLAMA}: December 2023"),
        ("llama 3.1", "", "8b 70b 405b", "instruct", "2023-12-31", True,
         f"{_LLAMA}: December 2023"),
        ("llama 3.2", "", "1b 3b", "instruct", "2023-12-31", True, f"{_LLAMA}: December 2023"),
        ("llama 3.2", "vision", "11b 90b", "instruct", "2023-12-31", True,
         f"{_LLAMA}: December 2023"),
        ("llama 3.3", "", "70b", "instruct", "2023-12-31", True, f"{_LLAMA}: December 2023"),
        ("llama 4", "scout", "17b-16e", "instruct", "2024-08-31", True, f"{_LLAMA}: August 2024"),
        ("llama 4", "maverick", "17b-128e", "instruct", "2024-08-31", True,
         f"{_LLAMA}: August 2024"),
        ("phi 4", "", "- 14b", "", "2024-06-30", True,
         "model card microsoft/phi-4: June 2024 and earlier"),
        ("phi 4", "mini", "- 3.8b 4b", "instruct", "2024-06-30", True,
         "model card microsoft/Phi-4-mini-instruct: June 2024"),
        ("phi 4", "multimodal", "- 5.6b 6b", "instruct", "2024-06-30", True,
         "model card microsoft/Phi-4-multimodal-instruct: June 2024"),
        ("phi 4", "reasoning", "- 14b", "", "2025-03-31", True,
         "model card microsoft/Phi-4-reasoning: March 2025 and earlier"),
        ("phi 4", "reasoning plus", "- 14b", "", "2025-03-31", True,
         "model card microsoft/Phi-4-reasoning-plus: March 2025 and earlier"),
        ("phi 4", "mini reasoning", "- 3.8b 4b", "", "2025-02-28", True,
         "model card microsoft/Phi-4-mini-reasoning: February 2025"),
        ("gemma 3", "", "1b 4b 12b 27b", "it pt", "2024-08-31", True,
         "Gemma 3 model card (ai.google.dev/gemma/docs/core/model_card_3): August 2024"),
        ("gemma 3n", "", "e2b e4b", "it", "2024-06-30", True,
         "Gemma 3n model card (ai.google.dev/gemma/docs/gemma-3n/model_card): June 2024"),
        ("gemma 2", "", "2b 9b 27b", "it", "2024-07-31", False,
         "blog.google: released 27 June 2024, its 2B on 31 July"),
        ("gpt oss", "", "20b 120b", "", "2024-06-30", True,
         "its chat template: knowledge cutoff 2024-06"),
        ("smollm 3", "", "3b", "base", "2025-06-30", True,
         "its chat template: knowledge cutoff June 2025"),
        ("smollm 2", "", "135m 360m 1.7b", "instruct", "2024-11-30", False,
         "huggingface.co/HuggingFaceTB/SmolLM2-135M: released November 2024"),
        ("mistral nemo", "2407", "- 12b", "instruct base", "2024-07-31", False, _MISTRAL),
        ("mistral small", "2409", "- 22b", "instruct", "2024-09-30", False, _MISTRAL),
        ("mistral small", "2501", "24b", "instruct base", "2025-01-31", False, _MISTRAL),
        ("mistral small", "3.1 2503", "24b", "instruct base", "2025-03-31", False, _MISTRAL),
        ("mistral small", "3.2 2506", "24b", "instruct", "2025-06-30", False, _MISTRAL),
        ("mistral large", "2407", "- 123b", "instruct", "2024-07-31", False, _MISTRAL),
        ("mistral large", "2411", "- 123b", "instruct", "2024-11-30", False, _MISTRAL),
        ("ministral", "2410", "8b", "instruct", "2024-10-31", False, _MISTRAL),
        ("qwen 2.5", "", "0.5b 1.5b 3b 7b 14b 32b 72b", "instruct", "2024-09-19", False,
         f"{_QWEN3}: released 19 September 2024"),
        ("qwen 3", "", _QWEN3_SIZES, "base", "2025-04-29", False,
         f"{_QWEN3}: released 29 April 2025"),
        ("qwen 3", "instruct 2507", "4b 30b-a3b 235b-a22b", "", "2025-08-06", False,
         f"{_QWEN3}: released from 21 July to 6 August 2025"),
        ("qwen 3", "thinking 2507", "4b 30b-a3b 235b-a22b", "", "2025-08-06", False,
         f"{_QWEN3}: released from 21 July to 6 August 2025"),
        ("qwen 3", "coder", "30b-a3b 480b-a35b", "instruct", "2025-07-31", False,
         "huggingface.co/Qwen: released from 22 to 31 July 2025"),
        ("qwen 3", "next", "80b-a3b", "instruct thinking", "2025-09-30", False,
         "huggingface.co/Qwen: released in September 2025"),
        ("qwen 3", "vl", _VL_SIZES, "instruct thinking", "2025-10-21", False,
         "github.com/QwenLM/Qwen3-VL, News: released from 23 September to 21 October 2025"),
        ("deepseek v3", "", "-", "base", "2024-12-26", False, f"{_DEEPSEEK}: 26 December 2024"),
        ("deepseek v3", "0324", "-", "", "2025-03-25", False, f"{_DEEPSEEK}: 25 March 2025"),
        ("deepseek v3.1", "", "-", "base", "2025-08-21", False, f"{_DEEPSEEK}: 21 August 2025"),
        ("deepseek v3.1", "terminus", "-", "", "2025-09-22", False,
         f"{_DEEPSEEK}: 22 September 2025"),
        ("deepseek v3.2", "exp", "-", "base", "2025-09-29", False,
         f"{_DEEPSEEK}: 29 September 2025"),
        ("deepseek v3.2", "", "-", "", "2025-12-01", False, f"{_DEEPSEEK}: 1 December 2025"),
        ("deepseek v3.2", "speciale", "-", "", "2025-12-01", False,
         f"{_DEEPSEEK}: 1 December 2025"),
        ("deepseek r1", "", "-", "zero", "2025-01-20", False, f"{_DEEPSEEK}: 20 January 2025"),
        ("deepseek r1", "0528", "-", "", "2025-05-28", False, f"{_DEEPSEEK}: 28 May 2025"),
        ("deepseek r1", "distill qwen", "1.5b 7b 14b 32b", "", "2025-01-20", False,
         f"{_DEEPSEEK}: 20 January 2025"),
        ("deepseek r1", "distill llama", "8b 70b", "", "2025-01-20", False,
         f"{_DEEPSEEK}: 20 January 2025"),
    )
)  # fmt: skip

# Parts that say how weights are stored, not what they learnt.
STORAGE: Final = re.compile(
    r"gguf|ggml|awq|gptq|bnb|mlx|exl[23]|hf|safetensors|quantized|dynamic|autoround|marlin|int[48]|"
    r"(?:nv|mx)?fp(?:4|8|16|32)|bf16|f16|f32|w\d{1,2}a\d{1,2}|[2-8]-?bits?|g(?:s)?(?:32|64|128)"
)
# llama.cpp's names of quantised files: Q4_K_M, IQ3_XXS, Q8_0.
GGUF_QUANTISATION: Final = re.compile(
    r"(?<![a-z0-9])i?q\d(?:_(?:\d|k|nl|xs|xxs|s|m|l|xl))*(?![a-z0-9])"
)
# Publishers that stand in front of a name ("Meta-Llama-3-8B", "Qwen_Qwen3-14B").
PUBLISHERS: Final = frozenset(
    [
        "meta",
        "llama",
        "qwen",
        "google",
        "microsoft",
        "mistralai",
        "mistral",
        "openai",
        "deepseek",
        "ai",
        "huggingfacetb",
        "unsloth",
    ]
)
FAMILY_WORD: Final = re.compile(
    r"(qwen|llama|gemma|phi|smollm|gpt|deepseek)(oss|\d[\d.]*n?|[vr]\d[\d.]*)"
)
SIZE: Final = re.compile(r"e?\d+(?:\.\d+)?[bm]|a\d+(?:\.\d+)?b|\d+e")
# Folder names that say nothing about the model in them.
NAMELESS: Final = re.compile(
    r"models?|weights|checkpoint|current|latest|main|snapshots?|hf|vllm|[0-9a-f]{7,64}|~|\.*|"
    r"data|mnt|srv|opt|home|root|tmp|var|nfs|scratch|storage|local"
)


def cutoff(name: str, path: str = "") -> Cutoff | None:
    """Look up a model's training cut-off; None if its exact name is not listed.

    Args:
        name: how the model is called in config.py; used where the path says nothing.
        path: Hugging Face id, folder or ``s3://bucket/prefix``; its last telling part counts.
    """
    parts = _parts(model_name(path) or name.rsplit("/", 1)[-1])
    return next((known for known in CUTOFFS if _is(known, parts)), None)


def model_name(path: str) -> str:
    """The part of a path that names the model; empty when none does.

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
    # A dot parts words ("instruct.w4a16") unless it stands between digits ("3.1").
    parts = re.split(r"[-_\s]+|\.(?!\d)|(?<!\d)\.", text)
    return [part for part in parts if part and not STORAGE.fullmatch(part)]


def _is(known: Cutoff, parts: Sequence[str]) -> bool:
    """Whether the parts of a name are those of ``known``, with nothing left over."""
    family = known.family.split()
    for start in range(len(parts) - len(family) + 1):
        if not PUBLISHERS.issuperset(parts[:start]):
            return False
        if list(parts[start : start + len(family)]) == family:
            rest = list(parts[start + len(family) :])
            if _covers(known, rest):
                return True
    return False


def _covers(known: Cutoff, rest: list[str]) -> bool:
    """Whether marks, one size and forms of ``known`` are all that follows the family."""
    for mark in known.marks.split():
        if mark not in rest:
            return False
        rest.remove(mark)
    size = "-".join(part for part in rest if SIZE.fullmatch(part)) or "-"
    forms = [part for part in rest if not SIZE.fullmatch(part)]
    return size in known.sizes.split() and set(forms) <= set(known.forms.split())
