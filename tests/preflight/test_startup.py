"""What stops a start before anything happens: empty options, an old Python, missing packages."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import analysis
import forecaster
from preflight import startup

ROOT = Path(__file__).parents[2]


def options(parser: argparse.ArgumentParser) -> list[tuple[str, int]]:
    """The options of a parser that take a value, each with how many."""
    return [
        (action.option_strings[0], action.nargs if isinstance(action.nargs, int) else 1)
        for action in parser._actions
        if action.option_strings and action.nargs != 0
    ]


@pytest.mark.parametrize("empty", ["", " ", "\t"])
@pytest.mark.parametrize("program", [forecaster, analysis])
def test_no_option_takes_an_empty_value(program, empty, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for option, count in options(program.parser()):
        for words in ([option, *[empty] * count], [f"{option}={empty}"]):
            assert program.main(words) == 2
            said = capsys.readouterr()
            assert (
                said.err
                == f"{program.__name__}.py: {option} is empty; give it a value or leave it out\n"
            )
            assert said.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words", [["--models", "a", ""], ["--question", "Will A?", "--question", ""], ["--resume", ""]]
)
def test_one_of_several_values_may_not_be_empty(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert forecaster.main(words) == 2
    assert f"{words[0]} is empty" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_other_values_are_not_empty():
    assert (
        startup.option_problems(
            ["--question", "Will a = b?", "--resolve-one", "-5", "yes", "--score"]
        )
        == []
    )


def start(*command: str, cwd: Path) -> tuple[int, str]:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.mark.parametrize("program", ["forecaster.py", "analysis.py"])
def test_an_old_python_is_named_in_one_line(program, tmp_path):
    fake = (
        "import sys, runpy; sys.version_info = (3, 10, 13, 'final', 0); sys.argv = [sys.argv[1]];"
        "sys.path.insert(0, sys.argv[0].rpartition('/')[0]); runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    code, said = start(sys.executable, "-c", fake, str(ROOT / program), cwd=tmp_path)
    assert code == 2
    assert (
        said
        == f"{program}: Python 3.11 or newer is needed, this is Python 3.10 ({sys.executable})\n"
    )


@pytest.mark.parametrize("version", ["3.10", "3.9"])
@pytest.mark.parametrize("program", ["forecaster.py", "analysis.py"])
def test_a_real_old_python_says_the_same(program, version, tmp_path):
    found = sorted(Path("~/.pyenv/versions").expanduser().glob(f"{version}.*/bin/python"))
    python = str(found[0]) if found else shutil.which(f"python{version}")
    if python is None:
        pytest.skip(f"not installed: Python {version}")
    code, said = start(python, str(ROOT / program), cwd=tmp_path)
    assert code == 2
    assert (
        said == f"{program}: Python 3.11 or newer is needed, this is Python {version} ({python})\n"
    )


@pytest.mark.parametrize("program", ["forecaster.py", "analysis.py"])
def test_missing_packages_are_named_in_one_line(program, tmp_path):
    code, said = start(sys.executable, "-S", str(ROOT / program), cwd=tmp_path)
    assert code == 2
    assert said.startswith(f"{program}: not installed for {sys.executable}: numpy, ")
    assert said.endswith(
        "activate the virtual environment (source .venv/bin/activate), or install the packages as the README says\n"
    )
    assert said.count("\n") == 1


@pytest.mark.parametrize(("given", "threads"), [({}, 1), ({"OPENBLAS_NUM_THREADS": "2"}, 2)])
@pytest.mark.parametrize("program", ["forecaster", "analysis"])
def test_fits_use_one_thread_unless_the_user_says_otherwise(program, given, threads):
    code = (
        f"import {program}, scipy.optimize; from threadpoolctl import threadpool_info;"
        "print(*(one['num_threads'] for one in threadpool_info() if one['internal_api'] == 'openblas'))"
    )
    others = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
        env=others | given,
    )  # fmt: skip
    # No more than there are cores.
    threads = min(threads, len(os.sched_getaffinity(0)))
    assert {int(number) for number in done.stdout.split()} == {threads}


def test_every_package_that_is_imported_at_the_start_is_needed():
    import ast

    own = {path.stem for path in ROOT.glob("*.py")} | {
        p.parent.name for p in ROOT.glob("*/__init__.py")
    }
    for name in (
        "analysis",
        "forecaster",
        "database",
        "evidence/mediawiki",
        "evidence/wikitext",
        "terminal/progress",
        "evaluation/scorecard",
    ):
        for node in ast.parse((ROOT / f"{name}.py").read_text(encoding="utf-8")).body:
            names = (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            packages = {str(module).partition(".")[0] for module in names}
            assert packages <= own | set(sys.stdlib_module_names) | set(startup.NEEDED), name
