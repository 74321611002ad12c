"""Share requests out to the replicas of one model, and move those of a dead one.

All requests of a prompt go to one replica: its prefix cache holds the prompt. Which one is decided
by rendezvous hashing, so that the loss of a replica moves only its own prompts.
Source: Thaler & Ravishankar (1998), IEEE/ACM Transactions on Networking 6(1).
"""

from __future__ import annotations

import hashlib
import logging
import threading
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from engine.protocol_base import ServerProtocol, chunks
from engine.server_connection import ServerConnection, ServerError, UnreachableError
from scoring.number_trie import TokenPath
from scoring.scorer import Reply, Request

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass
class Replica:
    """One server of a model.

    Args:
        connection: how it is reached.
        protocol: how it is asked.
        check: judges the server again after a failure; raises ``ServerError`` if it has changed.
        in_flight: HTTP requests it is sent at once.
    """

    connection: ServerConnection
    protocol: ServerProtocol
    check: Callable[[Replica], None]
    in_flight: int = 1
    alive: bool = True

    @property
    def address(self) -> str:
        """Where it is, without credentials."""
        return self.connection.address

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Ask for log-probabilities in one HTTP request."""
        return self._checked(lambda: self.protocol.ask(self.connection.post, requests))

    def post(self, path: str, body: Any) -> Any:
        """Send one HTTP request."""
        return self._checked(lambda: self.connection.post(path, body))

    def _checked(self, call: Callable[[], T]) -> T:
        """Make a call; judge the server again where a try of it failed."""
        failures = self.connection.failures
        answer = call()
        if self.connection.failures != failures:
            self.check(self)
        return answer


@dataclass
class Fleet:
    """The replicas of one model.

    Args:
        name: the model's, for messages.
        replicas: at least one.
        moved: by the hash of a prompt's tokens, the address of the replica that it lost.
    """

    name: str
    replicas: Sequence[Replica]
    moved: dict[int, str] = field(default_factory=dict)
    _lost: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Answer all requests, in order; those of a replica that dies move to the others.

        Raises:
            ServerError: no replica is left, or one of them gave a wrong answer.
        """
        replies: dict[int, Reply] = {}
        while left := [n for n in range(len(requests)) if n not in replies]:
            jobs: list[tuple[Replica, list[int], Future[list[Reply]]]] = []
            for replica, indices in self._shares(requests, left):
                parts = _parts(indices, requests, replica.protocol)
                calls = [partial(replica.ask, [requests[n] for n in part]) for part in parts]
                futures = in_background(calls, replica.in_flight)
                jobs += [(replica, *pair) for pair in zip(parts, futures, strict=True)]
            try:
                for replica, part, job in jobs:
                    if answered := self._collected(replica, job.result):
                        replies.update(zip(part, answered, strict=True))
                        continue
                    lost = dict.fromkeys((hash(requests[n].prompt) for n in part), replica.address)
                    self.moved.update(lost)
            finally:  # after an error or an interrupt nothing more is asked
                cancel([job for *_, job in jobs])
        return [replies[n] for n in range(len(requests))]

    def post(self, prompt: TokenPath, path: str, body: Any) -> Any:
        """Send one request about a prompt to its replica, or to another if it dies.

        Raises:
            ServerError: no replica is left, or it was refused.
        """
        while True:
            living = self._living()
            replica = living[_owner(prompt, list(living))]
            try:
                return replica.post(path, body)
            except UnreachableError as error:
                self.lose(replica, error)
                self.moved[hash(prompt)] = replica.address

    def _living(self) -> dict[str, Replica]:
        """Return the replicas that are left by address; ServerError where none is."""
        living = {replica.address: replica for replica in self.replicas if replica.alive}
        if not living:
            raise ServerError("; ".join(self._lost))
        return living

    def _shares(
        self, requests: Sequence[Request], left: Sequence[int]
    ) -> list[tuple[Replica, list[int]]]:
        """Return the living replicas with the indices of their requests."""
        living = self._living()
        shares: dict[str, list[int]] = {address: [] for address in living}
        chosen: dict[TokenPath, str] = {}
        for n in left:
            prompt = requests[n].prompt
            if prompt not in chosen:
                chosen[prompt] = _owner(prompt, list(living))
            shares[chosen[prompt]].append(n)
        return [(living[address], indices) for address, indices in shares.items() if indices]

    def _collected(self, replica: Replica, result: Callable[[], list[Reply]]) -> list[Reply] | None:
        """Return the replies of one HTTP request; None if its replica is gone."""
        try:
            return result()
        except UnreachableError as error:
            self.lose(replica, error)
            return None
        except ServerError as error:
            text = str(error)
            known = replica.address in text
            raise ServerError(text if known else f"{replica.address}: {text}") from error

    def lose(self, replica: Replica, error: UnreachableError) -> None:
        """Note that a replica is gone, once."""
        with self._lock:
            if not replica.alive:
                return
            self._lost.append(str(error))  # first: who finds none alive says why
            replica.alive = False
            others = sum(one.alive for one in self.replicas)
        if others:
            logger.warning("%s: %s; its prompts move to the other %d", self.name, error, others)


def _owner(prompt: TokenPath, addresses: Sequence[str]) -> str:
    """Return the address that a prompt belongs to: that with the highest hash of both."""
    key = array("q", prompt).tobytes()
    return max(addresses, key=lambda one: hashlib.blake2b(one.encode() + b"\0" + key).digest())


def in_background(calls: Sequence[Callable[[], T]], threads: int) -> list[Future[T]]:
    """Make calls in so many threads, in order; returns their results to come.

    Daemon threads: ``ThreadPoolExecutor`` would keep an interrupted program until each server has
    answered.
    """
    futures: list[Future[T]] = [Future() for _ in calls]
    waiting = deque(zip(futures, calls, strict=True))

    def work() -> None:
        while waiting:
            try:
                future, call = waiting.popleft()
            except IndexError:  # another thread was faster
                return
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:
                    future.set_exception(error)

    for _ in range(min(threads, len(calls))):
        threading.Thread(target=work, daemon=True).start()
    return futures


def cancel(futures: Sequence[Future[T]]) -> None:
    """Withdraw the calls that have not begun."""
    for future in futures:
        future.cancel()


def _parts(
    indices: Sequence[int], requests: Sequence[Request], protocol: ServerProtocol
) -> list[list[int]]:
    asked = [requests[n] for n in indices]
    return [[indices[i] for i in part] for part in chunks(asked, protocol)]
