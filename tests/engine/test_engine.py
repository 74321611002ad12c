"""The real vLLM engine on a CPU against teacher forcing in transformers: same prompts, same distributions, few tokens."""

from __future__ import annotations

from dataclasses import replace

import pytest

import config
from agents_vllm import Agent
from database import Database
from engine.environment import vllm_is_cpu_build as cpu_build
from ensemble import Ensemble
from forecaster import QUESTIONS
from questions.question import Question
from runs import demo
from scoring.distribution import total_variation
from scoring.prompts import Passage
from scoring.tasks import ForecastTask
from storage.records import Article, Evidence
from tests.support.needed import PACKAGED_MODEL, needs

pytestmark = [
    pytest.mark.engine,
    pytest.mark.weights,
    needs(PACKAGED_MODEL),
    pytest.mark.skipif(
        not cpu_build(), reason="not installed: a CPU build of vllm (float32 is compared)"
    ),
]

WINDOW = 2048
BLOCK_SIZE = 32  # the smallest of vLLM's CPU kernels
SETTINGS = {"dtype": "float32", "max_model_len": WINDOW, "block_size": BLOCK_SIZE}
MOST_REQUESTS = 12  # the root, "0" to "9" and "10"


def passage(number: int, text: str) -> Passage:
    return Passage(
        text=text,
        id=number,
        source="wikipedia",
        title=f"Article {number}",
        section="History",
        tokens=50,
        revision_id="r",
        timestamp="2026-06-01T00:00:00Z",
    )


PASSAGES = (
    passage(
        1,
        "The central bank raised its policy rate twice in 2026, by half a percentage point in all.",
    ),
    passage(
        2,
        "Inflation fell from 4.1 % in January to 2.6 % in October, while unemployment rose to 5.9 %.",
    ),
)
# The project's own list, and questions with evidence: 21 prompts of several lengths.
TASKS = [
    *(ForecastTask(question, "2026-11-24") for question in QUESTIONS),
    *(
        ForecastTask(Question(text), "2026-11-24", passages)
        for text, passages in (
            ("Will the sun rise over Paris tomorrow?", ()),
            ("Will the central bank cut its policy rate before March 2027?", PASSAGES),
            ("Will inflation in the euro area be above 3 % in December 2026?", PASSAGES[1:]),
            ("Will unemployment be above 6 % in December 2026?", PASSAGES),
            ("Will inflation be below 2 % in March 2027?", PASSAGES[::-1]),
            ("Will the policy rate be raised again before March 2027?", PASSAGES[:1]),
            ("Will the incumbent party win the next general election in Japan?", ()),
        )
    ),
]


@pytest.fixture(scope="module")
def spec():
    return replace(demo.model_spec(), max_model_len=WINDOW)


@pytest.fixture(scope="module")
def agent(spec):
    with Agent(spec, vllm_config=SETTINGS) as loaded:
        yield loaded


@pytest.fixture(scope="module")
def exact(spec, agent):
    """Prompts and distributions of the legacy agent, which computes the definition node by node."""
    from agents import Agent as LegacyAgent

    with LegacyAgent(spec) as legacy:
        legacy.max_model_len = agent.max_model_len
        return [
            (legacy.build_prompt(task).token_ids, *legacy.exact_distribution(task))
            for task in TASKS
        ]


def scored(agent, tolerance, tasks=TASKS):
    """Outcomes of a fresh scoring."""
    agent._scorings.clear()
    assert (
        agent.llm.reset_prefix_cache()
    )  # else an earlier test would have paid for this one's tokens
    agent.tolerance = tolerance
    return list(agent.score(tasks))


def test_both_agents_build_the_same_prompts(agent, exact):
    for task, (token_ids, _, _) in zip(TASKS, exact, strict=True):
        assert agent.build_prompt(task).token_ids == token_ids


def worst_difference(outcomes, exact):
    assert all(outcome.error is None for outcome in outcomes)
    for outcome, (_, _, captured) in zip(outcomes, exact, strict=True):
        assert outcome.result.captured_mass == pytest.approx(captured, abs=1e-4)
    return max(
        total_variation(outcome.result.distribution, distribution)
        for outcome, (_, distribution, _) in zip(outcomes, exact, strict=True)
    )


def test_exhaustive_scoring_equals_teacher_forcing(agent, exact):
    outcomes = scored(agent, 0)
    assert [outcome.index for outcome in outcomes] == list(range(len(TASKS)))
    assert all(outcome.result.requests == MOST_REQUESTS for outcome in outcomes)
    assert worst_difference(outcomes, exact) <= 1e-5


