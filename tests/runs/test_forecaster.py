"""forecaster.main() end to end: retrieval, database, pools and plots are real, the agents need no engine."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import config
import forecaster
from evidence import freshness
from runs import environment
from scoring.distribution import Distribution
from scoring.scorer import ScoringResult
from scoring.tasks import AgentError, ForecastOutcome, Prompt
from tests.support.fake_agent import TRIE, FakeAgent

ROOT = Path(__file__).parents[2]


class StubAgent(FakeAgent):
    """Answers every task with a distribution that leans towards ``spec.path``'s number; some models fail."""

    loads: ClassVar[list[str]] = []

    def __enter__(self):
        StubAgent.loads.append(self.spec.name)
        if "broken" in self.spec.name:
            raise AgentError(f"{self.spec.name} did not load: no such file")
        return self

    def score(self, tasks):
        for index, task in enumerate(tasks):
            if "dies" in self.spec.name and index == 1:
                raise RuntimeError("engine died")
            prompt = Prompt(
                f"{task.question.text} {self.spec.name}", (1, 2), TRIE, len(task.passages)
            )
            if "Unreadable" in task.question.text:
                yield ForecastOutcome(
                    index, prompt, None, "the engine returned the log-probability nan"
                )
                continue
            weights = np.ones(101)
            weights[int(self.spec.name[-2:]) if self.spec.name[-2:].isdigit() else 50] = 400
            yield ForecastOutcome(
                index,
                prompt,
                ScoringResult(Distribution.from_weights(weights), 0.9, 0.001, 3, 5),
                None,
            )


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    StubAgent.loads = []

    def call(*arguments, models=("stub-20", "stub-80")):
        monkeypatch.setattr(
            config, "FORECAST_MODEL_PATHS_VLLM", {name: f"owner/{name}" for name in models}
        )
        monkeypatch.setattr(config, "DEFAULT_MODEL_VLLM", models[0])
        database = tmp_path / "run.db"
        code = forecaster.main(
            [*arguments, "--database", str(database), "--plots", str(tmp_path / "plots")],
            agent_factory=StubAgent,
        )
        return code, database

    return call


def rows(database, sql):
    with sqlite3.connect(database) as connection:
        return connection.execute(sql).fetchall()


def test_a_whole_run_stores_pools_draws_and_prints(run, capsys, tmp_path):
    code, database = run(
        "--question", "Will A happen?", "--question", "Will B happen?", "--no-retrieval"
    )
    assert code == 0
    assert StubAgent.loads == [
        "stub-20",
        "stub-80",
    ]  # each model once, whatever the number of questions
    stored = rows(
        database, "select agent, probabilities, captured_mass, context_error, error from forecasts"
    )
    assert len(stored) == 4
    for agent, probabilities, captured, context_error, error in stored:
        values = json.loads(probabilities)
        assert len(values) == 101
        assert sum(values) == pytest.approx(1, abs=1e-9)
        assert int(np.argmax(values)) == int(agent[-2:])
        assert (captured, context_error, error) == (0.9, "retrieval was switched off", None)
    pooled = rows(database, "select mean, agents, agents_configured, agreement from ensembles")
    assert len(pooled) == 2
    # The plain mean of both agents: (20*400+5050-20 ...)/500 averaged over 20 and 80.
    expected = (((5050 + 399 * 20) + (5050 + 399 * 80)) / 2) / 500
    assert pooled[0] == (pytest.approx(expected), 2, 2, pytest.approx(1 - 399 / 500))
    assert rows(database, "select status from runs") == [("finished",)]
    assert len(list((tmp_path / "plots").glob("run1_*.svg"))) == 2
    printed = capsys.readouterr().out
    assert "Will A happen?" in printed
    assert "50.0 %" in printed


def test_the_hard_coded_list_is_long_enough_and_every_question_different(run, monkeypatch):
    monkeypatch.setattr(forecaster, "draw", lambda *_: True)
    code, database = run("--no-retrieval", models=("stub-50",))
    assert code == 0
    assert rows(database, "select count(*) from ensembles")[0][0] == len(forecaster.QUESTIONS) >= 12


def test_a_model_that_fails_costs_its_own_forecasts_only(run, capsys):
    code, database = run(
        "--question", "Will A happen?", "--no-retrieval", models=("stub-20", "broken", "stub-80")
    )
    assert code == 1
    assert rows(database, "select agents, agents_configured from ensembles") == [(2, 3)]
    assert rows(database, "select error from forecasts where agent = 'broken'")[0][0].startswith(
        "AgentError: broken did not load"
    )
    printed = capsys.readouterr().out
    assert "Failed: broken, 1 forecasts: AgentError: broken did not load: no such file" in printed
    assert "1 of 1 pools lack a model" in printed
    (row,) = [line for line in printed.splitlines() if line.startswith("Will A happen?")]
    assert row.endswith("  2 of 3")


