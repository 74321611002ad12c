"""Ask servers for next-token log-probabilities, each kind in its own words.

Every answer is read by token id, and a wanted id that did not come back is either bounded (a server
that only gives the likeliest tokens) or refused: several servers accept the question of another,
answer something else, and say 200 OK.
"""

from __future__ import annotations

import heapq
import math
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Final

from engine.server_connection import ServerError
from scoring.scorer import ROUNDING, Reply, Request

# vLLM writes minus infinity as -9999.0, which JSON can carry
# (vllm/entrypoints/openai/completion/serving.py).
MINUS_INFINITY: Final = -9990.0
# vLLM's bound on prompts of one completion request (VLLM_MAX_COMPLETION_PROMPTS).
MAX_PROMPTS: Final = 1000
# vLLM's bound on SamplingParams.logprob_token_ids.
MAX_TOKEN_IDS: Final = 128
# Sent with every request: a model's generation_config.json must not bend the distribution.
NEUTRAL: Final = {
    "temperature": 0,
    "top_p": 1,
    "top_k": 0,
    "min_p": 0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0,
    "frequency_penalty": 0,
}
Post = Callable[[str, Any], Any]


class ServerProtocol(ABC):
    """How one kind of server is asked.

    Args:
        model: the name the server knows the model by.
        tokenizer: the model's, for servers that speak of tokens as texts.
        top: how many of the likeliest tokens a top-k server is asked for.
    """

    # Prompts of one HTTP request.
    max_prompts: int = MAX_PROMPTS
    # Token ids that one HTTP request may name for all its prompts; None where they are not named.
    max_wanted: int | None = MAX_TOKEN_IDS
    # Whether every wanted log-probability comes back.
    exact: bool = True

    def __init__(self, model: str, tokenizer: Any, top: int) -> None:
        self.model, self.tokenizer, self.top = model, tokenizer, top

    @abstractmethod
    def ask(self, post: Post, requests: Sequence[Request]) -> list[Reply]:
        """Send one HTTP request and read its answer, in order.

        Raises:
            ServerError: a wanted token did not come back, or the answer has another form.
        """

    def token_ids(self, post: Post, text: str) -> Sequence[int] | None:
        """Return the server's own token ids of ``text``; None where it does not tell."""
        return None


class VllmProtocol(ServerProtocol):
    """vLLM's ``/v1/completions`` with ``logprob_token_ids``, of May 2026 and later."""

    def ask(self, post: Post, requests: Sequence[Request]) -> list[Reply]:  # noqa: D102
        wanted = sorted({token for request in requests for token in request.wanted})
        answer = post(
            "/v1/completions",
            {
                **NEUTRAL,
                "model": self.model,
                "prompt": [list(request.token_ids) for request in requests],
                "max_tokens": 1,
                "logprobs": 1,
                "logprob_token_ids": wanted,
                "return_tokens_as_token_ids": True,
                "add_special_tokens": False,
            },
        )
        rows = _vllm_rows(answer, len(requests))
        _same_length(requests, answer.get("usage"), "prompt_tokens")
        return [Reply(_wanted(request, row)) for request, row in zip(requests, rows, strict=True)]

    def token_ids(self, post: Post, text: str) -> Sequence[int] | None:  # noqa: D102
        body = {"model": self.model, "prompt": text, "add_special_tokens": False}
        answer = post("/tokenize", body)
        if answer is None:  # many routers pass on only what begins with /v1
            body |= {"max_tokens": 1, "temperature": 0, "return_token_ids": True}
            answer = post("/v1/completions", body)
            choices = answer.get("choices") if isinstance(answer, Mapping) else None
            first = choices[0] if isinstance(choices, list) and choices else None
            return _ids(first, "prompt_token_ids")
        return _ids(answer, "tokens")


class SglangProtocol(ServerProtocol):
    """SGLang's ``/generate`` with ``token_ids_logprob``."""

    max_wanted = None

    def ask(self, post: Post, requests: Sequence[Request]) -> list[Reply]:  # noqa: D102
        answer = post(
            "/generate",
            {
                "input_ids": [list(request.token_ids) for request in requests],
                "sampling_params": {"max_new_tokens": 1, "temperature": 0},
                "return_logprob": True,
                "logprob_start_len": -1,
                "token_ids_logprob": [list(request.wanted) for request in requests],
            },
        )
        answers = answer if isinstance(answer, list) else [answer]
        if len(answers) != len(requests):
            raise ServerError(f"it answered {len(answers)} of {len(requests)} prompts")
        replies = []
        for request, one in zip(requests, answers, strict=True):
            replies.append(Reply(_wanted(request, _sglang_row(one))))
            _same_length([request], one["meta_info"], "prompt_tokens")
        return replies


class LlamaCppProtocol(ServerProtocol):
    """llama.cpp's ``/completion`` with ``n_probs``: the likeliest tokens, by id."""

    max_prompts = 1
    max_wanted = None
    exact = False

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
            row = {_id(one["id"]): _logprob(one["logprob"]) for one in first["top_logprobs"]}
        except (KeyError, IndexError, TypeError, ValueError):
            raise ServerError("it gave no 'completion_probabilities' with token ids") from None
        if answer.get("truncated"):
            raise ServerError(
                f"it cut a prompt of {len(request.token_ids)} tokens; set 'max_model_len' in the"
                " entry to its window"
            )
        return [bounded(request, row, self.top)]

    def token_ids(self, post: Post, text: str) -> Sequence[int] | None:  # noqa: D102
        return _ids(post("/tokenize", {"content": text, "add_special": False}), "tokens")


