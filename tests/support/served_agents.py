"""Agents of the made-up model, served and in this process."""

from __future__ import annotations

from engine.remote_agent import RemoteAgent
from engine.server_connection import Patience
from preflight.model_entries import ModelSpec
from questions.question import Question
from scoring.agent import BaseAgent
from scoring.scorer import Reply
from scoring.tasks import ForecastTask
from tests.support.model_server import MODEL, TOKENIZER, log_probabilities

TODAY = "2026-11-26"


class LocalAgent(BaseAgent):
    """The same model in this process."""

    def load(self):
        self.tokenizer, self.max_model_len = TOKENIZER, 4096

    def shutdown(self):
        pass

    def next_token_logprobs(self, requests):
        rows = [log_probabilities(request.token_ids) for request in requests]
        return [
            Reply({token: float(row[token]) for token in request.wanted})
            for request, row in zip(requests, rows, strict=True)
        ]


def tasks(count):
    return [ForecastTask(Question(f"Will event {n} happen?"), TODAY) for n in range(count)]


def remote(*servers, tolerance=0.0, **keys):
    path = ",".join(server if isinstance(server, str) else server.url for server in servers)
    spec = ModelSpec("far", path, **{"model": MODEL, **keys})
    agent = RemoteAgent(spec, tolerance=tolerance, tokenizer=TOKENIZER)
    agent.patience = Patience(attempts=3, connect_seconds=2, read_seconds=20)
    return agent


def distributions(agent, count):
    found = {}
    for outcome in agent.score(tasks(count)):
        assert outcome.error is None, outcome.error
        found[outcome.index] = outcome.result.distribution
    return [found[n] for n in range(count)]


def expected(count):
    agent = LocalAgent(ModelSpec("near", "near"), tolerance=0.0)
    with agent:
        return distributions(agent, count)