def test_an_engine_that_dies_keeps_what_it_had_forecast(run):
    code, database = run(
        "--question",
        "Will A happen?",
        "--question",
        "Will B happen?",
        "--no-retrieval",
        models=("dies", "stub-80"),
    )
    assert code == 1
    stored = rows(
        database,
        "select agent, error from forecasts f join run_questions q using (run_id, question_id) order by agent, position",
    )
    assert stored == [
        ("dies", None),
        ("dies", "RuntimeError: engine died"),
        ("stub-80", None),
        ("stub-80", None),
    ]
    assert rows(database, "select status from runs") == [("partial",)]


def test_a_forecast_that_cannot_be_read_is_an_error_with_its_row(run):
    code, database = run(
        "--question",
        "Unreadable?",
        "--question",
        "Will B happen?",
        "--no-retrieval",
        models=("stub-50",),
    )
    assert code == 1
    assert rows(database, "select probabilities, error from forecasts where error is not null") == [
        (None, "the engine returned the log-probability nan")
    ]
    assert rows(database, "select count(*) from ensembles") == [(1,)]


def test_failing_retrieval_gives_no_context_and_the_run_goes_on(run, monkeypatch):
    import semanticretriever

    def refuse(*_args, **_kwargs):
        raise OSError("no network")

    monkeypatch.setattr(semanticretriever.SemanticRetriever, "_load_models", refuse)
    monkeypatch.setattr(freshness.WikiArticles, "gather", refuse)
    code, database = run("--question", "Will A happen?", models=("stub-50",))
    assert code == 1
    (reason,) = rows(database, "select context_error from forecasts")[0]
    assert reason
    assert rows(database, "select count(*) from evidence") == [(0,)]


def test_everything_that_can_fail_at_once_leaves_what_is_left_and_says_what_is_missing(
    run, monkeypatch, capsys, tmp_path
):
    """Retriever down, one model of three not to be loaded, one that dies part-way, a NaN, and plots that cannot be written."""
    import semanticretriever

    def refuse(*_args, **_kwargs):
        raise OSError("no network")

    monkeypatch.setattr(semanticretriever.SemanticRetriever, "_load_models", refuse)
    monkeypatch.setattr(freshness.WikiArticles, "gather", refuse)
    monkeypatch.setattr(shutil, "get_terminal_size", lambda *_, **__: os.terminal_size((100, 40)))
    (tmp_path / "plots").write_text("a file where the folder should be", encoding="utf-8")
    texts = ("Will A happen?", "Will B happen?", "Unreadable?")
    asked = [part for text in texts for part in ("--question", text)]
    code, database = run(*asked, models=("stub-20", "broken", "dies"))
    assert code == 1
    assert rows(database, "select status from runs") == [("partial",)]
    failed, nan, died = (
        "AgentError: broken did not load: no such file",
        "the engine returned the log-probability nan",
        "RuntimeError: engine died",
    )
    assert rows(
        database,
        "select agent, text, error from forecasts f join run_questions q using (run_id, question_id)"
        " join questions on questions.id = question_id order by agent, position",
    ) == [
        *(("broken", text, failed) for text in texts),
        ("dies", texts[0], None),
        ("dies", texts[1], died),
        ("dies", texts[2], died),
        ("stub-20", texts[0], None),
        ("stub-20", texts[1], None),
        ("stub-20", texts[2], nan),
    ]
    assert all(
        "no network" in reason
        for (reason,) in rows(database, "select context_error from forecasts")
    )
    assert rows(database, "select agents, agents_configured from ensembles order by agents") == [
        (1, 3),
        (2, 3),
    ]
    said = capsys.readouterr()
    table = [line.split() for line in said.out.splitlines()]
    ends = {
        text: line[-3:]
        for text in texts
        for line in table
        if line[: len(text.split())] == text.split()
    }
    assert ends["Will A happen?"] == ["2", "of", "3"]
    assert ends["Will B happen?"] == ["1", "of", "3"]
    assert ends["Unreadable?"] == ["0", "of", "3"]
    for line in (
        "2 of 2 pools lack a model (the last column says how many took part)",
        "No evidence: OSError: no network",
        f"Failed: broken, 3 forecasts: {failed}",
        f"Failed: dies, 2 forecasts: {died}",
        f"Failed: stub-20, 1 forecasts: {nan}",
        "Try what is missing again with: python forecaster.py --resume 1",
    ):
        assert line in said.out
    assert "plots" in said.err
    assert "Traceback" not in said.out + said.err


def test_a_second_run_adds_to_the_history(run):
    run("--question", "Will A happen?", "--no-retrieval", models=("stub-20",))
    run("--question", "Will A happen?", "--no-retrieval", models=("stub-80",))
    history = "select run, agent from forecast_history order by run, agent"
    _, database = run("--question", "Will A happen?", "--no-retrieval", models=("stub-80",))
    assert rows(database, history)[:2] == [(1, "ensemble"), (1, "stub-20")]
    latest = rows(database, "select agent, run from latest_forecasts order by agent")
    assert latest == [("ensemble", 3), ("stub-20", 1), ("stub-80", 3)]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--question", "   "), "--question is empty"),
        (("--questions", "absent.csv"), "absent.csv: cannot be read"),
        (("--models", "nonsense"), "unknown model 'nonsense'"),
        (("--models", "./absent"), "there is no folder"),
        (("--as-of", "yesterday"), "--as-of is 'yesterday'"),
        (("--as-of", "2999-01-01"), "in the future"),
        (("--documents", "absent"), "there is no such folder"),
    ],
)
def test_wrong_usage_is_one_line_exit_2_and_writes_nothing(run, capsys, arguments, expected):
    code, database = run(*arguments)
    error = capsys.readouterr().err
    assert code == 2
    assert expected in error
    assert len(error.splitlines()) == 1
    assert not database.exists()
    assert StubAgent.loads == []