def test_default_scoring_is_within_its_certificate(agent, exact):
    outcomes = scored(agent, 0.01)
    for outcome, (token_ids, distribution, _) in zip(outcomes, exact, strict=True):
        assert outcome.error is None
        assert (
            total_variation(outcome.result.distribution, distribution)
            <= 1e-3 + outcome.result.residual_mass
        )
        assert outcome.result.residual_mass <= 0.01
        assert outcome.result.requests <= MOST_REQUESTS
        most = len(token_ids) + MOST_REQUESTS * agent.block_size
        assert 0 < outcome.result.forward_tokens <= most
    # The very first prompt met an empty cache: it was computed whole, once.
    assert outcomes[0].result.forward_tokens >= len(exact[0][0])


def test_scoring_again_asks_the_engine_nothing(agent, monkeypatch):
    first = scored(agent, 0.01, TASKS[-4:])
    monkeypatch.setattr(agent.llm.llm_engine, "add_request", None)
    second = list(agent.score(TASKS[-4:]))
    assert len(first) == 4
    assert [o.result.distribution.mean for o in second] == [
        o.result.distribution.mean for o in first
    ]


class Borrowed:
    """The module's engine as an agent of an ensemble: no second load; counts how often it would be loaded and called."""

    loads = 0

    def __init__(self, agent):
        self.agent = agent

    def __enter__(self):
        Borrowed.loads += 1
        return self.agent

    def __exit__(self, *_):
        return None


def test_reasonings_are_seeded_limited_and_marked_when_cut(agent, monkeypatch):
    monkeypatch.setattr(config, "LOGIC_MAX_TOKENS", 40)
    first, again = (list(agent.reason(TASKS[-2:], 2)) for _ in range(2))
    assert [(r.text, r.seed) for r in first] == [(r.text, r.seed) for r in again]
    assert len({r.text for r in first}) == 4
    for written in first:
        assert written.error is None
        assert 0 < written.tokens <= 40
        assert written.cut == (written.tokens == 40 and written.finish_reason == "length")
    assert any(written.cut for written in first)


def test_a_run_reasons_once_scores_all_conditions_and_divides_the_variance(
    spec, agent, tmp_path, monkeypatch
):
    monkeypatch.setattr(config, "LOGIC_MAX_TOKENS", 40)
    monkeypatch.setattr(config, "LOGIC_SAMPLES", 2)
    agent.tolerance = 0.01
    written = []  # for each request, whether it writes
    add = agent.llm.llm_engine.add_request
    monkeypatch.setattr(
        agent.llm.llm_engine,
        "add_request",
        lambda *request: written.append(request[2].max_tokens > 1) or add(*request),
    )
    tasks = TASKS[15:17]
    with Database(tmp_path / "run.db") as database:
        run = database.runs.start(
            settings={},
            versions={},
            seed=1,
            as_of=None,
            questions=[t.question for t in tasks],
            owner="x",
            origin_run=None,
        )
        article = Article(
            "wikipedia", "A", "r", "2026-06-01T00:00:00Z", "", "x", "2026-06-01T00:00:00Z"
        )
        database.articles.add(
            article, [Passage(text=passage.text, tokens=20) for passage in PASSAGES]
        )
        stored = tuple(database.articles.passages([1, 2]))
        items = [Evidence(task.question, stored) for task in tasks]
        Ensemble(
            database, run, [spec], lambda _: Borrowed(agent), logic=spec, ablate=True
        ).forecast(items, tasks[0].today)
        query = database.connection.query
        forecasts = query("SELECT * FROM forecasts ORDER BY id")
        pairs = query("SELECT * FROM ablation_pairs")
        samples = query("SELECT * FROM scored_samples ORDER BY forecast_id, sample")
    assert Borrowed.loads == 1
    # All notes are written before the first of the six prompts of each question is scored.
    assert written[:4] == [True] * 4
    assert len(written) > 4 + 2 * 6
    assert not any(written[4:])
    assert [row["error"] for row in forecasts] == [None, None]
    for row in forecasts:
        assert row["samples"] == 2
        whole = row["within_deviation"] ** 2 + row["between_deviation"] ** 2
        assert whole == pytest.approx(row["standard_deviation"] ** 2, rel=1e-6)
        means = [one["mean"] for one in samples if one["forecast_id"] == row["id"]]
        assert row["mean"] == pytest.approx(sum(means) / 2)
        assert row["between_deviation"] == pytest.approx(abs(means[0] - means[1]) / 2)
    assert len(pairs) == 6
    assert all(pair["error"] is None and pair["divergence"] > 0 for pair in pairs)
    # Without notes the prompt is the one that is scored when nobody asks for notes.
    plain = next(agent.score([replace(tasks[0], passages=stored)]))
    bare = next(
        p
        for p in pairs
        if p["question_id"] == tasks[0].question.id and p["condition"] == "no_reasoning"
    )
    assert bare["mean"] == pytest.approx(plain.result.distribution.mean, abs=1e-6)
