"""The pool benchmark on a small invented data set: reading, pooling by hand, and no leak from the fold that is judged."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

SPEC = importlib.util.spec_from_file_location(
    "pools", Path(__file__).parents[2] / "benchmarks" / "pools.py"
)
assert SPEC is not None
assert SPEC.loader is not None
pools = importlib.util.module_from_spec(SPEC)
__import__("sys").modules["pools"] = pools
SPEC.loader.exec_module(pools)


@pytest.fixture
def folder(tmp_path):
    """24 questions in 12 clusters; model a is good, model b is not, c answered one question only."""
    generator = np.random.default_rng(5)
    with (
        (tmp_path / "questions_dev.jsonl").open("w") as questions,
        (tmp_path / "llm_forecasts.csv").open("w") as forecasts,
    ):
        forecasts.write("id,a-none-c0-t0,b-none-c0-t0,c-none-c0-t0\n")
        for number in range(24):
            outcome = int(generator.random() < 0.4)
            row = {
                "id": f"q{number}",
                "outcome": outcome,
                "cluster": f"k{number // 2}",
                "source_type": "market",
            }
            questions.write(json.dumps({**row, "baseline_crowd": 0.3, "crowd_at_due": None}) + "\n")
            good = 0.8 * outcome + 0.1
            forecasts.write(
                f"q{number},{good},{generator.random():.3f},{'0.5' if number == 0 else ''}\n"
            )
        forecasts.write("unknown,0.5,0.5,0.5\n")
    return tmp_path


def test_pools_by_hand():
    p = np.array([[0.2, 0.8], [0.5, 0.9], [0.5, 0.5]])
    np.testing.assert_allclose(pools.linear(p), [0.5, 0.7, 0.5])
    np.testing.assert_allclose(pools.median(p), [0.5, 0.7, 0.5])
    np.testing.assert_allclose(pools.geometric(p), [0.5, 0.75, 0.5])  # odds sqrt(1 * 9) = 3
    # 0.5 has no information and no weight; where nobody has any, the weights are equal.
    np.testing.assert_allclose(pools.entropy_weighted(p), [0.5, 0.9, 0.5], atol=1e-12)
    # Odds 3 to the power 2 are 9.
    np.testing.assert_allclose(pools.extremised(np.array([0.75]), 2.0), [0.9])


def test_the_table_joins_scores_and_compares(folder, capsys):
    assert pools.main([str(folder)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("24 questions with forecasts of 3 model configurations")
    assert "2 models, market questions" in printed  # c answered too little to be compared
    assert "crowd at freeze" in printed
    assert "crowd at due date" not in printed  # not every question has it
    always = next(line for line in printed.splitlines() if line.startswith("always 50 %"))
    assert always.split()[3] == "0.2500"
    good = next(line for line in printed.splitlines() if line.startswith("a-none"))
    assert good.split()[1] == "0.0100"


def test_weights_are_learnt_on_other_clusters_only(folder):
    data = pools.load(folder).select(np.ones(24, dtype=bool), ["a-none-c0-t0", "b-none-c0-t0"])
    weights = []
    pools.by_past_score(
        data.forecasts, data.outcomes, data.clusters, lambda p, w: weights.append(w) or p[:, 0]
    )
    assert len(weights) == 5
    assert all(w[0] > 0.9 for w in weights)
    # Turning the outcomes of one fold over must not change the forecasts made for that fold.
    folds = pools.cluster_folds(data.clusters, 5, seed=pools.config.SEED)
    turned = np.where(folds == 0, 1 - data.outcomes, data.outcomes)
    before = pools.extremised_by_fit(data.forecasts, data.outcomes, data.clusters)[0]
    after = pools.extremised_by_fit(data.forecasts, turned, data.clusters)[0]
    np.testing.assert_array_equal(before[folds == 0], after[folds == 0])


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("llm_forecasts.csv", "id,a-none-c0-\nq0,1.5\n", r"line 2: '1.5' is not a probability"),
        ("llm_forecasts.csv", "id,a\nelse,0.5\n", "no row belongs"),
        ("questions_dev.jsonl", '{"id": "q0", "outcome": 0.5}\n', "line 1: outcome is 0.5"),
        ("questions_dev.jsonl", "{oops\n", "line 1: not a question"),
    ],
)
def test_bad_data_is_named_with_its_line(folder, capsys, name, text, words):
    (folder / name).write_text(text)
    assert pools.main([str(folder)]) == 2
    import re

    assert re.search(words, capsys.readouterr().err)


def test_a_missing_folder_is_one_line(tmp_path, capsys):
    assert pools.main([str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