def test_every_problem_is_listed_not_only_the_first(run, capsys):
    code, _ = run("--models", "nonsense", "--as-of", "yesterday")
    assert code == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize("count", ["-1", "0"])
def test_a_sample_below_one_is_refused_in_one_line(run, capsys, tmp_path, count):
    file = tmp_path / "past.csv"
    file.write_text("question,as_of,outcome,resolution_date\nWill A?,2025-01-01,yes,2025-06-01\n")
    assert run("--backtest", str(file), "--sample", count)[0] == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--sample is {count}; it takes 1 or more" in line


def test_a_day_for_a_backtest_is_refused(run, capsys, tmp_path):
    """Its questions have their own; the run was stored as of a day that no forecast is of."""
    file = tmp_path / "past.csv"
    file.write_text("question,as_of,outcome,resolution_date\nWill A?,2025-01-01,yes,2025-06-01\n")
    code, database = run("--backtest", str(file), "--as-of", "2025-01-02")
    assert code == 2
    assert "--as-of and --backtest exclude each other" in capsys.readouterr().err
    assert not database.exists()


def test_a_malformed_file_names_its_line(run, capsys, tmp_path):
    file = tmp_path / "questions.jsonl"
    file.write_text('{"question": "Will A happen?"}\n{"question": \n', encoding="utf-8")
    code, database = run("--questions", str(file))
    assert code == 2
    assert "line 2: not JSON" in capsys.readouterr().err
    assert not database.exists()


def test_a_file_that_is_no_database_is_left_as_it_is(run, capsys, tmp_path):
    (tmp_path / "run.db").write_text("This is a letter, not a database. " * 50, encoding="utf-8")
    code, database = run("--question", "Will A happen?", "--no-retrieval")
    assert code == 2
    assert "not an SQLite database" in capsys.readouterr().err
    assert database.read_text(encoding="utf-8").startswith("This is a letter")


def test_plots_that_cannot_be_written_are_reported_and_nothing_is_lost(run, tmp_path, caplog):
    (tmp_path / "plots").write_text("a file where the folder should be", encoding="utf-8")
    code, database = run("--question", "Will A happen?", "--no-retrieval", models=("stub-50",))
    assert code == 1
    assert rows(database, "select count(*) from ensembles") == [(1,)]


def test_interrupt_keeps_what_was_forecast(run, monkeypatch):
    answers = StubAgent.score

    def interrupted(self, tasks):
        yield next(answers(self, tasks))
        raise KeyboardInterrupt

    monkeypatch.setattr(StubAgent, "score", interrupted)
    code, database = run(
        "--question",
        "Will A happen?",
        "--question",
        "Will B?",
        "--no-retrieval",
        models=("stub-20",),
    )
    assert code == 130
    assert rows(database, "select count(*) from forecasts") == [(1,)]
    assert rows(database, "select count(*) from ensembles") == [(1,)]
    assert rows(database, "select status from runs") == [("interrupted",)]


def test_a_reader_that_leaves_changes_neither_the_record_nor_the_exit_code(run, monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as broken:
        monkeypatch.setattr(sys, "stdout", broken)
        code, database = run("--question", "Will A happen?", "--no-retrieval")
    assert code == 0
    assert rows(database, "select status from runs") == [("finished",)]


def test_help_imports_nothing_heavy():
    probe = (
        "import sys, forecaster\n"
        "try: forecaster.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'vllm', 'transformers', 'numpy', 'matplotlib', 'requests'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_no_vllm_or_no_gpu_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: None)
    assert environment.environment_problems({}) == [environment.MISSING_VLLM]
    assert "--demo" in environment.MISSING_GPU


@pytest.mark.parametrize(
    ("gpus", "wanted", "expected"),
    [
        (0, 1, "python forecaster.py --demo"),
        (2, 4, "VLLM_CONFIG['tensor_parallel_size'] is 4 but 2 GPUs are visible"),
        (2, 2, None),
    ],
)
def test_a_cuda_build_is_held_against_the_visible_gpus(monkeypatch, gpus, wanted, expected):
    from preflight import machine

    monkeypatch.setattr(machine, "_driver_gpus", lambda: gpus)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(environment, "vllm_is_cpu_build", lambda: False)
    problems = environment.environment_problems({"tensor_parallel_size": wanted})
    assert len(problems) == (expected is not None)
    if expected:
        assert expected in problems[0]
