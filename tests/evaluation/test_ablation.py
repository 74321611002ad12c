"""Ablation: which prompts a condition has, what its pairs hold, and that a whole run stores and shows them."""

from __future__ import annotations

import json
import sqlite3
from typing import ClassVar

import numpy as np
import pytest

import config
import forecaster
from database import Database
from evaluation.ablation import FULL, effect_lines, variants
from questions.question import Question
from reporting import report
from runs import start
from runs.finish import ablation_lines
from scoring.distribution import Distribution, jensen_shannon
from scoring.prompts import Passage
from scoring.scorer import ScoringResult
from scoring.tasks import ForecastOutcome, ForecastTask, Prompt, Reasoning
from storage.records import AblationPair, Article, Evidence, Resolution
from tests.support.fake_agent import TRIE, FakeAgent

NOTES = ("first notes", "second notes")
ASKED = ("--question", "Will A happen?", "--question", "Will B happen?", "--ablate")


def peak(at):
    weights = np.ones(101)
    weights[at] = 400
    return Distribution.from_weights(weights)


# --- conditions and effects -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("passages", "notes", "expected"),
    [
        ((), (), {FULL: 1}),
        (("p",), (), {FULL: 1, "no_evidence": 1}),
        ((), NOTES, {FULL: 2, "no_reasoning": 1}),
        (("p",), NOTES, {FULL: 2, "no_reasoning": 1, "no_evidence": 2, "neither": 1}),
    ],
)
def test_a_condition_takes_away_what_it_names_and_none_repeats_another(passages, notes, expected):
    task = ForecastTask(Question("Will A happen?"), "2026-11-24", passages)
    found = variants(task, notes, ablate=True)
    assert {name: len(tasks) for name, tasks in found.items()} == expected
    for name, tasks in found.items():
        assert all(
            (one.reasoning is None) == (name in ("no_reasoning", "neither") or not notes)
            for one in tasks
        )
        assert all(
            (one.passages == ()) == (name in ("no_evidence", "neither") or not passages)
            for one in tasks
        )
    assert variants(task, notes, ablate=False) == {FULL: found[FULL]}


def test_the_table_sums_up_pairs_and_scores_resolved_ones():
    rows = [
        AblationPair(name, "m", 0, "no_evidence", full, mean, full - mean, divergence, None)
        for name, full, mean, divergence in (
            ("a", 80.0, 60.0, 0.3),
            ("b", 10.0, 40.0, 0.1),
            ("c", 50.0, 51.0, 0.2),
        )
    ] + [AblationPair("a", "m", 0, "neither", *[None] * 4, "engine died")]
    lines = effect_lines(rows, {"a": 1, "b": 0})
    # Shifts +20, -30, -1; Brier scores (0.04 + 0.01) / 2 with and (0.16 + 0.16) / 2 without.
    assert lines[3].split() == ["evidence", "3", "-3.7", "17.0", "-30.0", "0.200", "0.025", "0.160"]
    assert lines[4] == "Not compared, neither: engine died"
    assert "Brier" not in " ".join(effect_lines(rows))


# --- a whole run ----------------------------------------------------------------------------------


class Agent(FakeAgent):
    """Scores by what the prompt holds: 10, plus 30 with evidence, plus 20 or 40 with notes; writes two notes."""

    calls: ClassVar[list[int]] = []
    held: ClassVar[dict[tuple[str | None, bool], int]] = {}
    failing: ClassVar[str | None] = None

    def build_prompt(self, task):
        # The second notes are so long that one passage fewer fits.
        fitting = 1 if task.reasoning == NOTES[1] else 2
        return Prompt(
            f"{task.reasoning} {len(task.passages)}", (1, 2), TRIE, min(len(task.passages), fitting)
        )

    def reason(self, tasks, samples):
        return [
            Reasoning(i, n, NOTES[n], 9, "stop", n)
            for i in range(len(tasks))
            for n in range(samples)
        ]

    def score(self, tasks):
        self.calls.append(len(tasks))
        for index, task in enumerate(tasks):
            prompt = self.build_prompt(task)
            self.held[task.reasoning, bool(task.passages)] = prompt.passages_used
            kind = "notes" if task.reasoning else "bare"
            if self.failing == f"{kind} {bool(task.passages)}":
                yield ForecastOutcome(index, prompt, None, "engine died")
                continue
            at = (
                10
                + 30 * bool(task.passages)
                + (0 if task.reasoning is None else 20 + 20 * NOTES.index(task.reasoning))
            )
            yield ForecastOutcome(index, prompt, ScoringResult(peak(at), 0.9, 0.001, 3, 5), None)


class Retriever:
    """Finds two passages for every question."""

    def __init__(self, store: Database):
        self.store = store

    def retrieve_all(self, questions, *, as_of=None, searched=None):
        time = "2026-01-01T00:00:00Z"
        article = Article("wikipedia", "A", "1", time, "https://example.org/A", "text", time)
        self.store.articles.add(article, [Passage(text=f"text {n}", tokens=2) for n in range(2)])
        ids = [
            row["id"] for row in self.store.connection.query("SELECT id FROM passages ORDER BY id")
        ]
        return [Evidence(q, tuple(self.store.articles.passages(ids))) for q in questions]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setattr(config, "LOGIC_SAMPLES", 2)
    monkeypatch.setattr(forecaster, "draw", lambda *_: True)
    monkeypatch.setattr(
        config, "FORECAST_MODEL_PATHS_VLLM", {"one": "owner/one", "two": "owner/two"}
    )
    monkeypatch.setattr(config, "DEFAULT_MODEL_VLLM", "one")
    monkeypatch.setattr(config, "DEFAULT_LOGIC_MODEL_PATH", "one")
    monkeypatch.setattr(
        start,
        "make_retriever",
        lambda plan, database: Retriever(database) if plan.retrieval else None,
    )
    Agent.calls, Agent.held, Agent.failing = [], {}, None
    database = tmp_path / "run.db"

    def call(*arguments):
        options = ["--database", str(database), "--plots", str(tmp_path / "plots")]
        return forecaster.main([*arguments, *options], agent_factory=Agent), database

    return call


