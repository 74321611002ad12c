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
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from engine.server_connection import ServerConnection, ServerError, UnreachableError
from engine.server_protocols import ServerProtocol, chunks
from scoring.number_trie import TokenPath
from scoring.scorer import Reply, Request

logger = logging.getLogger(__name__)


def rendezvous(key: bytes, addresses: Sequence[str]) -> str:
    """Return the address with the highest hash of address and key."""
    return max(addresses, key=lambda one: hashlib.blake2b(one.encode() + b"\0" + key).digest())


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
        """Send one HTTP request; judge the server again where a try of it failed."""
        failures = self.connection.failures
        replies = self.protocol.ask(self.connection.post, requests)
        if self.connection.failures != failures:
            self.check(self)
        return replies


@dataclass
class Fleet:
    """The replicas of one model.

    Args:
        name: the model's, for messages.
        replicas: at least one.
    """

    name: str
    replicas: Sequence[Replica]
    moved: int = 0
    _lost: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def ask(self, requests: Sequence[Request]) -> list[Reply]:
        """Answer all requests, in order; those of a replica that dies move to the others.

        Raises:
            ServerError: no replica is left, or one of them gave a wrong answer.
        """
        replies: dict[int, Reply] = {}
        while left := [n for n in range(len(requests)) if n not in replies]:
            with ExitStack() as pools:
                jobs = [
                    (replica, part, pool.submit(replica.ask, [requests[n] for n in part]))
                    for replica, indices in self._shares(requests, left)
                    for pool in [pools.enter_context(_pool(replica))]
                    for part in _parts(indices, requests, replica.protocol)
                ]
                for replica, part, job in jobs:
                    self._collect(replica, part, job.result, replies)
        return [replies[n] for n in range(len(requests))]

    def post(self, prompt: TokenPath, path: str, body: Any) -> Any:
        """Send one request about a prompt to its replica, or to another if it dies.

        Raises:
            ServerError: no replica is left, or it was refused.
        """
        while True:
            living = {replica.address: replica for replica in self.replicas if replica.alive}
            if not living:
                raise ServerError("; ".join(self._lost))
            replica = living[rendezvous(array("q", prompt).tobytes(), list(living))]
            try:
                return replica.connection.post(path, body)
            except UnreachableError as error:
                self._lose(replica, error)

    def _shares(
        self, requests: Sequence[Request], left: Sequence[int]
    ) -> list[tuple[Replica, list[int]]]:
        """Return the living replicas with the indices of their requests."""
        living = {replica.address: replica for replica in self.replicas if replica.alive}
        if not living:
            raise ServerError("; ".join(self._lost))
        shares: dict[str, list[int]] = {address: [] for address in living}
        chosen: dict[TokenPath, str] = {}
        for n in left:
            prompt = requests[n].prompt
            if prompt not in chosen:
                chosen[prompt] = rendezvous(array("q", prompt).tobytes(), list(living))
            shares[chosen[prompt]].append(n)
        return [(living[address], indices) for address, indices in shares.items() if indices]

    def _collect(
        self,
        replica: Replica,
        part: Sequence[int],
        result: Callable[[], list[Reply]],
        replies: dict[int, Reply],
    ) -> None:
        """Keep the replies of one HTTP request; note a replica that is gone."""
        try:
            answered = result()
        except UnreachableError as error:
            self._lose(replica, error)
            self.moved += len(part)
            return
        except ServerError as error:
            text = str(error)
            known = replica.address in text
            raise ServerError(text if known else f"{replica.address}: {text}") from error
        replies.update(zip(part, answered, strict=True))

    def _lose(self, replica: Replica, error: UnreachableError) -> None:
        """Note that a replica is gone, once."""
        with self._lock:
            if not replica.alive:
                return
            replica.alive = False
            self._lost.append(str(error))
            others = sum(one.alive for one in self.replicas)
        if others:
            logger.warning("%s: %s; its prompts move to the other %d", self.name, error, others)


@contextmanager
def _pool(replica: Replica) -> Iterator[ThreadPoolExecutor]:
    """Yield threads for one replica; an error does not wait for their answers."""
    pool = ThreadPoolExecutor(replica.in_flight)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def _parts(
    indices: Sequence[int], requests: Sequence[Request], protocol: ServerProtocol
) -> list[list[int]]:
    asked = [requests[n] for n in indices]
    return [[indices[i] for i in part] for part in chunks(asked, protocol)]