class OpenAiProtocol(ServerProtocol):
    """An OpenAI-compatible ``/v1/completions``: the likeliest tokens, as texts.

    The prompt is sent as text; that the server made the same tokens of it is checked by their
    number (``usage.prompt_tokens``).
    """

    max_prompts = 1
    max_wanted = None
    exact = False

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
            values = {str(text): _logprob(value) for text, value in top.items()}
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
                "options": {"num_predict": 1, "temperature": 0},
            },
        )
        try:
            counted = answer["prompt_eval_count"]
            top = answer["logprobs"][0]["top_logprobs"]
            values = {str(one["token"]): _logprob(one["logprob"]) for one in top}
        except (KeyError, IndexError, TypeError, AttributeError, ValueError):
            raise ServerError("it gave no 'top_logprobs' and 'prompt_eval_count'") from None
        return [self._by_text(request, values, counted)]


PROTOCOLS: Final[Mapping[str, type[ServerProtocol]]] = {
    "vllm": VllmProtocol,
    "sglang": SglangProtocol,
    "llama.cpp": LlamaCppProtocol,
    "openai": OpenAiProtocol,
    "ollama": OllamaProtocol,
}


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


def _vllm_rows(answer: Any, count: int) -> list[dict[int, float]]:
    """Read one row of log-probabilities by token id for each prompt of a completion."""
    try:
        choices = {_id(choice["index"]): choice for choice in answer["choices"]}
        tops = [choices[n]["logprobs"]["top_logprobs"][0] for n in range(count)]
        many = len(answer["choices"])
        rows = [
            {int(key[9:]): _logprob(v) for key, v in top.items() if key[:9] == "token_id:"}
            for top in tops
        ]
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        raise ServerError("it gave no 'logprobs.top_logprobs' for each prompt") from None
    if many != count:
        raise ServerError(f"it answered {many} choices to {count} prompts")
    if any(top and not row for top, row in zip(tops, rows, strict=True)):
        raise ServerError(
            "it names tokens by text, where values of different tokens collide; allowed: a server"
            " that knows return_tokens_as_token_ids"
        )
    return rows


def _sglang_row(answer: Any) -> dict[int, float]:
    try:
        triples = answer["meta_info"]["output_token_ids_logprobs"][0]
        return {_id(token): _logprob(value) for value, token, *_ in triples if value is not None}
    except (KeyError, IndexError, TypeError, ValueError):
        raise ServerError("it gave no 'output_token_ids_logprobs'") from None


def _same_length(requests: Sequence[Request], counts: Any, key: str) -> None:
    """Refuse an answer whose count of prompt tokens is not what was sent."""
    counted = counts.get(key) if isinstance(counts, Mapping) else None
    sent = sum(len(request.token_ids) for request in requests)
    if counted is not None and counted != sent:
        raise ServerError(
            f"it read {counted!r:.20} tokens of prompts, {sent} were sent; allowed: a server"
            " that neither cuts prompts nor adds to them (check its window and 'max_model_len')"
        )


def _wanted(request: Request, row: Mapping[int, float]) -> dict[int, float]:
    """Return the wanted log-probabilities; refuse where one is missing."""
    missing = [token for token in request.wanted if token not in row]
    if missing:
        raise ServerError(
            f"{len(missing)} of {len(request.wanted)} wanted tokens did not come back (it may be an"
            " older vLLM, another engine or a proxy that strips fields); allowed: a server that"
            " knows logprob_token_ids, such as vLLM of May 2026 or later"
        )
    return {token: row[token] for token in request.wanted}


def _logprob(value: Any) -> float:
    """Read a natural log-probability; whether it can be one is judged by who uses it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    if value <= MINUS_INFINITY:
        return -math.inf
    return value if isinstance(value, float) else float(min(value, sys.maxsize))


def _id(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    return value


def _ids(answer: Any, key: str) -> Sequence[Any] | None:
    if not isinstance(answer, Mapping):
        return None
    tokens = answer.get(key)
    if not isinstance(tokens, list):
        return None
    found = [one.get("id") if isinstance(one, Mapping) else one for one in tokens]
    return found if all(isinstance(one, int) for one in found) else None


def chunks(requests: Sequence[Request], protocol: ServerProtocol) -> list[list[int]]:
    """Split requests into HTTP requests, as indices; prompts of one share their ids.

    Requests of one HTTP request name at most ``protocol.max_wanted`` different tokens together.
    """
    found: list[list[int]] = []
    union: set[int] = set()
    for index, request in enumerate(requests):
        wider = union | set(request.wanted)
        full = found and len(found[-1]) >= protocol.max_prompts
        too_wide = protocol.max_wanted is not None and len(wider) > protocol.max_wanted
        if not found or full or too_wide:
            found.append([])
            wider = set(request.wanted)
        found[-1].append(index)
        union = wider
    return found
