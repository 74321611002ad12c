"""Recognise how a model thinks before it answers, from its chat template.

A thought is placed by text: what precedes it, the mark that ends it, and what comes between that
mark and the answer. All of it is read off the template by rendering a probe, as its makers wrote
it; docs/reasoning.md shows what each family's template gives.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from scoring.chat_templates import answer_opening, apply_template, has_template, template_errors

# What a template of each kind names, the marks that begin and end a thought.
MARKS: Final = (
    ("</think>", "<think>", "</think>"),
    ("<|channel|>analysis", "<|channel|>analysis<|message|>", "<|end|>"),
    ("<|channel>thought", "<|channel>thought", "<channel|>"),
    ("<seed:think>", "<seed:think>", "</seed:think>"),
    ("</thinking>", "<thinking>", "</thinking>"),
    ("[/THINK]", "[THINK]", "[/THINK]"),
    ("<|END_THINKING|>", "<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|inner_suffix|>", "<|inner_prefix|>", "<|inner_suffix|>"),
)
# Settings of templates that switch thinking on and off; the first that works is taken.
ON: Final[tuple[Mapping[str, Any], ...]] = ({}, {"enable_thinking": True}, {"thinking": True})
OFF: Final[tuple[Mapping[str, Any], ...]] = (
    {},
    {"enable_thinking": False},
    {"thinking": False},
    {"thinking_budget": 0},
)
# Words of a system prompt that templates look for, tried last.
OFF_WORDS: Final = "/no_think"
_ASKED, _THOUGHT, _ANSWERED = "Question 7319?", "Thought 7320.", "7321"


@dataclass(frozen=True)
class ThoughtFormat:
    """Where a model's thought begins and ends, and where its answer begins.

    Args:
        begin: text between the generation prompt and a thought.
        end: the mark with which the model ends it.
        cut: text put before the mark where the thought was cut.
        answer: text between the mark and the answer.
        empty: text between the generation prompt and an answer without a thought.
        on: template arguments with which the model thinks.
        off: template arguments with which it does not.
        written: what the template itself may write of a thought behind the generation prompt.
    """

    begin: str
    end: str
    cut: str = ""
    answer: str = ""
    empty: str = ""
    on: Mapping[str, Any] = field(default_factory=dict)
    off: Mapping[str, Any] = field(default_factory=dict)
    written: tuple[str, ...] = ()

    def opened(self, text: str) -> str:
        """Return a rendered prompt, ending where the thought begins."""
        return self._stem(text) + self.begin

    def unthought(self, text: str) -> str:
        """Return a rendered prompt, ending where the answer without a thought begins."""
        return self._stem(text) + self.empty

    def closing(self, *, ended: bool) -> str:
        """Return the text between a thought and the answer; ``ended`` by the model itself."""
        return ("" if ended else self.cut) + self.end + self.answer

    def _stem(self, text: str) -> str:
        """Take away what the template wrote of a thought, whichever switch it took."""
        for tail in self.written:
            if text.endswith(tail):
                return text[: len(text) - len(tail)]
        return text


def thought_format(
    tokenizer: Any, kwargs: Mapping[str, Any] | None = None, *, words: str = ""
) -> ThoughtFormat | None:
    """Recognise a model's way to think, None where its template shows none.

    Args:
        tokenizer: with a chat template.
        kwargs: the model entry's template arguments, which win over those tried here.
        words: what the entry puts into the system prompt to switch thinking on. They vouch for
            a model whose template does not name the marks: it is taken to think in ``<think>``.
    """
    if not has_template(tokenizer):
        return None
    source = str(tokenizer.chat_template)
    named = (mark[1:] for mark in MARKS if mark[0] in source or mark[1] in source)
    marks = next(named, None)
    if marks is None:
        if not words:
            return None
        marks = ("<think>\n", "</think>")
    probe = _Probe(tokenizer, dict(kwargs or {}), marks)
    try:
        on, off = probe.on(words), probe.off(in_words=OFF_WORDS in source)
    except template_errors():  # it takes no such messages; a prompt will say so
        return None
    begin, cut, answer = probe.thought(on, off)
    empty = off.written
    if off.state != "closed":
        empty += answer_opening(tokenizer, off.messages, off.text, probe.merged(off.kwargs))
        inside = empty.rfind(marks[0]) > empty.rfind(marks[1])
        if inside or marks[1] not in source:
            empty = begin + cut + marks[1] + answer
    return ThoughtFormat(
        begin=begin,
        end=marks[1],
        cut=cut,
        answer=answer,
        empty=empty,
        on=probe.merged(on.kwargs),
        off=probe.merged(off.kwargs),
        written=tuple(sorted({on.written, off.written} - {""}, key=len, reverse=True)),
    )


@dataclass(frozen=True)
class _Tail:
    """What a template writes behind the user's message, with some of its arguments.

    ``stem`` ends with the generation prompt, ``written`` is what follows of a thought.
    """

    kwargs: Mapping[str, Any]
    messages: list[dict[str, str]]
    text: str
    stem: str
    written: str
    state: str  # "open", "closed" or "none"


class _Probe:
    """Renders a made-up question with a template, to see what it writes of a thought."""

    def __init__(self, tokenizer: Any, kwargs: dict[str, Any], marks: tuple[str, str]) -> None:
        self.tokenizer, self.kwargs, self.marks = tokenizer, kwargs, marks

    def merged(self, extra: Mapping[str, Any]) -> dict[str, Any]:
        """Return template arguments; those of the model's entry win."""
        return {**extra, **self.kwargs}

    def on(self, words: str) -> _Tail:
        """Return the rendering in which the model thinks: best with an opened thought."""
        tails = [self.tail(extra, words) for extra in ON]
        states = ("open", "none", "closed")
        # A switch that changes anything comes before the default, which may be not to think.
        return min(tails, key=lambda one: (states.index(one.state), one.text == tails[0].text))

    def off(self, *, in_words: bool) -> _Tail:
        """Return the rendering in which it does not: best with a closed thought."""
        tails = [self.tail(extra, "") for extra in OFF]
        tails += [self.tail({}, OFF_WORDS)] if in_words else []
        return min(tails, key=lambda one: ("closed", "none", "open").index(one.state))

    def tail(self, extra: Mapping[str, Any], words: str) -> _Tail:
        """Render the probe with the generation prompt."""
        system = f"Be brief.\n{words}".strip()
        messages = [
            {"role": "system", "content": system},
            {"role": "user", "content": _ASKED},
        ]
        text, messages = apply_template(self.tokenizer, messages, self.merged(extra))
        behind = text[text.rindex(_ASKED) + len(_ASKED) :]
        begin, end = self.marks
        at = behind.find(begin)
        written = behind[at:] if at >= 0 else ""
        state = "none" if not written else "closed" if end in written else "open"
        stem = text[: len(text) - len(written)]
        return _Tail(extra, messages, text, stem, written, state)

    def thought(self, on: _Tail, off: _Tail) -> tuple[str, str, str]:
        """Return what precedes a thought, what a cut one lacks, what follows its mark.

        An earlier answer with its thought shows it; else a closed thought does; else makers write
        a line break on either side where they open a thought with one.
        """
        begin, end = self.marks
        said = dict.fromkeys(("reasoning_content", "reasoning", "thinking"), _THOUGHT)
        try:
            whole = self.tokenizer.apply_chat_template(
                [*on.messages, {"role": "assistant", "content": _ANSWERED, **said}],
                tokenize=False,
                **self.merged(on.kwargs),
            )
        except template_errors():
            whole = ""
        found = re.match(
            f"(?P<begin>.*?{re.escape(begin)}\\s*){re.escape(_THOUGHT)}(?P<cut>\\s*)"
            f"{re.escape(end)}(?P<answer>.*?){re.escape(_ANSWERED)}",
            whole[len(on.stem) :] if whole.startswith(on.stem) else "",
            re.DOTALL,
        )
        if found:
            opening = on.written if on.state == "open" else found["begin"]
            return opening, found["cut"], found["answer"]
        closed = off.written if off.state == "closed" else ""
        opening = begin + "\n" * closed.startswith(begin + "\n")
        opening = on.written if on.state == "open" else opening
        broken = "\n" * opening.endswith("\n")
        return opening, broken, closed.rpartition(end)[2] if opening in closed else 2 * broken


