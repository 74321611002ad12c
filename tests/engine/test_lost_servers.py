"""Servers that hang, change or are lost: nothing is waited for, and the reason is told."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from engine import remote_agent
from scoring.scorer import Request
from scoring.tasks import AgentError
from scoring.thoughts import Writing
from tests.support.model_server import DIGIT_IDS, ModelServer
from tests.support.served_agents import remote, tasks


@pytest.fixture
def plain_interrupts():
    """Have Python's own handler: that of a run ends the process at the second interrupt."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("plain_interrupts")
@pytest.mark.parametrize(
    "work",
    [
        lambda agent: list(agent.score(tasks(1))),
        lambda agent: list(agent.write([Writing((1, 2), {"max_tokens": 8})], lambda *_: None)),
    ],
    ids=["score", "write"],
)
def test_neither_an_interrupt_nor_the_programs_end_waits_for_the_server(work):
    before = set(threading.enumerate())
    with ModelServer() as server, remote(server) as agent:
        server.behaviour.delay = 20.0
        main = threading.main_thread().ident
        assert main is not None
        threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT)).start()
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            work(agent)
        assert time.monotonic() - started < 10
        # Python joins all threads at its end but daemons.
        assert all(one.daemon for one in set(threading.enumerate()) - before)
        server.released.set()


def test_a_replica_lost_between_two_waves_is_named(monkeypatch):
    with ModelServer() as server, remote(server) as agent:
        agent._fleet.replicas[0].connection.sleep = lambda _: None
        monkeypatch.setattr(remote_agent, "CHECK_SECONDS", -1.0)
        server.behaviour.statuses = [(503, "0")] * 9
        with pytest.raises(AgentError, match=r"far: http://127\.0\.0\.1:\d+ ?.*3 tries"):
            agent.next_token_logprobs([Request((1, 2), DIGIT_IDS)])


def test_a_server_that_changes_while_it_writes_is_refused():
    with ModelServer() as server, remote(server) as agent:
        server.behaviour.salt = 1
        server.behaviour.statuses = [(503, "0")]
        with pytest.raises(AgentError, match="has changed since the run began"):
            list(agent.write([Writing((1, 2), {"max_tokens": 8})], lambda *_: None))
