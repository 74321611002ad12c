"""The vLLM agent around a stand-in engine: prompts that fit, waves, caching, failures, engine arguments."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

import config
from agents_vllm import Agent
from engine.arguments import engine_arguments
from preflight.model_entries import ModelSpec
from questions.question import Question
from scoring.prompt_fitting import ANSWER_TOKENS
from scoring.prompts import Passage
from scoring.scorer import ScoringResult
from scoring.tasks import AgentError, ForecastTask

SPEC = ModelSpec("stub", "org/stub")


class WordTokenizer:
    """One token per character, or per integer up to 100 when ``whole``. No chat template: plain prompts."""

    chat_template = None
    all_special_ids = ()
    all_special_tokens = ()

    def __init__(self, whole=False):
        self.texts = [chr(c) for c in range(9, 127)]
        self.texts += [str(n) for n in range(10, 101)] if whole else []
        self.ids = {text: i for i, text in enumerate(self.texts)}
        self.whole = whole

    def encode(self, text, *, add_special_tokens=False):
        ids, at = [], 0
        while at < len(text):
            size = next(n for n in (3, 2, 1) if text[at : at + n] in self.ids)
            ids.append(self.ids[text[at : at + size]])
            at += size
        return ids

    def decode(self, token_ids):
        return "".join(self.texts[i] for i in token_ids)

    def get_vocab(self):
        return dict(self.ids)


class StubLLM:
    """Answers like ``vllm.LLM``: every token is equally likely, unless ``spoil`` names the prompts that get NaN."""

    def __init__(
        self,
        *,
        whole=False,
        blocks=1000,
        block_size=16,
        caching=True,
        window=4096,
        step=100_000,
        **arguments,
    ):
        self.arguments = arguments
        self.tokenizer = WordTokenizer(whole)
        self.calls = []
        self.shut_down = 0
        self.spoil = None
        settings = SimpleNamespace(
            model_config=SimpleNamespace(max_model_len=window),
            cache_config=SimpleNamespace(
                block_size=block_size, enable_prefix_caching=caching, num_gpu_blocks=blocks
            ),
            scheduler_config=SimpleNamespace(max_num_batched_tokens=step),
        )
        self.queue = []
        self.llm_engine = SimpleNamespace(
            vllm_config=settings,
            engine_core=SimpleNamespace(shutdown=self.end),
            add_request=lambda *request: self.queue.append(request),
            step=self.step,
            abort_request=self.abort,
        )

    def end(self, timeout):
        self.shut_down += 1

    def get_tokenizer(self):
        return self.tokenizer

    def step(self):
        """Answer everything that waits, the last request first."""
        asked, self.queue = self.queue, []
        names, prompts, sampling = zip(*asked, strict=True)
        outputs = self.generate(list(prompts), list(sampling))
        for name, output in zip(names, outputs, strict=True):
            vars(output).update(request_id=name, finished=True)
        return outputs[::-1]

    def abort(self, names):
        self.queue = [request for request in self.queue if request[0] not in names]

    def generate(self, prompts, sampling):
        self.calls.append(prompts)
        value = -math.log(len(self.tokenizer.texts))
        outputs = []
        for prompt, parameters in zip(prompts, sampling, strict=True):
            assert parameters["max_tokens"] == 1
            assert len(parameters["logprob_token_ids"]) <= 128
            broken = self.spoil and self.spoil in self.tokenizer.decode(prompt["prompt_token_ids"])
            row = {
                t: SimpleNamespace(logprob=math.nan if broken else value)
                for t in parameters["logprob_token_ids"]
            }
            outputs.append(
                SimpleNamespace(outputs=[SimpleNamespace(logprobs=[row])], num_cached_tokens=0)
            )
        return outputs


def agent_with(**stub) -> Agent:
    agent = Agent(
        SPEC, tolerance=0, llm_factory=lambda **arguments: StubLLM(**{**arguments, **stub})
    )
    agent.load()
    return agent


def task(text="Will A happen?", passages=()) -> ForecastTask:
    return ForecastTask(Question(text), "2026-11-24", tuple(passages))


def passage(number: int, size: int = 200) -> Passage:
    text = f"fact {number} " * (size // 7)
    return Passage(
        text=text,
        id=number,
        source="wikipedia",
        title=f"Title{number}",
        tokens=9,
        revision_id="r",
        timestamp="2026-01-01T00:00:00Z",
        url="u",
    )


# --- scoring --------------------------------------------------------------------------------------


def test_a_uniform_model_scores_as_worked_out_by_hand():
    agent = agent_with()
    (outcome,) = agent.score([task()])
    n = 118  # tokens, ten of which lead on from "7" and two from "0"; nothing does from "75"
    weights = {0: 116 / n**2, 7: 108 / n**2, 10: 117 / n**3, 75: 1 / n**2, 100: 1 / n**3}
    mass = weights[0] + 9 * weights[7] + weights[10] + 89 * weights[75] + weights[100]
    assert outcome.result.captured_mass == pytest.approx(mass)
    for number, weight in weights.items():
        assert outcome.result.distribution.probabilities[number] == pytest.approx(weight / mass)
    assert outcome.result.requests == 12  # the root, ten digits, and "10"
    assert len(agent.llm.calls) == 2


def test_scoring_the_same_prompt_again_makes_no_request():
    agent = agent_with()
    (first,) = agent.score([task()])
    calls = len(agent.llm.calls)
    (second,) = agent.score([task()])
    assert len(agent.llm.calls) == calls
    assert second.result.distribution.mean == first.result.distribution.mean
    list(agent.score([task("Will B happen?")]))
    assert len(agent.llm.calls) > calls


def test_the_model_is_asked_again_where_the_trie_has_more_nodes_than_are_kept(monkeypatch):
    monkeypatch.setattr(config, "MAX_LOGPROB_CACHE", 101)
    agent = agent_with()
    (first,) = agent.score([task()])
    (second,) = agent.score([task()])
    assert len(agent.llm.calls) == 4
    assert second.result.requests == first.result.requests == 12
    assert second.result.distribution.mean == first.result.distribution.mean


@pytest.mark.parametrize("whole", [True, False])
def test_assure_agent_says_whether_every_integer_is_one_token(whole):
    assert agent_with(whole=whole).assure_agent() is whole


def test_nan_for_one_question_leaves_the_others_alone():
    agent = agent_with()
    agent.llm.spoil = "Will B"
    outcomes = list(agent.score([task("Will A?"), task("Will B?"), task("Will C?")]))
    assert [isinstance(o.result, ScoringResult) for o in outcomes] == [True, False, True]
    assert "nan" in outcomes[1].error


def test_a_small_kv_cache_is_filled_wave_by_wave():
    tasks = [task(f"Will {name} happen?") for name in "ABCD"]
    one_prompt = len(agent_with().build_prompt(tasks[0]).token_ids)
    agent = agent_with(blocks=-(-int(2.5 * one_prompt) // 16))
    outcomes = list(agent.score(tasks))
    assert [o.index for o in outcomes] == [0, 1, 2, 3]
    roots = [
        len(call)
        for call in agent.llm.calls
        if len(call[0]["prompt_token_ids"]) == one_prompt and len(call) < 10
    ]
    assert roots == [2, 2]
    everything = agent_with()
    together = [o.result.distribution.mean for o in everything.score(tasks)]
    assert [o.result.distribution.mean for o in outcomes] == together
    assert len(everything.llm.calls) == 2


# --- prompts --------------------------------------------------------------------------------------


def test_the_lowest_ranked_passages_go_first_and_the_question_never(monkeypatch):
    monkeypatch.setattr(config, "CONTEXT_TOKENS", 100_000)
    passages = [passage(n) for n in range(1, 9)]
    whole = agent_with(window=100_000).build_prompt(task(passages=passages))
    assert whole.passages_used == 8
    window = len(whole.token_ids) - 500
    agent = agent_with(window=window)
    prompt = agent.build_prompt(task(passages=passages))
    assert 0 < prompt.passages_used < 8
    assert len(prompt.token_ids) <= window - ANSWER_TOKENS
    assert "Will A happen?" in prompt.text
    for n in range(1, 9):
        assert (f"Title{n}" in prompt.text) == (n <= prompt.passages_used)


def test_the_evidence_budget_counts_tokens(monkeypatch):
    monkeypatch.setattr(config, "CONTEXT_TOKENS", 500)
    assert (
        agent_with().build_prompt(task(passages=[passage(n) for n in range(1, 9)])).passages_used
        == 2
    )


def test_a_question_longer_than_the_window_is_an_error_of_its_own():
    agent = agent_with(window=1000)
    outcomes = {o.index: o for o in agent.score([task("X" * 1500), task("Will A happen?")])}
    assert "the window of stub has 992" in outcomes[0].error
    assert outcomes[1].error is None


# --- life -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failure", [ValueError("no weights\nlong trace"), SystemExit("no weights")]
)
def test_an_engine_that_does_not_start_is_one_line(failure):
    def factory(**arguments):
        raise RuntimeError("engine core failed") from failure

    with pytest.raises(
        AgentError, match=r"^stub \(org/stub\) did not load: \w+: no weights( long trace)?$"
    ):
        Agent(SPEC, llm_factory=factory).load()


def test_shutdown_ends_the_engine_once():
    agent = agent_with()
    llm = agent.llm
    list(agent.score([task()]))
    agent.shutdown()
    agent.shutdown()
    assert llm.shut_down == 1
    assert agent.llm is None


def test_the_context_manager_shuts_down_after_an_error():
    llms = []

    def factory(**arguments):
        llms.append(StubLLM(**arguments))
        return llms[-1]

    with pytest.raises(KeyError), Agent(SPEC, llm_factory=factory):
        raise KeyError
    assert llms[0].shut_down == 1


def test_an_engine_whose_load_fails_half_way_is_shut_down():
    started = []

    class WithoutTokenizer(StubLLM):
        def get_tokenizer(self):
            raise RuntimeError("no tokenizer")

    def start(**arguments):
        started.append(WithoutTokenizer(**arguments))
        return started[0]

    with pytest.raises(Exception, match="no tokenizer"), Agent(SPEC, llm_factory=start):
        pass
    assert started[0].shut_down == 1


def test_engine_arguments_follow_the_settings(tmp_path):
    settings = {
        **config.VLLM_CONFIG,
        "tensor_parallel_size": 4,
        "swap_space_gb": 8,
        "load_format": "runai_streamer",
        "model_loader_extra_config": {"concurrency": 16},
        "distributed_executor_backend": None,
    }
    arguments = engine_arguments(
        ModelSpec("a", str(tmp_path), max_model_len=512, trust_remote_code=True), settings
    )
    assert arguments["model"] == str(tmp_path)
    assert arguments["tensor_parallel_size"] == 4
    assert arguments["kv_offloading_size"] == 8.0
    assert "swap_space_gb" not in arguments
    assert "distributed_executor_backend" not in arguments
    assert arguments["model_loader_extra_config"] == {"concurrency": 16}
    assert arguments["max_model_len"] == 512
    assert arguments["trust_remote_code"] is True
    assert arguments["enable_prefix_caching"] is True
    assert (
        engine_arguments(SPEC, config.VLLM_CONFIG)["max_model_len"]
        == config.VLLM_CONFIG["max_model_len"]
    )
    assert "kv_offloading_size" not in engine_arguments(SPEC, config.VLLM_CONFIG)
    assert engine_arguments(SPEC, config.VLLM_CONFIG)["trust_remote_code"] is False


def test_the_factory_gets_the_engine_arguments():
    agent = Agent(
        SPEC, vllm_config={"dtype": "float32"}, llm_factory=lambda **arguments: StubLLM(**arguments)
    )
    agent.load()
    assert agent.llm.arguments["dtype"] == "float32"
    assert agent.llm.arguments["model"] == "org/stub"


def test_the_window_of_an_s3_model_is_its_config_files_not_the_larger_models(tmp_path):
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 1024}')
    spec = ModelSpec("a", "s3://bucket/model")
    assert engine_arguments(spec, config.VLLM_CONFIG, tmp_path)["max_model_len"] == 1024
    assert (
        engine_arguments(spec, config.VLLM_CONFIG)["max_model_len"]
        == config.VLLM_CONFIG["max_model_len"]
    )
