"""Take the notes out of a model's raw output, without its own probability."""

from __future__ import annotations

import re
from typing import Any, Final

import config

WITHHELD: Final = "[number withheld]"

# A share of one: 70 %, 60-70 percent, 0.7, 7 in 10; then one that carries its unit.
_PERCENT = (
    r"\d{1,3}(?:\.\d++)?(?:\s*+(?:-|–|to)\s*+\d{1,3}(?:\.\d++)?)?\s*+(?:%|percent\b|per\s?cent\b)"
)
_SHARE = rf"(?:{_PERCENT}|\b0?\.\d++\b|\b\d++\s++(?:in|out of)\s++\d++\b)"
_BELIEF = r"(?:probabilit(?:y|ies)|chances?|likelihood|odds|confidence)"
_OWN = (
    r"(?:(?:my|final|overall|best)\s++(?:\w++\s++)?"
    r"(?:answer|estimate|forecast|guess|prediction|verdict)|answer\s*+(?:is|:))"
)
_GIVEN_AWAY: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # "probability: 70 %", "the chance of YES is 70 percent".
        rf"(?P<kept>\b(?:{_BELIEF}|{_OWN})\b[^.;\n]{{0,80}}?)(?P<number>{_SHARE})",
        # The same with a bare number right after it.
        rf"(?P<kept>\b(?:{_BELIEF}|{_OWN})\W{{0,6}}(?:is\s++|of\s++|at\s++|about\s++)?)"
        r"(?P<number>\b\d{1,3}(?:\.\d+)?\b)(?!\s*+(?:%|\w))",
        # "I'd say 70 %", "I would put it at 0.7".
        r"(?P<kept>\bI(?:'d|’d| would)?\s++(?:say|put|estimate|guess|judge|assign|give)\b"
        rf"[^.;\n]{{0,40}}?)(?P<number>{_SHARE})",
        # "70 % likely", "a 70 percent chance", "7 in 10 chance".
        rf"(?P<kept>)(?P<number>{_SHARE})(?=(?:\s++-?|-)\s*+(?:\w++\s++)?"
        rf"(?:likely|unlikely|certain|sure|confident|{_BELIEF})\b)",
        # A number in a box, or one that is all of the last line.
        r"(?P<kept>\\boxed\{)(?P<number>[^}\n]{0,12})(?=\})",
        r"(?P<kept>(?:\A|(?<=\n))(?:[^\S\n]|[*_])*+)(?P<number>\d{1,3}(?:\.\d+)?+(?:\s*+%)?+)"
        r"(?=[\s*_.]*+\Z)",
    )
)
_CHANNEL = re.compile(r"<\|channel\|>\s*+(\w++)[^<]*+<\|message\|>")
_THOUGHT = re.compile(
    r"<(think|thinking|thought|reasoning)>|</(?:think|thinking|thought|reasoning)>", re.IGNORECASE
)
_SPECIAL = re.compile(r"<\|[\w.-]++\|>")


def notes_sampling(seed: int) -> dict[str, Any]:
    """Return vLLM's sampling arguments for one reasoning."""
    return {
        "max_tokens": config.LOGIC_MAX_TOKENS,
        "temperature": config.LOGIC_TEMPERATURE,
        "seed": seed,
        # Marks of thinking are special tokens in some vocabularies; they must be seen to be
        # taken out.
        "skip_special_tokens": False,
    }


def strip_reasoning(text: str) -> str:
    """Return the notes in a model's output, without thinking marks or its number.

    What follows the thinking (the end of a think block, gpt-oss's final channel) is taken; where
    nothing does, as when the length limit came first, the thinking itself is. A probability that
    is the writer's own belief becomes ``WITHHELD``; figures of the evidence ("inflation was 5 %")
    stay. The words beside a number decide, so a base rate called a probability goes with it.
    """
    parts = _CHANNEL.split(text)
    if len(parts) > 1:
        # split gives what comes before, then name and content by turns.
        by_channel = dict(zip(parts[1::2], parts[2::2], strict=True))
        final = re.split(r"<\|(?:end|return|start)\|>", by_channel.get("final", ""))[0]
        text = final if final.strip() else "\n".join(parts[2::2])
        text = re.sub(r"<\|start\|>\s*+assistant", "", text)
    else:
        marks = list(_THOUGHT.finditer(text))
        if marks and not marks[-1].group(1):
            after = text[marks[-1].end() :]
            text = after if _SPECIAL.sub("", after).strip() else text
        text = _THOUGHT.sub("", text)
    text = _SPECIAL.sub("", text).strip()
    for pattern in _GIVEN_AWAY:
        text = pattern.sub(lambda match: match["kept"] + WITHHELD, text)
    return text