def rows(database, sql):
    with sqlite3.connect(database) as connection:
        return connection.execute(sql).fetchall()


def test_every_condition_is_scored_in_the_same_call_and_stored_beside_its_forecast(run, capsys):
    code, database = run(*ASKED, "--logic")
    assert code == 0
    # Two questions of two samples: two of each with all, two without evidence, one without notes and one with neither.
    assert Agent.calls == [12, 12]
    full, bare = (np.mean([peak(at).mean for at in where]) for where in ((60, 80), (30, 50)))
    found = {
        name: values
        for name, *values in rows(
            database,
            "select condition, full_mean, mean, shift from ablation_pairs where agent = 'two' and question like '%A%'",
        )
    }
    assert found == {
        "no_reasoning": pytest.approx([full, peak(40).mean, full - peak(40).mean]),
        "no_evidence": pytest.approx([full, bare, full - bare]),
        "neither": pytest.approx([full, peak(10).mean, full - peak(10).mean]),
    }
    assert rows(database, "select count(*), count(distinct forecast_id) from ablations") == [
        (12, 4)
    ]
    mean_of = {"no_evidence": (30, 50)}
    for condition, text, divergence in rows(
        database, "select condition, probabilities, divergence from ablations"
    ):
        at = mean_of.get(condition, (40,) if condition == "no_reasoning" else (10,))
        expected = np.mean([peak(n).probabilities for n in at], axis=0)
        assert json.loads(text) == pytest.approx(list(expected))
        whole = Distribution(np.mean([peak(n).probabilities for n in (60, 80)], axis=0))
        assert divergence == pytest.approx(jensen_shannon(whole, Distribution(expected)))
    printed = capsys.readouterr().out
    assert f"{full - bare:+.1f}" in next(
        line for line in printed.splitlines() if line.startswith("evidence  ")
    )


def test_all_prompts_of_one_piece_of_work_hold_the_same_passages(run):
    run(*ASKED, "--logic")
    assert {used for (_, some), used in Agent.held.items() if some} == {1}


def test_the_prompts_of_the_conditions_are_stored(run):
    _, database = run(*ASKED, "--logic")
    sql = "select distinct condition, text from ablations join prompts on prompt_sha256 = sha256 order by 1"
    assert rows(database, sql) == [
        ("neither", "None 0"),
        ("no_evidence", "first notes 0"),
        ("no_reasoning", "None 1"),
    ]


def test_without_a_logic_model_the_evidence_alone_is_taken_away(run):
    code, database = run(*ASKED)
    assert code == 0
    assert rows(database, "select distinct condition, round(shift, 6) from ablations") == [
        ("no_evidence", round(peak(40).mean - peak(10).mean, 6))
    ]


def test_nothing_to_take_away_is_refused(run, capsys):
    code, database = run(*ASKED, "--no-retrieval")
    assert code == 2
    assert "--ablate with --no-retrieval has nothing to take away" in capsys.readouterr().err
    assert not database.exists()


def test_a_condition_that_fails_costs_no_forecast(run, capsys):
    Agent.failing = "bare True"
    code, database = run(*ASKED, "--logic")
    assert code == 0
    assert (
        rows(database, "select condition, error, shift from ablations where error is not null")
        == [("no_reasoning", "engine died", None)] * 4
    )
    assert "Not compared, no_reasoning: engine died" in capsys.readouterr().out


def test_a_forecast_that_fails_has_no_pairs_and_its_resumed_run_has_them(run):
    Agent.failing = "notes True"
    code, database = run(*ASKED, "--logic")
    assert code == 1
    assert rows(database, "select count(*) from ablations") == [(0,)]
    Agent.failing = None
    code, _ = run("--resume")
    assert code == 0
    assert rows(database, "select count(*) from ablations") == [(12,)]


def test_a_run_without_it_stores_none_and_its_settings_do_not_name_it(run):
    _, database = run(*ASKED[:-1])
    assert rows(database, "select count(*) from ablations") == [(0,)]
    assert "ablate" not in json.loads(rows(database, "select settings from runs")[0][0])


def test_resolved_questions_are_scored_with_and_without(run, capsys):
    _, path = run(*ASKED)
    with Database(path) as database:
        resolution = Resolution(
            rows(path, "select id from questions limit 1")[0][0], 1, "2026-11-24"
        )
        database.outcomes.add([resolution])
        lines = ablation_lines(database, 1)
    with_, without = ((1 - peak(at).mean / 100) ** 2 for at in (40, 10))
    assert lines[-1].split()[-2:] == [f"{with_:.3f}", f"{without:.3f}"]


def test_the_report_shows_the_pairs(run, monkeypatch):
    monkeypatch.setattr(report, "inline", lambda *_: "")
    _, path = run(*ASKED, "--logic")
    with Database(path) as database:
        page = report.render(database, 1)
    assert page.count("<td>reasoning <span") == 4
    assert f"{peak(40).mean:.1f} %" in page


def test_unknown_conditions_are_refused_by_the_database(run):
    _, path = run(*ASKED)
    with sqlite3.connect(path) as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute(
            "INSERT INTO ablations (forecast_id, condition, error) VALUES (1, 'other', 'x')"
        )
