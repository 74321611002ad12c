"""Score against servers: equal to the model itself, and never silently wrong."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import config
from engine.server_connection import Patience, ServerConnection, ServerError
from preflight.model_entries import ModelSpec
from scoring.distribution import total_variation
from scoring.scorer import Request
from scoring.tasks import AgentError
from scoring.thoughts import Writing
from tests.support.model_server import (
    DIGIT_IDS,
    MODEL,
    OTHER_TOKENIZER,
    TOKENIZER,
    ModelServer,
    log_probabilities,
)
from tests.support.served_agents import distributions, expected, remote, tasks


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
def test_a_server_with_chosen_ids_gives_the_models_own_distribution(kind):
    with ModelServer() as server, remote(server, server=kind) as agent:
        found = distributions(agent, 5)
    assert all(total_variation(*pair) < 1e-12 for pair in zip(found, expected(5), strict=True))


def test_a_wave_is_at_most_three_http_requests():
    with ModelServer() as server, remote(server) as agent:
        before = len(server.behaviour.seen)
        distributions(agent, config.SCORING_WAVE)
        asked = [path for path, _ in server.behaviour.seen[before:]]
    assert len(asked) <= 3


def test_neutral_sampling_is_sent():
    with ModelServer() as server, remote(server) as agent:
        distributions(agent, 1)
        _, body = server.behaviour.seen[-1]
    assert body["repetition_penalty"] == 1.0
    assert body["temperature"] == 0
    assert body["return_tokens_as_token_ids"] is True
    with ModelServer() as server, remote(server, server="ollama"):
        assert server.behaviour.seen[-1][1]["options"]["repeat_penalty"] == 1


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ({"known_fields": False}, "wanted tokens did not come back"),
        ({"token_id_keys": False}, "names tokens by text"),
        ({"logprobs": False}, "it gave no 'logprobs.top_logprobs'"),
        ({"tokenize": False, "prompt_ids": False}, "tells no token ids"),
        ({"tokenize": False, "tokenizer": OTHER_TOKENIZER}, "set 'tokenizer'"),
        ({"tokenizer": OTHER_TOKENIZER}, "set 'tokenizer'"),
        ({"model": "another"}, "serves no model 'made-up'; it has: another"),
    ],
)
def test_a_server_that_cannot_score_exactly_is_refused_before_anything_is_scored(behaviour, words):
    with (
        ModelServer(**behaviour) as server,
        pytest.raises(AgentError, match=words) as caught,
        remote(server),
    ):
        pass
    assert "\n" not in str(caught.value)
    assert server.url in str(caught.value)


@pytest.mark.parametrize("behaviour", [{"model": "another"}, {"tokenizer": OTHER_TOKENIZER}])
def test_a_refused_server_keeps_no_open_connection(behaviour, monkeypatch):
    opened = []

    class Watched(ServerConnection):
        def open(self):
            super().open()
            opened.append(self)

    monkeypatch.setattr("engine.remote_agent.ServerConnection", Watched)
    with ModelServer(**behaviour) as server, pytest.raises(AgentError), remote(server):
        pass
    assert [connection._client for connection in opened] == [None]


def test_a_model_without_a_name_is_the_only_one_served():
    with ModelServer() as server, remote(server, model="") as agent:
        assert agent.spec.model == MODEL
        assert agent.served_by == "served by vllm 0.32.0 as made-up, weights unknown"


def test_a_router_that_passes_on_v1_only_is_enough():
    with ModelServer(tokenize=False) as server, remote(server) as agent:
        assert len(distributions(agent, 2)) == 2


def test_minus_infinity_is_no_probability():
    with ModelServer(minus_infinity=True) as server, remote(server) as agent:
        first = distributions(agent, 1)[0]
    assert np.all(np.isfinite(first.probabilities))


def test_a_server_that_changes_in_mid_run_is_refused():
    with ModelServer() as server, remote(server) as agent:
        distributions(agent, 1)
        server.behaviour.salt = 1
        server.behaviour.statuses = [(503, "0")]
        with pytest.raises(AgentError, match="has changed since the run began"):
            list(agent.score(tasks(3)[1:]))


def test_temporary_failures_are_tried_again_and_others_are_not():
    waits = []
    with ModelServer(statuses=[(429, "3"), (503, None)]) as server:
        connection = ServerConnection(server.url, patience=Patience(attempts=3), sleep=waits.append)
        connection.open()
        assert connection.post("/generate", {"input_ids": [], "token_ids_logprob": []}) == []
        assert waits == [3.0, 1.0]
        for status in (400, 404, 422):
            server.behaviour.statuses = [(status, None)]
            with pytest.raises(ServerError, match=f"answered {status}: not now"):
                connection.post("/generate", {})
        assert len(waits) == 2
        server.behaviour.statuses = [(429, "3600")]
        with pytest.raises(ServerError, match="asks to wait 3600 s"):
            connection.post("/generate", {})
        connection.close()


def test_the_key_comes_from_the_environment_and_is_in_no_message(monkeypatch):
    monkeypatch.setenv("FAR_SERVER_LOGIN", "s3cret-of-the-server")
    with ModelServer(key="s3cret-of-the-server") as server:
        with remote(server, api_key_variable="FAR_SERVER_LOGIN") as agent:
            distributions(agent, 1)
        server.behaviour.key = "another"
        with (
            pytest.raises(AgentError) as caught,
            remote(server, api_key_variable="FAR_SERVER_LOGIN"),
        ):
            pass
    assert "401" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_all_requests_of_a_prompt_go_to_one_replica_root_first():
    with ModelServer() as one, ModelServer() as two, remote(one, two) as agent:
        distributions(agent, 20)
        seen = [server.behaviour.prompts for server in (one, two)]
    roots = {tuple(agent.build_prompt(task).token_ids) for task in tasks(20)}
    owners = [{p for p in prompts if p in roots} for prompts in seen]
    assert owners[0] | owners[1] == roots
    assert not owners[0] & owners[1]
    assert min(map(len, owners)) > 3
    for prompts, own in zip(seen, owners, strict=True):
        children = [p for p in prompts if any(p[:-1] == root or p[:-2] == root for root in roots)]
        assert all(p[:-1] in own or p[:-2] in own for p in children)


def test_a_replica_that_is_down_at_the_start_is_left_out(caplog):
    with ModelServer() as server, remote(server, "http://127.0.0.1:9") as agent:
        found = distributions(agent, 4)
    assert all(total_variation(*pair) < 1e-12 for pair in zip(found, expected(4), strict=True))
    assert "the run begins without it" in caplog.text


def test_no_replica_is_one_line():
    with pytest.raises(AgentError, match=r"far did not connect: http://127\.0\.0\.1:9") as caught:
        remote("http://127.0.0.1:9", "http://127.0.0.1:10").__enter__()
    assert "\n" not in str(caught.value)


def started_server():
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.model_server"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_ten_thousand_prompts_lose_nothing_when_a_replica_is_killed(caplog):
    prompts = [tuple(TOKENIZER.encode(f"Question {n}:")) for n in range(10_000)]
    requests = [Request(prompt, DIGIT_IDS[:3]) for prompt in prompts]
    moment = random.Random(time.time_ns()).uniform(0.2, 2.0)  # printed with a failure
    servers = [started_server() for _ in range(2)]
    replies = []
    try:
        with remote(*(url for _, url in servers)) as agent:
            timer = threading.Timer(moment, os.kill, (servers[0][0].pid, signal.SIGKILL))
            timer.start()
            for start in range(0, len(requests), 250):
                replies += agent.next_token_logprobs(requests[start : start + 250])
            timer.join()
            replies[:10] = agent.next_token_logprobs(requests[:10])
            assert not agent._fleet.replicas[0].alive, moment
    finally:
        for process, _ in servers:
            process.kill()
            process.wait()
    assert len(replies) == len(requests), moment
    for prompt, reply in zip(prompts, replies, strict=True):
        row = log_probabilities(prompt)
        assert reply.logprobs == {token: float(row[token]) for token in DIGIT_IDS[:3]}, moment
    assert "its prompts move to the other 1" in caplog.text


def test_nothing_is_lost_when_a_replica_is_killed_at_work(caplog):
    count = 3 * config.SCORING_WAVE
    servers = [started_server() for _ in range(2)]
    found, notes = {}, []
    try:
        with remote(*(url for _, url in servers)) as agent:
            for outcome in agent.score(tasks(count)):
                if len(found) == config.SCORING_WAVE // 2:
                    servers[0][0].kill()
                    assert servers[0][0].wait(10) == -signal.SIGKILL
                found[outcome.index] = outcome.result.distribution
                notes.append(outcome.note)
    finally:
        for process, _ in servers:
            process.kill()
            process.wait()
    assert sorted(found) == list(range(count))
    for n, exact in enumerate(expected(count)):
        assert total_variation(found[n], exact) < 1e-12
    marked = [note for note in notes if note]
    assert set(marked) == {f"{servers[0][1]} was lost, another replica was asked"}
    assert 0 < len(marked) < count
    assert "its prompts move to the other 1" in caplog.text


def test_the_token_that_ends_notes_is_no_part_of_them(monkeypatch):
    ended = {"choices": [{"token_ids": TOKENIZER.encode("Rain~"), "finish_reason": "stop"}]}
    monkeypatch.setattr(TOKENIZER, "all_special_ids", TOKENIZER.encode("~"))
    with ModelServer() as server, remote(server) as agent:
        monkeypatch.setattr(agent._fleet, "post", lambda *_: ended)
        assert [one.text for one in agent.reason(tasks(1), 1)] == ["Rain"]


def test_notes_are_written_by_a_server_each_with_its_seed():
    with ModelServer() as server, remote(server) as agent:
        before = len(server.behaviour.seen)
        written = list(agent.reason(tasks(3), 2))
        seeds = {body["seed"] for _, body in server.behaviour.seen[before:]}
    assert [(one.index, one.sample, one.text) for one in written] == [
        (index, sample, "notes") for index in range(3) for sample in range(2)
    ]
    assert len(seeds) == 6


@pytest.mark.parametrize("kind", ["llama.cpp", "openai", "ollama"])
@pytest.mark.parametrize("top", [3, 20, 90])
def test_the_bound_of_a_server_of_likeliest_tokens_holds(kind, top, monkeypatch):
    monkeypatch.setattr(config, "SERVER_MAX_RESIDUAL", 1.0)
    with ModelServer() as server, remote(server, server=kind, top_tokens=top) as agent:
        outcomes = list(agent.score(tasks(4)))
    for outcome, exact in zip(outcomes, expected(4), strict=True):
        bound = outcome.result.residual_mass
        assert total_variation(outcome.result.distribution, exact) <= bound + 1e-12
        assert (bound > 0.1) == (top < 5)


def test_a_prompt_asked_again_keeps_its_bound(monkeypatch):
    monkeypatch.setattr(config, "SERVER_MAX_RESIDUAL", 1.0)
    with ModelServer() as server, remote(server, server="llama.cpp", top_tokens=3) as agent:
        first, again = (next(agent.score(tasks(1))).result for _ in range(2))
    assert first.residual_mass == again.residual_mass > 0.1
    assert again.requests == 0


def test_a_bound_that_is_too_wide_is_refused_with_the_number():
    with ModelServer() as server, remote(server, server="llama.cpp", top_tokens=3) as agent:
        (outcome,) = agent.score(tasks(1))
    assert outcome.result is None
    assert "the 3 likeliest tokens leave a bound of" in outcome.error
    assert "raise 'top_tokens'" in outcome.error


def test_a_text_server_with_another_tokenizer_is_refused():
    with (
        ModelServer(tokenizer=OTHER_TOKENIZER) as server,
        pytest.raises(AgentError, match="it read the prompt as"),
        remote(server, server="openai"),
    ):
        pass


def test_thoughts_are_written_token_by_token_with_their_own_settings():
    heard = []
    asked = [Writing((1, 2, n), {"max_tokens": 8, "seed": n, "stop": ["."]}) for n in range(3)]
    with ModelServer() as server, remote(server) as agent:
        written = list(agent.write(asked, lambda place, tokens: heard.append((place, tokens))))
        bodies = {body["seed"]: body for _, body in server.behaviour.seen if "seed" in body}
    tokens = tuple(TOKENIZER.encode(" notes"))
    assert [one.token_ids for one in written] == [tokens] * 3
    assert heard == [(place, len(tokens)) for place in range(3)]
    assert bodies[2]["prompt"] == [1, 2, 2]
    assert bodies[2]["stop"] == ["."]
    # The model's generation_config.json changes nothing, as in this process.
    assert (bodies[2]["top_k"], bodies[2]["repetition_penalty"]) == (0, 1.0)


def test_only_a_served_model_has_addresses():
    spec = ModelSpec("far", "http://a:1,http://b:2")
    assert spec.addresses == ("http://a:1", "http://b:2")
    assert dataclasses.replace(spec, path="owner/name").addresses == ()
