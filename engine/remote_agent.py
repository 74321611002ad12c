"""``RemoteAgent``: a model on servers, scored as exactly as one in this process.

An entry of the model table with an address (``{"path": "http://gpu-box:8000"}``) makes one. The
client needs neither vLLM nor a GPU: only the model's tokenizer, which is compared with the server's
before anything is scored. docs/servers.md says what each kind of server must offer.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import config
from engine.replicas import Fleet, Replica, cancel, in_background
from engine.server_checks import (
    Signs,
    compare_tokenizers,
    model_names,
    model_window,
    signs,
    slot_window,
)
from engine.server_connection import Patience, ServerConnection, ServerError, UnreachableError
from engine.server_protocols import NEUTRAL, PROTOCOLS
from preflight.model_entries import ModelSpec
from scoring.agent import BaseAgent
from scoring.reasoning_notes import notes_sampling, strip_reasoning
from scoring.scorer import Reply, Request
from scoring.tasks import (
    AgentError,
    ForecastOutcome,
    ForecastTask,
    PromptError,
    Reasoning,
    reasoning_seed,
)
from scoring.thoughts import Completion, Writing
from terminal.text import visible_line

logger = logging.getLogger(__name__)

# A server is judged again when so many seconds have passed since it was, and after each failure.
CHECK_SECONDS: Final = 30.0
# Notes and thoughts written at once: vLLM decodes 256 side by side by default.
WRITERS: Final = 64
# Token ids have 32 bits.
MAX_TOKEN_ID: Final = 1 << 32


class RemoteAgent(BaseAgent):
    """A forecast model on one or more servers.

    Args:
        spec: the model; its path is an address, or several separated by commas.
        tolerance: replaces ``config.SCORING_TOLERANCE``.
        tokenizer: use this one in place of loading it; for tests.
    """

    def __init__(
        self, spec: ModelSpec, *, tolerance: float | None = None, tokenizer: Any = None
    ) -> None:
        super().__init__(spec, tolerance=tolerance)
        self.tokenizer = tokenizer
        self.patience = Patience(
            attempts=config.SERVER_MAX_ATTEMPTS,
            read_seconds=config.SERVER_READ_TIMEOUT_SECONDS,
            max_wait_seconds=config.SERVER_MAX_WAIT_SECONDS,
        )
        self._fleet = Fleet(spec.name, ())
        self._signs: dict[str, Signs] = {}
        self._checked = 0.0

    # --- load and shut down -----------------------------------------------------------------------

    def load(self) -> None:
        """Connect, load the tokenizer and compare it with the servers'.

        Raises:
            AgentError: no replica can be reached, the model has another name there, the tokenizers
                differ, or the server cannot give what exact scoring needs.
        """
        connections = [
            ServerConnection(address, self.spec.api_key_variable, self.patience)
            for address in self.spec.addresses
        ]
        lost = []
        # Filled below, so that shutdown() also closes what a failed load has opened.
        replicas: list[Replica] = []
        self._fleet = Fleet(self.name, replicas)
        for connection in connections:
            try:
                connection.open()
            except ServerError as error:
                raise self._failed(str(error)) from None
            protocol = PROTOCOLS[self.spec.server](self.spec.model, None, self.spec.top_tokens)
            replica = Replica(
                connection, protocol, self._check, 1 if protocol.max_prompts > 1 else 4
            )
            replicas.append(replica)
            try:
                self._meet(replica)
            except UnreachableError as error:
                replica.alive = False
                lost.append(str(error))
            except ServerError as error:
                raise self._failed(str(error)) from error
        if not any(replica.alive for replica in replicas):
            raise self._failed("; ".join(lost))
        for line in lost:
            logger.warning("%s: %s; the run begins without it", self.name, line)
        self._checked = time.monotonic()
        self.served_by = self._identity()
        logger.info("%s: %s, window %s tokens", self.name, self.served_by, self.max_model_len)

    def shutdown(self) -> None:
        """Close the connections; the servers go on."""
        self._scorings.clear()
        if moved := self._fleet.moved:
            logger.warning("%s: %d prompts moved to another server", self.name, len(moved))
            self._fleet.moved = {}
        for replica in self._fleet.replicas:
            replica.connection.close()

    def _failed(self, why: str) -> AgentError:
        why = why if "http" in why else f"{self.spec.path} {why}"
        return AgentError(f"{self.name} did not connect: {why}")

    def _meet(self, replica: Replica) -> None:
        """Learn what a server is; refuse one that cannot be scored exactly."""
        served = replica.connection.get("/v1/models", missing={})
        names = model_names(served)
        if not self.spec.model and len(names) == 1:
            self.spec = replace(self.spec, model=names[0])
        if names and self.spec.model not in names:
            raise ServerError(
                f"{replica.address} serves no model {self.spec.model!r}; it has:"
                f" {', '.join(names[:20])}; correct 'model' in the entry"
            )
        replica.protocol.model = self.spec.model
        window = model_window(served, self.spec.model)
        if window is None and self.spec.server == "llama.cpp":
            window = slot_window(replica.connection.get("/props", missing={}))
        windows = [self.spec.max_model_len, window, self.max_model_len or None]
        self.max_model_len = min(filter(None, windows), default=0)
        if not self.max_model_len:
            logger.warning(
                "%s: %s names no window, so prompts are not fitted to one; set 'max_model_len' in"
                " the entry",
                self.name, replica.address,
            )  # fmt: skip
        if self.tokenizer is None:
            self.tokenizer = _load_tokenizer(self.spec)
        replica.protocol.tokenizer = self.tokenizer
        source = self.spec.tokenizer or self.spec.model
        if not compare_tokenizers(replica, source):
            if self.spec.server == "vllm":
                raise ServerError(
                    f"{replica.address} tells no token ids, so its tokenizer cannot be compared;"
                    " allowed: a server or proxy that passes on /tokenize or return_token_ids"
                )
            logger.warning("%s: %s tells no token ids to compare", self.name, replica.address)
        self._signs[replica.address] = signs(replica)

    def _check(self, replica: Replica) -> None:
        """Compare a server with what it was at the start.

        Raises:
            ServerError: it has changed.
        """
        known, now = self._signs[replica.address], signs(replica)
        self._checked = time.monotonic()
        if not known.alike(now):
            raise ServerError(
                f"{replica.address} has changed since the run began (before: {known}; now: {now});"
                " resume the run with the server it began with"
            )

    def _identity(self) -> str:
        """Return what is known of the weights: servers, versions, model; not the weights."""
        living = [replica for replica in self._fleet.replicas if replica.alive]
        versions = sorted({self._signs[replica.address].version for replica in living})
        version = f" {', '.join(filter(None, versions))}".rstrip()
        return f"served by {self.spec.server}{version} as {self.spec.model}, weights unknown"

    # --- score ------------------------------------------------------------------------------------

    def next_token_logprobs(self, requests: Sequence[Request]) -> list[Reply]:
        """Answer all requests; one HTTP request for each server where the ids allow it."""
        try:
            if time.monotonic() - self._checked > CHECK_SECONDS:
                for replica in self._fleet.replicas:
                    if replica.alive:
                        self._check_or_lose(replica)
            replies = self._fleet.ask(requests)
        except ServerError as error:
            raise AgentError(f"{self.name}: {error}") from error
        return [
            reply if reply.forward_tokens else replace(reply, forward_tokens=_tokens(request))
            for request, reply in zip(requests, replies, strict=True)
        ]

    def score(self, tasks: Sequence[ForecastTask]) -> Iterator[ForecastOutcome]:
        """Score every task; refuse what a top-k server left too uncertain."""
        for scored in super().score(tasks):
            outcome = _marked(scored, self._fleet.moved)
            limit = config.SERVER_MAX_RESIDUAL
            result = outcome.result
            exact = PROTOCOLS[self.spec.server].exact
            if exact or result is None or result.residual_mass <= limit:
                yield outcome
                continue
            why = (
                f"the {self._fleet.replicas[0].protocol.top} likeliest tokens leave a bound of"
                f" {result.residual_mass:.3f} on the error (SERVER_MAX_RESIDUAL is {limit:g});"
                " raise 'top_tokens' in the entry or use a vLLM server"
            )
            yield replace(outcome, result=None, error=why)

    def _check_or_lose(self, replica: Replica) -> None:
        try:
            self._check(replica)
        except UnreachableError as error:
            self._fleet.lose(replica, error)

    # --- write ------------------------------------------------------------------------------------

    def reason(self, tasks: Sequence[ForecastTask], samples: int) -> Iterator[Reasoning]:
        """Write ``samples`` reasonings for each task; prompts that do not fit come first."""
        asked: list[tuple[int, int, Writing]] = []
        for index, task in enumerate(tasks):
            try:
                ids = self.reasoning_prompt(task)
            except PromptError as error:
                yield from (Reasoning(index, n, error=str(error)) for n in range(samples))
                self.progress(1)
                continue
            seeds = [reasoning_seed(task, n) for n in range(samples)]
            asked += [(index, n, Writing(ids, notes_sampling(s))) for n, s in enumerate(seeds)]
        completions = self.write([writing for *_, writing in asked], lambda *_: None)
        for (index, n, writing), one in zip(asked, completions, strict=True):
            self.progress(1 / samples)
            text = strip_reasoning(self._text(one))
            problem = None if text else f"{self.name} wrote no reasoning"
            tokens, reason = len(one.token_ids), one.finish_reason
            yield Reasoning(index, n, text, tokens, reason, writing.sampling["seed"], problem)

    def _text(self, written: Completion) -> str:
        """Return what was written, without the token that ended it."""
        ids = list(written.token_ids)
        if written.finish_reason == "stop" and ids[-1:]:
            ids = ids[: len(ids) - (ids[-1] in self.tokenizer.all_special_ids)]
        return str(self.tokenizer.decode(ids))

    def write(
        self, asked: Sequence[Writing], told: Callable[[int, int], object]
    ) -> Iterator[Completion]:
        """Write all texts, in order; each is an HTTP request with a seed of its own.

        So a text can be repeated whatever is written beside it.
        """
        if self.spec.server != "vllm":
            raise AgentError(f"{self.name}: notes and thoughts are written by vLLM servers only")
        jobs = in_background([partial(self._written, one) for one in asked], WRITERS)
        try:
            for place, job in enumerate(jobs):
                completion = job.result()
                told(place, len(completion.token_ids))
                yield completion
        finally:
            cancel(jobs)

    def _written(self, asked: Writing) -> Completion:
        body = {
            **NEUTRAL,
            "model": self.spec.model,
            "prompt": list(asked.token_ids),
            "add_special_tokens": False,
            "return_token_ids": True,
            **asked.sampling,
        }
        try:
            answer = self._fleet.post(asked.token_ids, "/v1/completions", body)
            choice = answer["choices"][0]
            ids = tuple(choice["token_ids"])
            if not all(type(token) is int and 0 <= token < MAX_TOKEN_ID for token in ids):
                raise ValueError
            return Completion(ids, str(choice.get("finish_reason") or "")[:20])
        except ServerError as error:
            raise AgentError(f"{self.name}: {error}") from error
        except (KeyError, IndexError, TypeError, AttributeError, ValueError):
            raise AgentError(
                f"{self.name}: the server's answer has no token ids; allowed: a vLLM server that"
                " knows return_token_ids"
            ) from None


def _load_tokenizer(spec: ModelSpec) -> Any:
    """Load the served model's tokenizer.

    Raises:
        ServerError: it did not load.
    """
    path = spec.tokenizer or spec.model
    try:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(path, trust_remote_code=spec.trust_remote_code)
    except (ImportError, OSError, ValueError) as error:
        raise ServerError(
            f"its tokenizer {path!r} did not load: {visible_line(str(error))[:200]}; set"
            " 'tokenizer' in the entry to a folder or a Hugging Face id"
        ) from error


def _marked(outcome: ForecastOutcome, moved: Mapping[int, str]) -> ForecastOutcome:
    """Note on a forecast that its replica was lost."""
    prompt = outcome.prompt
    lost = moved.get(hash(prompt.token_ids)) if prompt is not None else None
    return replace(outcome, note=f"{lost} was lost, another replica was asked" if lost else None)


def _tokens(request: Request) -> int:
    """Count the tokens a server runs for a request whose prompt is in its cache.

    Servers do not tell it for each prompt of a list. Whole blocks of vLLM's usual 16 tokens count
    as cached where the request belongs to a prompt asked before.
    """
    if not request.node:
        return len(request.token_ids)
    return len(request.token_ids) - len(request.prompt) // 16 * 16