# --- what was written -----------------------------------------------------------------------------

# A loop is a tail of at least this many tokens in which one pattern recurs so often.
LOOP_TOKENS: Final = 60
LOOP_REPEATS: Final = 4
_NUMBER = re.compile(
    r"(?<![\w.])(?<!\d,)(\d{1,3}(?:\.\d+)?|\.\d+)(?!,?\d)\s*(%|percent\b)?", re.IGNORECASE
)


def loops(token_ids: Sequence[int]) -> bool:
    """Whether a thought ends in one pattern repeated again and again."""
    ids = list(token_ids)
    for period in range(1, len(ids) // LOOP_REPEATS + 1):
        if ids[-1 - period] != ids[-1]:  # most are told so, without a copy
            continue
        length = max(LOOP_TOKENS, LOOP_REPEATS * period)
        tail = ids[-length:]
        if len(tail) == length and tail[period:] == tail[:-period]:
            return True
    return False


def number_said(text: str) -> float | None:
    """Read the first number of an answer as a probability in percent, None for none.

    "35", "35 %" and "0.35" are all 35; a bare "1" is one percent, as the prompt asks for.
    """
    for found in _NUMBER.finditer(text):
        value = float(found[1])
        if "." in found[1] and value <= 1 and not found[2]:
            value *= 100
        if value <= 100:
            return value
    return None
