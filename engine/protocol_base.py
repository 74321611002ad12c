"""What all kinds of servers share: how one is asked, and how its values are read."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from scoring.scorer import Reply, Request

# vLLM writes minus infinity as -9999.0, which JSON can carry
# (vllm/entrypoints/openai/completion/serving.py).
MINUS_INFINITY: Final = -9990.0
# vLLM's bound on prompts of one completion request (VLLM_MAX_COMPLETION_PROMPTS).
MAX_PROMPTS: Final = 1000
# vLLM's bound on SamplingParams.logprob_token_ids.
MAX_TOKEN_IDS: Final = 128
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


def logprob(value: Any) -> float:
    """Read a natural log-probability; a caller judges whether it can be one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError
    if value <= MINUS_INFINITY:
        return -math.inf
    return value if isinstance(value, float) else float(min(value, sys.maxsize))


def token_id(value: Any) -> int:
    """Read a token id."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    return value


def token_ids_of(answer: Any, key: str) -> Sequence[Any] | None:
    """Return a list of token ids in an answer; None where it has none."""
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
