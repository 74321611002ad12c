"""Servers that answer nonsense: one line each, and nothing is believed."""

from __future__ import annotations

import gzip
import itertools
import math
from contextlib import nullcontext

import pytest

from engine import remote_agent, server_connection
from engine.server_checks import Signs
from engine.server_connection import Patience, ServerConnection, ServerError
from engine.server_protocols import PROTOCOLS
from engine.top_tokens import bounded
from scoring.number_trie import NumberTokenizer
from scoring.scorer import ForecastScoring, Request, ScoringError
from scoring.tasks import AgentError
from scoring.thoughts import Writing
from tests.support.fake_tokenizer import FakeTokenizer
from tests.support.loopback_server import LoopbackServer, QuietHandler
from tests.support.model_server import DIGIT_IDS, TOKENIZER, ModelServer
from tests.support.served_agents import remote


@pytest.mark.parametrize(
    ("kind", "spoil", "words"),
    [
        ("vllm", {"choices": [{"index": 10**400}]}, "it gave no 'logprobs.top_logprobs'"),
        ("vllm", {"choices": {"0": 1}}, "it gave no 'logprobs.top_logprobs'"),
        ("sglang", [{"meta_info": {"output_token_ids_logprobs": [[[0.5, True]]]}}], "it gave no"),
        ("llama.cpp", [], "it gave no 'completion_probabilities'"),
        ("openai", {"usage": None}, "it gave no 'top_logprobs' and 'usage'"),
    ],
)
def test_an_answer_of_another_form_is_refused_in_one_line(kind, spoil, words):
    protocol = PROTOCOLS[kind]("made-up", TOKENIZER, 3)
    with pytest.raises(ServerError, match=words) as caught:
        protocol.ask(lambda *_: spoil, [Request((1, 2), DIGIT_IDS)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [True, False, "-1.5", None, [1]])
def test_a_value_that_is_no_number_is_refused(value):
    row = {f"token_id:{token}": value for token in DIGIT_IDS}
    answer = {"choices": [{"index": 0, "logprobs": {"top_logprobs": [row]}}]}
    with pytest.raises(ServerError, match="it gave no"):
        PROTOCOLS["vllm"]("", None, 1).ask(lambda *_: answer, [Request((1,), DIGIT_IDS)])


@pytest.mark.parametrize("value", [math.nan, math.inf, 10**400, 0.5, 1e308])
def test_a_value_that_is_no_log_probability_costs_the_forecast(value):
    row = {f"token_id:{token}": -3.0 for token in DIGIT_IDS}
    row[f"token_id:{DIGIT_IDS[4]}"] = value
    answer = {"choices": [{"index": 0, "logprobs": {"top_logprobs": [row]}}]}
    request = Request((1,), DIGIT_IDS)
    (reply,) = PROTOCOLS["vllm"]("", None, 1).ask(lambda *_: answer, [request])
    trie = NumberTokenizer(TOKENIZER).trie("Answer:", " ")
    with pytest.raises(ScoringError, match="the engine returned the log-probability"):
        ForecastScoring((1,), trie).record((), reply)


@pytest.mark.parametrize("value", [math.nan, math.inf, 10**400, 0.5, 1e308])
def test_a_likeliest_token_of_no_log_probability_is_refused(value):
    # An unwanted one counts too: it would narrow the bound.
    tops = [{"id": 1, "logprob": value}, {"id": DIGIT_IDS[0], "logprob": -1.0}]
    answer = {"completion_probabilities": [{"top_logprobs": tops}]}
    with pytest.raises(ServerError, match="NaN or above 0"):
        PROTOCOLS["llama.cpp"]("", None, 2).ask(lambda *_: answer, [Request((1,), DIGIT_IDS)])


def test_likeliest_tokens_that_add_up_to_more_than_1_are_refused():
    with pytest.raises(ServerError, match="add up to 2"):
        bounded(Request((1,), (5,)), {1: 0.0, 2: 0.0}, 2)


def test_a_drawn_token_beyond_the_likeliest_does_not_narrow_the_bound():
    row = {1: math.log(0.5), 2: math.log(0.2), 3: math.log(1e-6)}
    assert bounded(Request((1,), (8,)), row, 2).unseen == pytest.approx(0.2)
    assert bounded(Request((1,), (8,)), row, 3).unseen == pytest.approx(1e-6)


def served_bytes(*parts, headers=(), status=200):
    """Return a server that answers all requests with these bytes."""

    class Handler(QuietHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            for part in parts:
                self.wfile.write(part)

    return LoopbackServer(Handler)


def connected(server, **keys):
    connection = ServerConnection(server.url, sleep=lambda _: None, **keys)
    connection.open()
    return connection


@pytest.mark.parametrize(
    ("parts", "headers", "words"),
    [
        ([b"[" * 100_000], (), "answered no JSON"),
        ([b"\xff\xfe\x00"], (), "answered no JSON"),
        ([b"no gzip"], (("Content-Encoding", "gzip"),), "4 tries"),
        ([b"x" * 600_000] * 3, (), "answered more than 1 MB"),
        ([gzip.compress(bytes(50_000_000))], (("Content-Encoding", "gzip"),), "more than 1 MB"),
    ],
)
def test_an_answer_that_cannot_be_read_is_one_line(parts, headers, words, monkeypatch):
    monkeypatch.setattr(server_connection, "MAX_ANSWER", 1_000_000)
    with served_bytes(*parts, headers=headers) as server:
        with pytest.raises(ServerError, match=words) as caught:
            connected(server).post("/generate", {})
        assert "\n" not in str(caught.value)


def test_an_answer_that_never_ends_is_given_up():
    endless = (b" " for _ in itertools.count())
    with served_bytes(b"", b"") as server:
        server.server.RequestHandlerClass.do_POST = lambda self: (
            self.send_response(200),
            self.end_headers(),
            [self.wfile.write(part) for part in endless],
        )
        connection = connected(server, patience=Patience(read_seconds=0.3))
        with pytest.raises(ServerError, match="does not end its answer"):
            connection.post("/generate", {})


def test_a_redirect_is_not_followed():
    with ModelServer() as other:
        to = (("Location", other.url),)
        with (
            served_bytes(headers=to, status=307) as server,
            pytest.raises(ServerError, match="answered 307"),
        ):
            connected(server).post("/generate", {})
        assert not other.behaviour.seen


@pytest.mark.parametrize("key", ["s3cret-of\nthe-server", "schlüssel-of-the-server"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_named(key, monkeypatch):
    monkeypatch.setenv("FAR_SERVER_LOGIN", key)
    with (
        ModelServer() as server,
        pytest.raises(AgentError, match="FAR_SERVER_LOGIN") as caught,
        remote(server, api_key_variable="FAR_SERVER_LOGIN"),
    ):
        pass
    assert "of-the-server" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_key_from_a_file_with_a_line_break_works(monkeypatch):
    monkeypatch.setenv("FAR_SERVER_LOGIN", "s3cret-of-the-server\n")
    with ModelServer(key="s3cret-of-the-server") as server:
        with remote(server, api_key_variable="FAR_SERVER_LOGIN"):
            pass
        assert "Bearer s3cret-of-the-server" in server.behaviour.authorizations


def test_this_machine_is_not_asked_through_a_proxy(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with ModelServer() as server, remote(server) as agent:
        assert agent.max_model_len == 4096


def test_a_proxy_that_cannot_be_used_is_one_line_without_its_password(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "sock://me:pr0xy-password@box:1")
    connection = ServerConnection("http://gpu-box:8000")
    with pytest.raises(ServerError, match="correct HTTP_PROXY") as caught:
        connection.open()
    assert "pr0xy" not in str(caught.value)


@pytest.mark.parametrize("tokens", [[-1], [2**40], [True], ["7"], "7", [1.5], None])
def test_written_tokens_that_are_no_ids_are_refused(tokens, monkeypatch):
    with ModelServer() as server, remote(server) as agent:
        answer = {"choices": [{"token_ids": tokens, "finish_reason": "stop"}]}
        monkeypatch.setattr(agent._fleet, "post", lambda *_: answer)
        with pytest.raises(AgentError, match="no token ids"):
            list(agent.write([Writing((1, 2), {"max_tokens": 8})], lambda *_: None))


@pytest.mark.parametrize(
    ("kind", "counted"),
    [
        ("vllm", {"choices": [{}], "usage": {"prompt_tokens": 1}}),
        ("sglang", [{"meta_info": {"prompt_tokens": 1}}]),
    ],
)
def test_a_prompt_that_the_server_cut_is_refused(kind, counted):
    row = {f"token_id:{token}": -3.0 for token in DIGIT_IDS}
    one = counted["choices"][0] if kind == "vllm" else counted[0]["meta_info"]
    one["index"], one["logprobs"] = 0, {"top_logprobs": [row]}
    one["output_token_ids_logprobs"] = [[[-3.0, token, None] for token in DIGIT_IDS]]
    protocol = PROTOCOLS[kind]("", None, 1)
    protocol.ask(lambda *_: counted, [Request((1,), DIGIT_IDS)])
    with pytest.raises(ServerError, match="read 1 tokens of prompts, 2 were sent"):
        protocol.ask(lambda *_: counted, [Request((1, 2), DIGIT_IDS)])


def test_a_prompt_that_llama_cpp_cut_is_refused():
    first = {"top_logprobs": [{"id": 1, "logprob": -1.0}]}
    answer = {"completion_probabilities": [first], "truncated": True}
    with pytest.raises(ServerError, match="set 'max_model_len'"):
        PROTOCOLS["llama.cpp"]("", None, 1).ask(lambda *_: answer, [Request((1, 2), DIGIT_IDS)])


def test_a_server_without_a_window_is_told(monkeypatch, caplog):
    monkeypatch.setattr(remote_agent, "model_window", lambda *_: None)
    with ModelServer() as server, remote(server, server="openai"):
        assert "set 'max_model_len' in the entry" in caplog.text
    caplog.clear()
    with ModelServer() as server, remote(server, max_model_len=2048) as agent:
        assert agent.max_model_len == 2048
    with ModelServer() as server, remote(server, server="llama.cpp") as agent:
        assert agent.max_model_len == 3072
        assert "max_model_len" not in caplog.text


def test_tokens_near_the_kth_do_not_tell_servers_apart():
    before = Signs("", (), {1: -0.1, 2: -5.0})
    assert before.alike(Signs("", (), {1: -0.2, 3: -5.0}))
    assert not before.alike(Signs("", (), {1: -0.5, 2: -5.0}))
    assert not before.alike(Signs("", (), {2: -5.0}))
    assert Signs("", (), {1: -math.inf}).alike(Signs("", (), {1: -math.inf}))


def test_a_server_of_texts_is_refused_where_another_token_is_written_as_a_digit():
    class Twins(FakeTokenizer):
        """Llama's kind: a token with a space before it decodes without."""

        def decode(self, token_ids, **keys):
            return super().decode(token_ids, **keys).strip()

    tokenizer = Twins([" 7"])
    answer = {
        "usage": {"prompt_tokens": 1},
        "choices": [{"logprobs": {"top_logprobs": [{"7": -0.5}]}}],
    }
    for wanted, refused in ((tokenizer.encode("7"), True), (tokenizer.encode("8"), False)):
        with pytest.raises(ServerError, match="same text") if refused else nullcontext():
            PROTOCOLS["openai"]("", tokenizer, 1).ask(
                lambda *_: answer, [Request((1,), tuple(wanted))]
            )


def test_a_servers_words_are_shown_as_one_short_line_without_the_key(monkeypatch):
    monkeypatch.setenv("FAR_SERVER_LOGIN", "s3cret-of-the-server")
    words = "\x1b[2J\ns3cret-of-the-server" + "x" * 1000
    with ModelServer(version=words) as server:
        with remote(server, api_key_variable="FAR_SERVER_LOGIN") as agent:
            served_by = agent.served_by
        server.behaviour.model = words
        with (
            pytest.raises(AgentError, match="serves no model") as caught,
            remote(server, api_key_variable="FAR_SERVER_LOGIN"),
        ):
            pass
    for text in (served_by, str(caught.value)):
        assert "s3cret" not in text
        assert text.isprintable()
        assert len(text) < 400


@pytest.mark.parametrize("kind", ["vllm", "openai"])
def test_a_count_that_is_none_is_shown_as_one_line(kind):
    row = {f"token_id:{token}": -3.0 for token in DIGIT_IDS}
    one = {"index": 0, "logprobs": {"top_logprobs": [row]}}
    answer = {"choices": [one], "usage": {"prompt_tokens": "\n\x1b[2J" * 100}}
    with pytest.raises(ServerError, match="it read") as caught:
        PROTOCOLS[kind]("", TOKENIZER, 1).ask(lambda *_: answer, [Request((1,), DIGIT_IDS)])
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("page", ["[" * 5000, "[1, 2]", '{"data": [1, {"id": null}]}', "", "null"])
def test_a_page_of_models_that_is_none_ends_in_one_line(page):
    with ModelServer() as server:
        server.server.RequestHandlerClass._answer = answer_with(page)
        with pytest.raises(AgentError) as caught, remote(server):
            pass
    assert "\n" not in str(caught.value)


def answer_with(page):
    """Answer everything with these words."""

    def answer(self, *_):
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page.encode())

    return answer
