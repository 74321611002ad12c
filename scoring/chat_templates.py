"""Apply a model's chat template so that the next token is the number's first."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from scoring.prompts import PLAIN_ANSWER, PLAIN_NOTES, Messages


@dataclass(frozen=True)
class Rendered:
    """A prompt as text. ``lead`` comes between it and the number: a space, or nothing."""

    text: str
    lead: str
    add_special_tokens: bool


def template_dates(today: str) -> dict[str, Any]:
    """Template variables that make templates print ``today`` (ISO) as the date.

    Llama 3 reads ``date_string``; gpt-oss and newer Llama templates call ``strftime_now``. Without
    this a back-dated forecast would tell the model the real date.
    """
    day = date.fromisoformat(today)
    return {"date_string": day.strftime("%d %b %Y"), "strftime_now": day.strftime}


def needs_space(text: str) -> bool:
    """Whether a space separates a number from ``text``: after "Answer:", not a tag."""
    return bool(re.search(r"[\w:;,.=?!%]\Z", text))


def render(
    tokenizer: Any,
    messages: Messages,
    *,
    answer_prefix: str = "",
    chat_template_kwargs: Mapping[str, Any] | None = None,
    ending: Callable[[str], str] | None = None,
    free: bool = False,
) -> Rendered:
    """Apply the model's chat template, or plain text where it has none.

    The generation prompt is on. What the template itself writes between the generation prompt and
    an assistant's answer is added, which puts gpt-oss into its final channel and finds the space of
    Llama 2; ``answer_prefix`` replaces it. A template without a system role gets the system text at
    the head of the user's message. A prompt never ends in a bare space: the space belongs to the
    number (``lead``), as the tokenizer would have it.

    ``ending`` takes the place of that search: it turns the rendered generation prompt into the text
    where a thought or an answer begins (``scoring/thinking.py``).

    ``free`` ends with the generation prompt alone, for a model that is to write as it likes: no
    answer opening, no prefix (a base model is led by ``PLAIN_NOTES``).
    """
    plain = not has_template(tokenizer)
    kwargs = dict(chat_template_kwargs or {})
    if plain:
        text = "\n\n".join(message["content"] for message in messages)
    else:
        text, messages = apply_template(tokenizer, messages, kwargs)
        text = ending(text) if ending is not None else text
    if free:
        return Rendered(text + (PLAIN_NOTES if plain else ""), "", add_special_tokens=plain)
    if plain:
        text += f"\n\n{answer_prefix}" if answer_prefix else PLAIN_ANSWER
    elif ending is not None:
        text += answer_prefix
    else:
        text += answer_prefix or answer_opening(tokenizer, messages, text, kwargs)
    return Rendered(*spaced(text, plain or bool(answer_prefix)), add_special_tokens=plain)


def spaced(text: str, ours: bool) -> tuple[str, str]:
    """Return a prompt without a space at its end, and the number's space if any.

    A template ends where an answer begins; words of ours may leave the space to the number.
    """
    stripped = text.rstrip(" ")
    return stripped, " " if stripped != text or (ours and needs_space(text)) else ""


def has_template(tokenizer: Any) -> bool:
    """Whether the tokenizer has a chat template (a text, or several by name)."""
    return bool(getattr(tokenizer, "chat_template", None))


def apply_template(
    tokenizer: Any, messages: Messages, kwargs: Mapping[str, Any]
) -> tuple[str, Messages]:
    """Render with the generation prompt; without a system role in one message."""
    try:
        text = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, **kwargs
        )
        # The first line: what follows may be a switch, which a template takes out.
        if messages[0]["content"].partition("\n")[0] in text:
            return text, messages
    except template_errors():
        pass
    folded = [{"role": "user", "content": "\n\n".join(message["content"] for message in messages)}]
    text = tokenizer.apply_chat_template(
        folded, tokenize=False, add_generation_prompt=True, **kwargs
    )
    return text, folded


def answer_opening(
    tokenizer: Any, messages: Messages, prompt: str, kwargs: Mapping[str, Any]
) -> str:
    """Find what the template writes between generation prompt and answer."""
    probe = "7319"
    try:
        whole = tokenizer.apply_chat_template(
            [*messages, {"role": "assistant", "content": probe}], tokenize=False, **kwargs
        )
    except template_errors():
        return ""
    if not whole.startswith(prompt):
        return ""
    before, found, _ = whole[len(prompt) :].partition(probe)
    return before if found else ""


def template_errors() -> tuple[type[Exception], ...]:
    """Return what a template raises where it cannot render messages."""
    import jinja2  # here, because prompts are also built without any template

    return (jinja2.exceptions.TemplateError, TypeError, ValueError)
