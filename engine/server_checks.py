"""Compare a server with what is expected of it, before and while it is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from engine.replicas import Replica
from engine.server_connection import ServerError
from scoring.scorer import Request
from terminal.redaction import redact
from terminal.text import visible_line

# Compared between two tokenizers: what numbers, spaces, scripts and line ends turn into.
PROBE_TEXT: Final = "Probability: 0 7 42 100 %\n\nÉvénement, 日本語, naïve; (50.5)\tend"
# By how much the log-probability of the probe's likeliest token may differ between two answers of
# one model in half precision.
PROBE_TOLERANCE: Final = 0.25
# Characters of a version or name that are kept.
MAX_NAME: Final = 200


@dataclass(frozen=True)
class Signs:
    """What tells a server from another: version, models' names, one answer."""

    version: str
    models: tuple[str, ...]
    logprobs: Mapping[int, float]

    def __str__(self) -> str:
        return ", ".join(filter(None, (self.version, *self.models)))

    def alike(self, other: Signs) -> bool:
        """Return whether both are of one server and model, as far as they tell."""
        if (self.version, self.models) != (other.version, other.models):
            return False
        before, now = self.logprobs, other.logprobs
        if not before:
            return True
        likeliest = max(before, key=lambda token: before[token])
        # Of a top-k server the tokens near the k-th come and go by rounding.
        if likeliest not in now:
            return False
        same = before[likeliest] == now[likeliest]  # minus infinity too
        return same or abs(before[likeliest] - now[likeliest]) <= PROBE_TOLERANCE


def signs(replica: Replica) -> Signs:
    """Ask a server for its signs."""
    connection, protocol = replica.connection, replica.protocol
    version = connection.get("/version", missing="")
    if isinstance(version, dict):
        version = version.get("version", "")
    names = model_names(connection.get("/v1/models", missing={}))
    ids = tuple(protocol.tokenizer.encode(PROBE_TEXT, add_special_tokens=False))
    digits = protocol.tokenizer.encode("0123456789", add_special_tokens=False)
    wanted = tuple(dict.fromkeys((*digits, ids[0])))
    (reply,) = protocol.ask(connection.post, [Request(ids, wanted)])
    return Signs(_line(version), tuple(names), dict(reply.logprobs))


def compare_tokenizers(replica: Replica, source: str) -> bool:
    """Compare the protocol's tokenizer with the server's own.

    Args:
        replica: the server.
        source: where the tokenizer came from, for the message.

    Returns:
        False where the server does not tell.

    Raises:
        ServerError: they write the probe text otherwise.
    """
    post = replica.connection.post
    theirs = replica.protocol.token_ids(
        lambda path, body: post(path, body, optional=True), PROBE_TEXT
    )
    if theirs is None:
        return False
    ours = list(replica.protocol.tokenizer.encode(PROBE_TEXT, add_special_tokens=False))
    if list(theirs) != ours:
        raise ServerError(
            f"{replica.address} writes a probe text as {len(theirs)} tokens that differ from the"
            f" {len(ours)} of {source}; set 'tokenizer' in the entry to the served model's own"
        )
    return True


def model_names(served: Any) -> list[str]:
    """Return the names in an answer of ``/v1/models``."""
    return [_line(one["id"]) for one in _entries(served) if "id" in one]


def model_window(served: Any, model: str) -> int | None:
    """Return the window in tokens that a server names for a model, if it does."""
    for one in _entries(served):
        if _line(one.get("id")) == model:
            window = one.get("max_model_len")
            return window if type(window) is int and window > 0 else None
    return None


def slot_window(props: Any) -> int | None:
    """Return the window in tokens that llama.cpp names in ``/props``, if it does."""
    settings = props.get("default_generation_settings") if isinstance(props, dict) else None
    window = settings.get("n_ctx") if isinstance(settings, dict) else None
    return window if type(window) is int and window > 0 else None


def _line(value: Any) -> str:
    """Return a server's words as they can be stored and shown."""
    return visible_line(redact(str(value)))[:MAX_NAME]


def _entries(served: Any) -> list[dict[str, Any]]:
    data = served.get("data") if isinstance(served, dict) else None
    return [one for one in data if isinstance(one, dict)] if isinstance(data, list) else []
