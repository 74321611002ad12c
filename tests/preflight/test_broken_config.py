"""A config.py that cannot be used: one line for each problem, exit 2, nothing started, on both command lines."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import analysis
import config
import forecaster
from preflight.rules import rules_of
from preflight.settings import NAMES, RESTORE, name_problems

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def program(tmp_path):
    """A copy of the program whose config.py is spoilt once; exit code, errors and new files of a run."""
    for path in [*ROOT.glob("*.py"), *(p.parent for p in ROOT.glob("*/__init__.py"))]:
        (tmp_path / path.name).symlink_to(path)
    own = tmp_path / "config.py"
    own.unlink()
    shutil.copy(ROOT / "config.py", own)

    def call(spoil, name, *arguments):
        if spoil is not None:
            text = spoil(own.read_text(encoding="utf-8"))
            own.unlink()
            if text is not None:
                own.write_bytes(text if isinstance(text, bytes) else text.encode())
        before = set(tmp_path.iterdir())
        # Symbolic links are resolved by Python for its path: the folder is given instead.
        script = f"import runpy, sys; sys.argv[0] = {name!r}; sys.path.insert(0, {str(tmp_path)!r}); runpy.run_path({name!r}, run_name='__main__')"
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        new = {p.name for p in set(tmp_path.iterdir()) - before} - {"__pycache__"}
        return done.returncode, done.stderr.splitlines(), new

    return call


BROKEN = {
    "a syntax error": (
        lambda text: text.replace('DATABASE_PATH: Annotated[str, TEXT] = "', "PLOTS_DIR = '"),
        r"config.py, line \d+: unterminated string literal.*PLOTS_DIR.*; correct it",
    ),
    "an error": (
        lambda text: text.replace("20261123", "Ture or 20261123"),
        r"config.py, line \d+: NameError: name 'Ture' is not defined; correct it",
    ),
    "an exit": (
        lambda text: text + "\nraise SystemExit(0)\n",
        r"config.py, line \d+: SystemExit: 0; correct it",
    ),
    "a missing package": (
        lambda text: "import no_such_package\n" + text,
        r"config.py, line 1: ModuleNotFoundError: No module named 'no_such_package'; correct it",
    ),
    "no file": (lambda text: None, r"config.py is missing; restore it.*"),
    "not UTF-8": (
        lambda text: text.encode() + b"_MINE = '\xe4'\n",
        r"config.py.*utf-8.*; correct it",
    ),
    "a missing setting": (
        lambda text: re.sub("\nMIN_CAPTURED_MASS.*", "", text),
        rf"MIN_CAPTURED_MASS is missing in config.py; {re.escape(RESTORE)}",
    ),
    "a misspelt setting": (
        lambda text: text.replace("POOL_METHOD:", "POOL_METHD:"),
        r"POOL_METHD is no setting of config.py; .*did you mean 'POOL_METHOD'\?",
    ),
    "a misspelt setting beside the right one": (
        lambda text: text + '\nPOOL_METHODS = "median"\n',
        r"POOL_METHODS is no setting of config.py; .*did you mean 'POOL_METHOD'\?",
    ),
    "a setting without its rule": (
        lambda text: text.replace("SEED: Annotated[int, at_least(0)]", "SEED"),
        rf"SEED has no rule in config.py; {re.escape(RESTORE)}",
    ),
    "an earlier version": (
        lambda text: "SEED = 1\nDTYPES = ()\n",
        rf"config.py is of an earlier version, without rules; {re.escape(RESTORE)}",
    ),
    "an annotation that is no type": (
        lambda text: text + "\n_MINE: Ture = 1\n",
        r"config.py, line \d+: NameError: name 'Ture' is not defined; correct it",
    ),
    "small letters": (
        lambda text: text + '\npool_method = "median"\n',
        r"pool_method is no setting of config.py; write it in capitals: POOL_METHOD",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_config_is_one_line_on_both_command_lines(program, case):
    spoil, line = BROKEN[case]
    code, errors, new = program(
        spoil, "forecaster.py", "--question", "Will it rain?", "--no-retrieval"
    )
    assert (code, new) == (2, set())
    assert len(errors) == 1, errors
    assert re.fullmatch(f"forecaster.py: {line}", errors[0]), errors[0]
    if case == "no file":
        return
    code, errors, new = program(None, "analysis.py", "--score")
    assert (code, new) == (2, set())
    assert re.fullmatch(f"analysis.py: {line}", errors[0]), errors


def test_every_setting_that_is_gone_is_named(program):
    code, errors, _ = program(
        lambda text: text[: text.index("# --- Analysis")], "forecaster.py", "--question", "Q?"
    )
    assert code == 2
    gone = NAMES[NAMES.index("MAX_PLOTTED_QUESTIONS") :]
    assert errors == [f"forecaster.py: {name} is missing in config.py; {RESTORE}" for name in gone]


def test_the_password_of_a_broken_line_is_not_repeated(program):
    broken = f'_X = ("http://bot:{"x" * 60}hunter2hunter2@host/"\n'
    code, errors, _ = program(lambda text: broken + text, "forecaster.py")
    assert code == 2
    assert len(errors) == 1
    assert "http://***@host/" in errors[0]
    assert "xxx" not in errors[0]


def test_the_names_that_are_looked_for_are_those_of_config():
    assert list(rules_of(config)) == list(NAMES)


def module(**changes):
    """The settings module with values added."""
    copied = ModuleType("config")
    vars(copied).update({**vars(config), **changes})
    return copied


def test_names_that_are_no_settings():
    import datetime

    names = {"re": re, "UTC": datetime.UTC, "_MINE": 1, "helper": lambda: 1, "HTTP": re.compile}
    assert name_problems(module(**names)) == []
    (line,) = name_problems(module(MY_OWN=1))
    assert line.startswith("MY_OWN is no setting of config.py")


def forecast(*arguments):
    """The command line, with no engine that could start."""
    return forecaster.main([*arguments], agent_factory=lambda spec: None)


NONSENSE = [None, 5, 0.5, [], ["owner/model"], {}, {"pth": "owner/model"}, {"path": None}, {"path": ["x"]}, {"path": 5},
            {"path": "owner/model", 5: 1}, {"path": {"path": "x"}}, {"path": "owner/model", "chat_template_kwargs": {5: 1}}, "",
            True, b"owner/model", ("owner/model",)]  # fmt: skip


@pytest.mark.parametrize("entry", NONSENSE, ids=repr)
def test_a_nonsensical_model_entry_is_one_line(tmp_path, monkeypatch, capsys, entry):
    monkeypatch.setattr(config, "FORECAST_MODEL_PATHS_VLLM", {"mine": entry})
    monkeypatch.setattr(config, "DEFAULT_MODEL_VLLM", "mine")
    database = str(tmp_path / "d.db")
    for code in (
        lambda: forecast("--question", "Q?", "--database", database),
        lambda: analysis.main(["--score", "--database", database]),
    ):
        assert code() == 2
        errors = capsys.readouterr().err.splitlines()
        lines = [line for line in errors if "FORECAST_MODEL_PATHS_VLLM['mine']" in line]
        assert len(lines) == 1, errors
        assert "; allowed: " in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_a_misspelt_key_of_an_entry_is_named_with_the_right_one(monkeypatch, capsys):
    monkeypatch.setattr(config, "FORECAST_MODEL_PATHS_VLLM", {"mine": {"pth": "owner/model"}})
    monkeypatch.setattr(config, "DEFAULT_MODEL_VLLM", "mine")
    assert forecast("--question", "Q?", "--logic", "--ablate") == 2
    assert "has the unknown key 'pth'" in (errors := capsys.readouterr().err)
    assert "did you mean 'path'?" in errors


@pytest.mark.parametrize("value", [None, "nonsense", -1, [1], {"a": 1}], ids=repr)
def test_a_setting_of_a_wrong_type_never_ends_in_a_traceback(tmp_path, monkeypatch, capsys, value):
    rows = tmp_path / "b.csv"
    rows.write_text(
        "question,outcome,resolution_date,as_of\nWill it rain?,1,2025-02-03,2025-01-01\n"
    )
    # In no folder: what is judged sound fails there, before anything starts.
    database = str(tmp_path / "none" / "d.db")
    for name in NAMES:
        with monkeypatch.context() as patch:
            patch.setattr(config, name, value)
            assert (
                forecast(
                    "--backtest", str(rows), "--sample", "1", "--logic", "--database", database
                )
                == 2
            )
            assert analysis.main(["--score", "--database", database]) == 2
        assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["PLOTS_DIR", "DATABASE_PATH", "SEED", "VLLM_CONFIG", "FORECAST_MODEL_PATHS_VLLM"]
)
@pytest.mark.parametrize(
    "main", [forecast, lambda: analysis.main([])], ids=["forecaster", "analysis"]
)
def test_a_setting_that_is_gone_is_named_before_it_is_used(monkeypatch, capsys, name, main):
    monkeypatch.delattr(config, name)
    assert main() == 2
    assert f"{name} is missing in config.py; {RESTORE}" in capsys.readouterr().err
