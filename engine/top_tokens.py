"""Ask servers that give only the likeliest tokens; bound what they leave out."""

from __future__ import annotations

import heapq
import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from engine.protocol_base import Post, ServerProtocol, logprob, token_id, token_ids_of
from engine.server_connection import ServerError
from scoring.scorer import ROUNDING, Reply, Request


class TopTokensProtocol(ServerProtocol):
    """What these servers share: a prompt a request, and not every wanted token."""

    max_prompts = 1
    max_wanted = None
    exact = False


class LlamaCppProtocol(TopTokensProtocol):
    """llama.cpp's ``/completion`` with ``n_probs``: the likeliest tokens, by id."""

    def ask(self, post: Post, requests: Sequence[Request]) -> list[Reply]:  # noqa: D102
        (request,) = requests
        answer = post(
            "/completion",
            {
                "prompt": list(request.token_ids),
                "n_predict": 1,
                "n_probs": self.top,
                "post_sampling_probs": False,
                "temperature": 0,
                "cache_prompt": True,
            },
        )
        try:
            first = answer["completion_probabilities"][0]
            row = {token_id(one["id"]): logprob(one["logprob"]) for one in first["top_logprobs"]}
        except (KeyError, IndexError, TypeError, ValueError):
            raise ServerError("it gave no 'completion_probabilities' with token ids") from None
        if answer.get("truncated"):
            raise ServerError(
                f"it cut a prompt of {len(request.token_ids)} tokens; set 'max_model_len' in the"
                " entry to its window"
            )
        return [bounded(request, row, self.top)]

    def token_ids(self, post: Post, text: str) -> Sequence[int] | None:  # noqa: D102
        return token_ids_of(post("/tokenize", {"content": text, "add_special": False}), "tokens")


class OpenAiProtocol(TopTokensProtocol):
    """An OpenAI-compatible ``/v1/completions``: the likeliest tokens, as texts.

    The prompt is sent as text; that the server made the same tokens of it is checked by their
    number (``usage.prompt_tokens``).
    """

    def ask(self, post: Post, requests: Sequence[Request]) -> list[Reply]:  # noqa: D102
        (request,) = requests
        answer = post(
            "/v1/completions",
            {
                "model": self.model,
                "prompt": self.tokenizer.decode(list(request.token_ids)),
                "max_tokens": 1,
                "logprobs": self.top,
                "temperature": 0,
                "top_p": 1,
            },
        )
        try:
            counted = answer["usage"]["prompt_tokens"]
            top = answer["choices"][0]["logprobs"]["top_logprobs"][0]
            values = {str(text): logprob(value) for text, value in top.items()}
        except (KeyError, IndexError, TypeError, AttributeError, ValueError):
            raise ServerError("it gave no 'top_logprobs' and 'usage'") from None
        return [self._by_text(request, values, counted)]

    def _by_text(self, request: Request, values: Mapping[str, float], counted: Any) -> Reply:
        """Turn texts into tokens, where the server read the prompt as so many tokens."""
        if counted != len(request.token_ids):
            raise ServerError(
                f"it read the prompt as {counted!r:.20} tokens, this tokenizer as"
                f" {len(request.token_ids)}; give the server's own tokenizer"
            )
        texts = {self.tokenizer.decode([token]): token for token in request.wanted}
        if any(self._texts[text] > 1 for text in texts):
            raise ServerError("tokens of this model have the same text as a number's")
        row = {
            texts.get(text, -1 - number): value
            for number, (text, value) in enumerate(values.items())
        }
        return bounded(request, row, self.top)

    @cached_property
    def _texts(self) -> Counter[str]:
        """Count the tokens of each text, but for those of single bytes."""
        names = self.tokenizer.get_vocab().items()
        return Counter(self.tokenizer.decode([n]) for name, n in names if name[:3] != "<0x")


class OllamaProtocol(OpenAiProtocol):
    """Ollama's ``/api/generate`` (0.12.11 and later): at most 20 tokens, as texts.

    A window (``num_ctx``) that cuts a prompt shows in ``prompt_eval_count``.
    """

    def __init__(self, model: str, tokenizer: Any, top: int) -> None:
        super().__init__(model, tokenizer, min(top, 20))

    def ask(self, post: Post, requests: Sequence[Request]) -> list[Reply]:  # noqa: D102
        (request,) = requests
        answer = post(
            "/api/generate",
            {
                "model": self.model,
                "prompt": self.tokenizer.decode(list(request.token_ids)),
                "raw": True,
                "stream": False,
                "logprobs": True,
                "top_logprobs": self.top,
                # Its own default penalises what was said before.
                "options": {"num_predict": 1, "temperature": 0, "repeat_penalty": 1},
            },
        )
        try:
            counted = answer["prompt_eval_count"]
            top = answer["logprobs"][0]["top_logprobs"]
            values = {str(one["token"]): logprob(one["logprob"]) for one in top}
        except (KeyError, IndexError, TypeError, AttributeError, ValueError):
            raise ServerError("it gave no 'top_logprobs' and 'prompt_eval_count'") from None
        return [self._by_text(request, values, counted)]


def bounded(request: Request, row: Mapping[int, float], top: int) -> Reply:
    """Return the reply of a top-k server, with a bound on what was not seen.

    A token outside the k likeliest has at most the probability of the k-th, and all of them
    together what the row leaves over. A row may hold one more token: the one that was drawn.

    Args:
        request: what was asked.
        row: natural log-probabilities of the k likeliest tokens by id.
        top: k.
    """
    if not row:
        raise ServerError("it gave no likeliest tokens")
    if not all(value <= ROUNDING for value in row.values()):  # NaN too
        raise ServerError("it gave log-probabilities that are NaN or above 0; allowed: at most 0")
    probabilities = [math.exp(value) for value in row.values()]
    seen = sum(probabilities)
    if seen > 1 + ROUNDING:
        raise ServerError(f"its likeliest tokens add up to {seen:.3g}; allowed: at most 1")
    missing = [token for token in request.wanted if token not in row]
    least = heapq.nlargest(top, probabilities)[-1]
    unseen = min(max(0.0, 1.0 - seen), len(missing) * least)
    known = {token: row[token] for token in request.wanted if token in row}
    # 0 would say that none is missing; the rows of a server may add up to a little more than 1.
    return Reply(known, unseen=max(unseen, sys.float_info.min) if missing else 0.0)
