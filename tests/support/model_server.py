"""A made-up model behind the HTTP interfaces of vLLM, SGLang, llama.cpp and OpenAI's API, on loopback.

    python -m tests.support.model_server        serves until it is killed; prints its address first

The model is deterministic: a row of log-probabilities is drawn from the prompt's tokens alone, so
that every replica and the test itself compute the same.
"""

from __future__ import annotations

import json
import math
import sys
import time
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from engine.server_checks import PROBE_TEXT
from tests.support.fake_tokenizer import FakeTokenizer
from tests.support.loopback_server import LoopbackServer, QuietHandler

TOKENIZER = FakeTokenizer(sorted({c for c in PROBE_TEXT if not " " <= c <= "~"} - {"\n"}))
OTHER_TOKENIZER = FakeTokenizer([*TOKENIZER.texts[96:], "100", "42"])
MODEL = "made-up"
DIGIT_IDS = tuple(TOKENIZER.encode("0123456789"))


def log_probabilities(token_ids, salt: int = 0, tokenizer=TOKENIZER) -> np.ndarray:
    """The model: natural log-probabilities of all tokens, shape (vocabulary,); digits are likely."""
    seed = zlib.crc32(np.asarray([salt, *token_ids], dtype=np.int64).tobytes())
    logits = np.random.default_rng(seed).normal(size=len(tokenizer.get_vocab()))
    logits[tokenizer.encode("0123456789", add_special_tokens=False)] += 4
    return logits - math.log(np.exp(logits).sum())


@dataclass
class Behaviour:
    """What the server does, and what it has seen."""

    salt: int = 0
    model: str = MODEL
    version: str = "0.32.0"
    tokenizer: Any = TOKENIZER
    known_fields: bool = True  # an older server ignores logprob_token_ids
    token_id_keys: bool = True  # without: tokens named by text
    tokenize: bool = True
    prompt_ids: bool = True  # whether return_token_ids is known
    top: int = 100
    minus_infinity: bool = False
    logprobs: bool = True  # a proxy may strip them
    key: str = ""
    # Statuses to answer first, one a request, each with its Retry-After or None; then it serves.
    statuses: list[tuple[int, str | None]] = field(default_factory=list)
    delay: float = 0.0
    seen: list[tuple[str, dict]] = field(default_factory=list)
    prompts: list[tuple[int, ...]] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)


