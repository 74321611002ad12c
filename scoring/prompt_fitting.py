"""Fit tasks into prompts: evidence budget, window, chat template, token ids.

``agents_vllm.py`` and ``agents.py`` (the oracle) must build the very same prompts, or comparing
them would prove nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

import config
from preflight.model_entries import ModelSpec
from questions.question import Question
from scoring import prompts
from scoring.chat_templates import Rendered, render, spaced, template_dates
from scoring.number_trie import NumberTokenizer, NumberTrie, TokenPath
from scoring.prompt_encoding import PromptEncoder
from scoring.tasks import AgentError, ForecastTask, Prompt, PromptError, Thought
from scoring.thinking import ThoughtFormat, thought_format

# Tokens kept free at the end of the window: a number of up to three tokens, its ending, one spare.
ANSWER_TOKENS: Final = 8
# Most tokens that a passage adds beside its own.
EDGE_TOKENS: Final = 8

# Renders a task with some of its passages, as they are quoted.
Build = Callable[[ForecastTask, Sequence[str]], Prompt]


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
    def encoder(self) -> PromptEncoder:
        """Token ids of prompts; passages that repeat are encoded once."""
        return PromptEncoder(self.numbers)

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
        limit = self.max_model_len - ANSWER_TOKENS
        prompt = self._fitted(task, limit, self._forecast_prompt)
        if self.max_model_len and len(prompt.token_ids) > limit:
            what = "the question with its reasoning" if task.reasoning else "the question"
            raise PromptError(
                f"{what} needs {len(prompt.token_ids)} tokens,"
                f" the window of {self.name} has {limit}"
            )
        return prompt

    @cached_property
    def thoughts(self) -> ThoughtFormat | None:
        """How the model thinks, None where its chat template does not show it."""
        kwargs = {**template_dates("2000-01-01"), **self.spec.chat_template_kwargs}
        words = self.spec.think if isinstance(self.spec.think, str) else ""
        return thought_format(self.tokenizer, kwargs, words=words)

    @property
    def required_thoughts(self) -> ThoughtFormat:
        """Return how the model thinks.

        Raises:
            AgentError: its chat template does not show it.
        """
        if self.thoughts is None:
            raise AgentError(
                f"{self.name}: think is set but the chat template shows no way to think; allowed:"
                " templates with <think>, an analysis channel or the like; leave think out, or give"
                " the line of the system prompt that switches thinking on"
            )
        return self.thoughts

    def thought_prompt(self, task: ForecastTask) -> Prompt:
        """Render the prompt behind which a thought is written.

        The longest thought fits behind it, and then its closing and the number.

        Raises:
            AgentError: the model cannot think.
            PromptError: the question and ``config.THINK_MAX_TOKENS`` do not fit, evidence or none.
            TokenizationError: the integers have no unambiguous spelling.
        """
        _, closing, _ = self._closed("", ended=False)
        spare = len(closing) + ANSWER_TOKENS
        return self._before_text(task, self._opened, "THINK_MAX_TOKENS", spare)

    def reasoning_prompt(self, task: ForecastTask) -> TokenPath:
        """Return token ids of the prompt that asks for reasoning; its answer fits.

        Raises:
            PromptError: the question and ``config.LOGIC_MAX_TOKENS`` do not fit, evidence or none.
        """
        return self._before_text(task, self._reasoning_prompt, "LOGIC_MAX_TOKENS", 0).token_ids

    def _before_text(self, task: ForecastTask, build: Build, setting: str, spare: int) -> Prompt:
        """Fit a prompt before a text of ``setting`` tokens and a few to ``spare``."""
        longest: int = getattr(config, setting)
        limit = self.max_model_len - spare - longest
        prompt = self._fitted(task, limit, build)
        if self.max_model_len and len(prompt.token_ids) > limit:
            raise PromptError(
                f"the question needs {len(prompt.token_ids)} tokens and {setting} is {longest},"
                f" the window of {self.name} has {self.max_model_len}"
            )
        return prompt

    def _blocks_in_budget(self, task: ForecastTask) -> list[str]:
        """Return the best passages as quoted, as many as ``config.CONTEXT_TOKENS`` hold."""
        spent = 0
        blocks: list[str] = []
        for number, passage in enumerate(task.passages, start=1):
            block = prompts.passage_block(number, passage, self.control_tokens)
            spent += len(self.encoder.piece(block)) + 2
            if spent > config.CONTEXT_TOKENS:
                break
            blocks.append(block)
        return blocks

    def _fitted(self, task: ForecastTask, limit: int, build: Build) -> Prompt:
        """Build with as many passages as ``limit`` tokens allow, or with none."""
        blocks = self._blocks_in_budget(task)
        used = len(blocks)
        while True:
            prompt = build(task, blocks[:used])
            over = len(prompt.token_ids) - limit
            if not self.max_model_len or over <= 0 or used == 0:
                return prompt
            # Skip what is too long for certain: a block takes its own tokens and a few at its ends.
            while over > 0 and used > 0:
                used -= 1
                over -= len(self.encoder.piece(blocks[used])) + EDGE_TOKENS

    def _forecast_prompt(self, task: ForecastTask, blocks: Sequence[str]) -> Prompt:
        if task.thought is not None:
            return self._behind_thought(task, task.thought, blocks)
        form = self.thoughts
        rendered = self._render(
            task,
            self._forecast_messages(task, blocks),
            switch={} if form is None else form.off,
            ending=None if form is None else form.unthought,
            answer_prefix=self.spec.answer_prefix,
        )
        ids, trie = self.numbers.place(
            rendered.text,
            rendered.lead,
            add_special_tokens=rendered.add_special_tokens,
            token_ids=self._ids(rendered, blocks),
        )
        return Prompt(rendered.text, ids, trie, len(blocks))

    def _forecast_messages(self, task: ForecastTask, blocks: Sequence[str]) -> prompts.Messages:
        return prompts.forecast_messages(
            task.question,
            task.passages[: len(blocks)],
            today=task.today,
            facts=task.facts,
            reasoning=task.reasoning,
            wording=task.wording,
            control_tokens=self.control_tokens,
        )

    def _opened(self, task: ForecastTask, blocks: Sequence[str]) -> Prompt:
        """Return the prompt that ends where a thought begins."""
        messages = self._forecast_messages(task, blocks)
        if isinstance(self.spec.think, str):
            messages[0]["content"] += f"\n{self.spec.think}"
        form = self.required_thoughts
        rendered = self._render(task, messages, switch=form.on, ending=form.opened, free=True)
        return self._without_number(rendered, blocks)

    def _behind_thought(
        self, task: ForecastTask, thought: Thought, blocks: Sequence[str]
    ) -> Prompt:
        """Return the prompt that ends behind a thought, where the number begins.

        The thought's tokens stay as they were generated, so that the engine has them in its cache.
        """
        opened = self._opened(task, blocks)
        end, tail, trie = self._closed(thought.rest, ended=thought.ended)
        return Prompt(
            opened.text + thought.text.removesuffix(thought.rest) + end,
            opened.token_ids + thought.token_ids + tail,
            trie,
            len(blocks),
        )

    def _closed(self, rest: str, *, ended: bool) -> tuple[str, TokenPath, NumberTrie]:
        """Return what follows a thought: its text and tokens, and the numbers behind it."""
        closing = rest + self.required_thoughts.closing(ended=ended)
        end, lead = spaced(closing + self.spec.answer_prefix, bool(self.spec.answer_prefix))
        return end, *self.numbers.place(end, lead)

    def _reasoning_prompt(self, task: ForecastTask, blocks: Sequence[str]) -> Prompt:
        messages = prompts.reasoning_messages(
            task.question,
            task.passages[: len(blocks)],
            today=task.today,
            facts=task.facts,
            control_tokens=self.control_tokens,
        )
        return self._without_number(self._render(task, messages, free=True), blocks)

    def _without_number(self, rendered: Rendered, blocks: Sequence[str]) -> Prompt:
        """Return a prompt behind which a text is written."""
        return Prompt(rendered.text, self._ids(rendered, blocks), NumberTrie((), ()), len(blocks))

    def _render(
        self,
        task: ForecastTask,
        messages: prompts.Messages,
        *,
        switch: Mapping[str, Any] = MappingProxyType({}),
        **options: Any,
    ) -> Rendered:
        """Apply the template with the task's date in every form that it may ask for.

        ``switch`` are its arguments for thinking or not thinking; those of the entry win.
        """
        kwargs = {**switch, **template_dates(task.today), **self.spec.chat_template_kwargs}
        return render(self.tokenizer, messages, chat_template_kwargs=kwargs, **options)

    def _ids(self, rendered: Rendered, blocks: Sequence[str]) -> TokenPath:
        return self.encoder.encode(
            rendered.text, blocks, add_special_tokens=rendered.add_special_tokens
        )
