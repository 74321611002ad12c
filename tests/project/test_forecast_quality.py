"""benchmarks/forecast_quality.py on a small made-up folder: nothing from the future, all tables."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.forecast_quality import GROUPS, index, main
from benchmarks.quality_checks import Trial, cross_fit_table, pasts_tables, power_table
from benchmarks.resolved_forecasts import Asked, Group, load
from evaluation.assistance import DEFAULTS
from questions.question import Question


def question(source: str, name: str, text: str, price: str) -> dict[str, object]:
    series = "{resolution_date}" in text
    return {
        "id": name,
        "source": source,
        "question": text,
        "freeze_datetime": "2026-01-01T00:00:00+00:00",
        "freeze_datetime_value": price,
        "resolution_dates": ["2026-01-18", "2026-02-10"] if series else "N/A",
        "market_info_close_datetime": "N/A" if series else "2026-02-01T00:00:00+00:00",
    }


def folder(path: Path) -> Path:
    """One round of a series and a market; two earlier questions, of which models answered one."""
    (path / "rounds").mkdir()
    due = {"forecast_due_date": "2026-01-11", "question_set": "2026-01-11-llm.json"}
    text = "Will Peru have more riots by {resolution_date}?"
    questions = [question("acled", "s1", text, "3.5"), question("manifold", "m1", "Is it?", "0.25")]
    (path / "rounds" / "2026-01-11-llm.json").write_text(
        json.dumps({**due, "questions": questions})
    )
    answers = [
        {"id": "s1", "source": "acled", "resolution_date": day, "resolved_to": y, "resolved": True}
        for day, y in (("2026-01-18", 1.0), ("2026-02-10", 0.0))
    ]
    answers.append({**answers[0], "id": "m1", "source": "manifold"})
    (path / "rounds" / "2026-01-11_resolution_set.json").write_text(
        json.dumps({**due, "resolutions": answers})
    )
    earlier = [
        {
            "id": f"e{n}",
            "source": "acled" if n else "manifold",
            "question": f"Will Chad have more riots by 2026-01-0{5 + n}?" if n else "Is that so?",
            "forecast_due_date": "2025-12-28",
            "resolution_date": f"2026-01-0{5 + n}",
            "outcome": n % 2,
            "baseline_crowd": None if n else 0.2,
        }
        for n in range(3)
    ]
    lines = "\n".join(map(json.dumps, earlier))
    (path / "questions_dev.jsonl").write_text(lines)
    (path / "llm_forecasts.csv").write_text("id,a-none-c0-t0,b-none-c0-t0\ne0,0.4,0.8\ne1,0.5,\n")
    return path


def test_rows_know_the_past_only(tmp_path: Path) -> None:
    rows = {row.question.id: row for row in load(folder(tmp_path))}
    assert set(rows) == {"s1@2026-01-18", "s1@2026-02-10", "m1", "e0", "e1", "e2"}
    later = rows["s1@2026-02-10"]
    assert later.rate is not None
    assert [name.split()[1] for name in later.rate.relatives] == ["e2", "e1"]
    assert rows["e1"].rate is None
    assert (rows["m1"].price, later.price) == (0.25, None)
    assert rows["e0"].models == {"a-none-c0-t0": 0.4, "b-none-c0-t0": 0.8}


def test_a_group_is_pooled_as_a_run_pools_it(tmp_path: Path) -> None:
    columns, shown = GROUPS["models alone"]
    group = Group.of(load(folder(tmp_path)), columns, shown)
    assert group.pool.tolist() == pytest.approx([0.6, 0.5])
    pooled = group.assisted(lambda _: DEFAULTS)
    assert 0.2 < pooled[0] < 0.6
    assert pooled[1] == 0.5  # neither price nor relatives
    assert group.final().tolist() == pooled.tolist()


def test_the_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder(tmp_path)), "--choices"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("6 resolved rows, 2 with models\n")
    assert "| source acled | 2 | 0.50 |" in out
    assert "**models alone, market questions** (1 questions, 1 clusters)" in out
    assert "| crowd | 0.0400 |" in out
    assert "**Brier by `market`, market questions**" in out
    assert "| models alone, market | 1 | " in out
    assert "| STRENGTH | 1: 0.2500, 2: 0.2500, 3: 0.2500, 5: 0.2500, 10: 0.2500 |" in out


def priced(name: str, day: str, outcome: int) -> Asked:
    """A market question with a price of 0.2, of which a model says 0.6."""
    extra = {"source": "manifold", "baseline_crowd": "0.2"}
    asked = Question(f"Is {name}?", id=name, extra=extra)
    return Asked(asked, day, outcome, day, "questions_dev", models={"a-none-c0-t0": 0.6})


def test_a_choice_is_scored_on_the_other_half() -> None:
    """Where the price was right it has weight, where it was wrong none: each loses on the other.

    At 5 and 2.5 the log-odds are (0.4055 - 5 x 1.3863) / 6 = -1.0877, times 1 + 1.5 x 4 x 5 / 36.
    """
    rows = [priced("a", "2025-10-26", 0), priced("b", "2025-11-09", 1)]
    trial = Trial("models alone, market", Group.of(rows, "-none-c0-", False))
    assert trial.models.tolist() == pytest.approx([0.36, 0.16])
    assert trial.best(np.array([True, False])) == (5, 2.5)
    assert trial.tried[5, 2.5][0] == pytest.approx(1 / (1 + np.exp(1.99405)) ** 2 - 0.36, abs=1e-4)
    assert trial.best(np.array([False, True]))[0] == 0
    lines = cross_fit_table([trial])
    assert [line.split(" | ")[1:3] for line in lines[-2:]] == [
        ["due dates", "0, 1 / 5, 2.5"],
        ["clusters", "0, 1 / 5, 2.5"],
    ]
    # Row a keeps 0.6, row b gets what was best for a.
    assert float(lines[-1].split(" | ")[3].split(" (")[0]) == pytest.approx(
        trial.tried[5, 2.5][1] / 2, abs=5e-5
    )
    assert "| – | – |" in power_table([trial])[-1]
    assert trial.surest(np.array([False, True]))[0] == 0.25  # a second voice has some weight


def test_a_round_is_the_past_of_the_next() -> None:
    """0 of 8 in one month are 0.20494 (test_base_rates), 0.042 - 0.25 where the answer is no."""

    def asked(number: int, day: str) -> Asked:
        question = Question(f"Will Peru have {number} riots?", id=str(number))
        return Asked(replace(question, extra={"source": "acled"}), day, 0, day[:8] + "11", "round")

    rows = [*(asked(n, "2026-01-04") for n in range(8)), asked(9, "2026-02-01")]
    lines = pasts_tables(rows)
    assert lines[3] == "| past | pasts | acled | dataset |"
    assert lines[5] == "| 1 round | 1 | -0.2080 | -0.2080 |"
    assert lines[-1] == "Rounds alone: 0.0420 without the first, 0.2269 with"
    assert "need two rounds" in pasts_tables(rows[:8])[-1]


def test_the_brier_index_by_hand() -> None:
    assert index(0.25) == 50
    assert index(0.16) == pytest.approx(60)


def test_a_folder_without_data_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
