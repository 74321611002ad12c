"""Fit tasks into prompts: evidence budget, window, chat template, token ids.

``agents_vllm.py`` and ``agents.py`` (the oracle) must build the very same prompts, or comparing
them would prove nothing.
"""

from __future__ import annotations

from datetime import date
from functools import cached_property
from typing import Any, Final

import config
from preflight.model_entries import ModelSpec
from questions.question import Question
from scoring import prompts
from scoring.chat_templates import render, template_dates
from scoring.number_trie import NumberTokenizer, TokenPath
from scoring.tasks import ForecastTask, Prompt, PromptError

# Tokens kept free at the end of the window: a number of up to three tokens, its ending, one spare.
ANSWER_TOKENS: Final = 8


class PromptFitting:
    """Everything that depends on a model's tokenizer, window and chat template."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.tokenizer: Any = None
        # Window of the model in tokens; the engine's own value once it is loaded.
        self.max_model_len = spec.max_model_len or 0

    @property
    def name(self) -> str:
        """The configured name, under which forecasts are stored."""
        return self.spec.name

    @cached_property
    def numbers(self) -> NumberTokenizer:
        """Where and how this tokenizer writes the integers."""
        return NumberTokenizer(self.tokenizer)

    @cached_property
    def control_tokens(self) -> tuple[str, ...]:
        """Texts the tokenizer would turn into control tokens, wherever they occur."""
        special = list(getattr(self.tokenizer, "all_special_tokens", ()))
        added: dict[str, int] = getattr(self.tokenizer, "get_added_vocab", dict)()
        return tuple(dict.fromkeys((*special, *added)))

    def assure_agent(self) -> bool:
        """Tell whether each of 0-100 is one token where this model writes its answer.

        Such a model is read by the root request and stop checks alone; any other digit by digit,
        which is as exact and costs a few more requests.
        """
        question = Question("Does every integer from 0 to 100 have one token?")
        return self.build_prompt(
            ForecastTask(question, today=date.today().isoformat())
        ).trie.single_token

    def build_prompt(self, task: ForecastTask) -> Prompt:
        """Render a task, fitted by whole passages.

        The lowest-ranked passages go first; the question is never cut.

        Raises:
            PromptError: the question does not fit even without evidence.
            TokenizationError: the integers have no unambiguous spelling.
        """
        used = self._passages_in_budget(task)
        limit = self.max_model_len - ANSWER_TOKENS if self.max_model_len else None
        while True:
            prompt = self._render(task, used)
            if limit is None or len(prompt.token_ids) <= limit:
                return prompt
            if used == 0:
                what = "the question with its reasoning" if task.reasoning else "the question"
                raise PromptError(
                    f"{what} needs {len(prompt.token_ids)} tokens,"
                    f" the window of {self.name} has {limit}"
                )
            used -= 1

    def _passages_in_budget(self, task: ForecastTask) -> int:
        """Count the best passages that fit into ``config.CONTEXT_TOKENS``."""
        spent = 0
        for number, passage in enumerate(task.passages, start=1):
            block = prompts.passage_block(number, passage, self.control_tokens)
            spent += len(self.tokenizer.encode(block, add_special_tokens=False)) + 2
            if spent > config.CONTEXT_TOKENS:
                return number - 1
        return len(task.passages)

    def _template_kwargs(self, task: ForecastTask) -> dict[str, Any]:
        """Return the date in every form a template may ask for, and the model's settings."""
        return {**template_dates(task.today), **self.spec.chat_template_kwargs}

    def _render(self, task: ForecastTask, used: int) -> Prompt:
        messages = prompts.forecast_messages(
            task.question,
            task.passages[:used],
            today=task.today,
            facts=task.facts,
            reasoning=task.reasoning,
            control_tokens=self.control_tokens,
        )
        rendered = render(
            self.tokenizer,
            messages,
            answer_prefix=self.spec.answer_prefix,
            chat_template_kwargs=self._template_kwargs(task),
        )
        token_ids, trie = self.numbers.place(
            rendered.text, rendered.lead, add_special_tokens=rendered.add_special_tokens
        )
        return Prompt(rendered.text, token_ids, trie, used)

    def reasoning_prompt(self, task: ForecastTask) -> TokenPath:
        """Return token ids of the prompt that asks for reasoning; its answer fits.

        Raises:
            PromptError: the question and ``config.LOGIC_MAX_TOKENS`` do not fit, evidence or none.
        """
        for used in range(self._passages_in_budget(task), -1, -1):
            messages = prompts.reasoning_messages(
                task.question,
                task.passages[:used],
                today=task.today,
                facts=task.facts,
                control_tokens=self.control_tokens,
            )
            rendered = render(
                self.tokenizer,
                messages,
                chat_template_kwargs=self._template_kwargs(task),
                free=True,
            )
            ids = tuple(
                self.numbers.encode(rendered.text, add_special_tokens=rendered.add_special_tokens)
            )
            if not self.max_model_len or len(ids) + config.LOGIC_MAX_TOKENS <= self.max_model_len:
                return ids
        raise PromptError(
            f"the question needs {len(ids)} tokens and LOGIC_MAX_TOKENS is"
            f" {config.LOGIC_MAX_TOKENS}, the window of {self.name} has {self.max_model_len}"
        )