class Handler(QuietHandler):
    """Speaks all interfaces; ``behaviour`` is set on a subclass."""

    behaviour: Behaviour

    def do_GET(self) -> None:
        known = self.behaviour
        pages = {
            "/health": {},
            "/version": {"version": known.version},
            "/props": {"default_generation_settings": {"id": 0, "n_ctx": 3072}, "total_slots": 1},
            "/v1/models": {
                "object": "list",
                "data": [{"id": known.model, "object": "model", "max_model_len": 4096}],
            },
        }
        if self.path in pages:
            self._answer(200, pages[self.path])
        else:
            self._answer(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        known = self.behaviour
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known.authorizations.append(self.headers.get("Authorization"))
        if known.key and self.headers.get("Authorization") != f"Bearer {known.key}":
            self._answer(401, {"error": f"no access for {self.headers.get('Authorization')}"})
            return
        if known.statuses and self.path != "/tokenize":
            status, wait = known.statuses.pop(0)
            self._answer(status, {"error": {"message": "not now"}}, wait)
            return
        known.seen.append((self.path, body))
        time.sleep(known.delay)
        answers = {
            "/v1/completions": self._completions,
            "/generate": self._generate,
            "/completion": self._completion,
            "/api/generate": self._ollama,
            "/tokenize": self._tokenize,
        }
        if self.path == "/tokenize" and not known.tokenize:
            self._answer(404, {"detail": "Not Found"})
            return
        self._answer(200, answers[self.path](body))

    def _answer(self, status: int, body: object, wait: str | None = None) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        if wait is not None:
            self.send_header("Retry-After", wait)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _row(self, token_ids) -> np.ndarray:
        self.behaviour.prompts.append(tuple(token_ids))
        known = self.behaviour
        return log_probabilities(token_ids, known.salt, known.tokenizer)

    def _tokenize(self, body: dict) -> dict:
        text = body.get("prompt", body.get("content"))
        ids = self.behaviour.tokenizer.encode(text, add_special_tokens=False)
        return {"tokens": ids, "count": len(ids)}

    def _completions(self, body: dict) -> dict:
        known = self.behaviour
        prompts = body["prompt"]
        as_text = isinstance(prompts, str)
        if as_text:
            prompts = [known.tokenizer.encode(prompts, add_special_tokens=False)]
        elif isinstance(prompts[0], int):
            prompts = [prompts]
        choices = [
            {
                "index": n,
                "text": " notes",
                "token_ids": known.tokenizer.encode(" notes", add_special_tokens=False)
                if body.get("return_token_ids")
                else None,
                "finish_reason": "length",
                "logprobs": {"top_logprobs": [self._top(body, ids, as_text=as_text)]}
                if known.logprobs and body.get("logprobs")
                else None,
                "prompt_token_ids": ids
                if known.prompt_ids and body.get("return_token_ids")
                else None,
            }
            for n, ids in enumerate(prompts)
        ]
        total = sum(map(len, prompts))
        # Choices may come in any order: their index counts.
        return {
            "choices": choices[::-1],
            "usage": {"prompt_tokens": total, "completion_tokens": len(prompts)},
        }

    def _top(self, body: dict, ids, *, as_text: bool) -> dict[str, float]:
        known = self.behaviour
        row = self._row(ids)
        likeliest = int(np.argmax(row))
        wanted = [likeliest, *body.get("logprob_token_ids", ())]
        if as_text or not known.known_fields:
            wanted = list(np.argsort(-row)[: body["logprobs"]])
        if as_text or not known.token_id_keys:
            return {known.tokenizer.decode([token]): float(row[token]) for token in wanted}
        values = {f"token_id:{token}": float(row[token]) for token in wanted}
        if known.minus_infinity:
            values[f"token_id:{wanted[1]}"] = -9999.0
        return values

    def _generate(self, body: dict) -> list[dict]:
        answers = []
        for ids, wanted in zip(body["input_ids"], body["token_ids_logprob"], strict=True):
            row = self._row(ids)
            triples = [[float(row[token]), token, None] for token in wanted]
            answers.append({"meta_info": {"output_token_ids_logprobs": [triples]}})
        return answers

    def _completion(self, body: dict) -> dict:
        row = self._row(body["prompt"])
        tops = [
            {"id": int(token), "token": TOKENIZER.decode([token]), "logprob": float(row[token])}
            for token in np.argsort(-row)[: body["n_probs"]]
        ]
        first = {**tops[0], "top_logprobs": tops}
        return {"content": first["token"], "completion_probabilities": [first]}

    def _ollama(self, body: dict) -> dict:
        known = self.behaviour
        ids = known.tokenizer.encode(body["prompt"], add_special_tokens=False)
        row = self._row(ids)
        tops = [
            {"token": known.tokenizer.decode([token]), "logprob": float(row[token]), "bytes": []}
            for token in np.argsort(-row)[: body["top_logprobs"]]
        ]
        first = {**tops[0], "top_logprobs": tops}
        return {"response": first["token"], "logprobs": [first], "prompt_eval_count": len(ids)}


class ModelServer(LoopbackServer):
    """Serves the made-up model while it is entered."""

    def __init__(self, **behaviour) -> None:
        self.behaviour = Behaviour(**behaviour)
        super().__init__(type("Bound", (Handler,), {"behaviour": self.behaviour}))


if __name__ == "__main__":
    with ModelServer() as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        server.thread.join()
