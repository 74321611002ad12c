"""Ask servers for next-token log-probabilities, each kind in its own words.

Every answer is read by token id, and a wanted id that did not come back is either bounded (a server
that only gives the likeliest tokens) or refused: several servers accept the question of another,
answer something else, and say 200 OK.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from engine.protocol_base import Post, ServerProtocol, logprob, token_id, token_ids_of
from engine.server_connection import ServerError
from engine.top_tokens import LlamaCppProtocol, OllamaProtocol, OpenAiProtocol
from scoring.scorer import Reply, Request

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
            return token_ids_of(first, "prompt_token_ids")
        return token_ids_of(answer, "tokens")


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


PROTOCOLS: Final[Mapping[str, type[ServerProtocol]]] = {
    "vllm": VllmProtocol,
    "sglang": SglangProtocol,
    "llama.cpp": LlamaCppProtocol,
    "openai": OpenAiProtocol,
    "ollama": OllamaProtocol,
}


def _vllm_rows(answer: Any, count: int) -> list[dict[int, float]]:
    """Read one row of log-probabilities by token id for each prompt of a completion."""
    try:
        choices = {token_id(choice["index"]): choice for choice in answer["choices"]}
        tops = [choices[n]["logprobs"]["top_logprobs"][0] for n in range(count)]
        many = len(answer["choices"])
        rows = [
            {int(key[9:]): logprob(v) for key, v in top.items() if key[:9] == "token_id:"}
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
        return {
            token_id(token): logprob(value) for value, token, *_ in triples if value is not None
        }
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
