"""The mutants of benchmarks/mutants.py: which changes are made, and what becomes of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.mutants import files_of, known_modules
from benchmarks.mutations import mutants, sample

ROOT = Path(__file__).parents[2]


def changes(folder: Path, source: str) -> set[str]:
    path = folder / "module.py"
    path.write_text(source, encoding="utf-8")
    return {mutant.source.removesuffix("\n") for mutant in mutants(path)}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = a < b", {"x = (a <= b)", "x = (a >= b)"}),
        ("x = a in b", {"x = (a not in b)"}),
        ("x = a - b", {"x = (a + b)", "x = (b - a)"}),
        ("x = 5", {"x = 6", "x = 4", "x = 0"}),
        ("x = 1e-12", {"x = 1e-09", "x = 0.0"}),
        ("x = True", {"x = False"}),
        ("x = a and b", {"x = (a or b)", "x = (a)", "x = (b)"}),
        ("x = not a", {"x = (a)"}),
        ("if a: b = c", {"if (not (a)): b = c"}),
        ("x = min(a, b)", {"x = max(a, b)"}),
        ("x = sorted(a, key=b)", {"x = sorted(a, key=b, reverse=True)", "x = list(a)"}),
        ("x = zip(a, b)", {"x = zip(b, a)"}),
        ("x = a.strip()", {"x = a.lstrip()", "x = a"}),
        ("x = a[b:c]", {"x = a[:c]", "x = a[b:]"}),
        ("a.b(c)", {"pass"}),
        ("x = 'SELECT a FROM b ORDER BY c DESC'", {"x = 'SELECT a FROM b ORDER BY c ASC'", "x = 'SELECT a FROM b'"}),
        ("x = [a for a in b if c]", {"x = [a for a in b if True]"}),
    ],
)  # fmt: skip
def test_each_kind_of_change(tmp_path, source, expected):
    assert changes(tmp_path, source) == expected


def test_what_no_test_should_assert_is_left_alone(tmp_path):
    source = '"""Docs, 1 < 2."""\nfrom a import b\nif TYPE_CHECKING:\n    x = 1\nlogger.info("%d", 1 + n)\ny: Final[A | B]\nz = f"{1 + n}"'
    assert changes(tmp_path, source) == set()


def test_letters_of_several_bytes_do_not_shift_a_change(tmp_path):
    assert changes(tmp_path, 'x = "é–" if a > b else "ü"') == {
        'x = "é–" if (a >= b) else "ü"',
        'x = "é–" if (a <= b) else "ü"',
    }


def test_a_draw_is_the_same_whatever_is_added_elsewhere(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("\n".join(f"x{n} = a{n} + {n}" for n in range(20)))
    first = {mutant.key for mutant in sample(mutants(path), 9, seed=1)}
    assert len(first) == 9
    assert {mutant.key for mutant in sample(mutants(path), 9, seed=2)} != first
    path.write_text("import os\n\n" + path.read_text())
    assert {mutant.key for mutant in sample(mutants(path), 9, seed=1)} == first


def test_the_table_says_what_tests_notice(tmp_path):
    for folder in ("benchmarks", "tests/evaluation", "evaluation"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("mutants.py", "mutations.py", "mutation_kinds.py"):
        shutil.copy(ROOT / "benchmarks" / name, tmp_path / "benchmarks")
    # Noticed: the first function's changes. Not: the second's. For ever: the third's.
    (tmp_path / "evaluation" / "calibration.py").write_text(
        "def twice(a):\n    return a + a\n\n\ndef most(a):\n    return a > 9\n\n\n"
        "def count(n):\n    while n:\n        n -= 1\n    return n\n"
    )
    first, *others = files_of("evaluation/calibration")
    for name in others:
        (tmp_path / "tests" / f"{name}.py").write_text("def test_nothing():\n    pass\n")
    (tmp_path / "tests" / f"{first}.py").write_text(
        "from evaluation import calibration\n\ndef test_twice():\n    assert calibration.twice(2) == 4\n\n"
        "def test_most():\n    assert not calibration.most(1)\n\ndef test_count():\n    assert calibration.count(2) == 0\n"
    )
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\npythonpath = ["."]\n')
    (tmp_path / "benchmarks" / "equivalent_mutants.csv").write_text(
        "module,line,change,reason\nevaluation/calibration,return a > 9,return a > 9 -> return a > 10,an example\n"
    )
    before = (tmp_path / "evaluation" / "calibration.py").read_text()
    command = [
        sys.executable,
        "benchmarks/mutants.py",
        "evaluation/calibration",
        "--count",
        "100",
        "--patience",
        "0.5",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    row = next(
        line for line in done.stdout.splitlines() if line.startswith("| evaluation/calibration")
    )
    total, equivalent, killed, late, survived = map(int, row.split("|")[2:7])
    assert total == equivalent + killed + late + survived
    assert (equivalent, survived) == (1, 4)
    assert late >= 1
    assert "evaluation/calibration.py:6  return a > 9 -> return (a >= 9)" in done.stdout
    assert "evaluation/calibration.py:2" not in done.stdout
    assert (tmp_path / "evaluation" / "calibration.py").read_text() == before


def test_every_module_with_tests_can_be_measured():
    known = known_modules()
    assert {"scoring/scorer", "evaluation/metrics", "questions/files", "database"} <= {*known}
    for module in known:
        assert (ROOT / f"{module}.py").exists(), module
        for name in files_of(module):
            assert (ROOT / "tests" / f"{name}.py").exists(), (module, name)
