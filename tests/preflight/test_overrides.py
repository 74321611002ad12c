"""Settings from forecaster.toml and variables: what they change, and one line for whatever is wrong with them."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import hypothesis
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

import config
from preflight import overrides
from preflight.rules import rules_of
from preflight.settings import load, setting_problems
from terminal.text import visible_line

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """An empty working folder, no variables, and nothing left behind."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("FORECASTER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(overrides, "origins", {})


@pytest.fixture
def settings():
    """A copy of the settings module, to be changed."""
    copied = ModuleType("config")
    vars(copied).update(vars(config))
    return copied


def refused(settings, text, path="forecaster.toml", argv=()):
    """The lines about a file; whether it is read or judged, there is no other line."""
    Path(path).write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(settings, argv) or setting_problems(settings)


# --- values ---------------------------------------------------------------------------------------


def test_a_file_replaces_values_and_merges_the_engines_keys(settings):
    lines = """\
    POOL_METHOD = "median"
    HORIZON_DAYS = [1, 2]
    FRESHNESS_HOURS = 0.5
    WIKIPEDIA_MIN_INTERVAL_SECONDS = 1
    FORECAST_MODEL_PATHS_VLLM = {mine = "owner/mine"}
    DEFAULT_MODEL_VLLM = "mine"
    [VLLM_CONFIG]
    dtype = "float32"
    max_model_len = "none"
    [VLLM_CONFIG.model_loader_extra_config]
    """
    assert refused(settings, "\ufeff" + lines.replace("\n", "\r\n")) == []
    assert settings.POOL_METHOD == "median"
    assert settings.HORIZON_DAYS == (1, 2)
    assert settings.FRESHNESS_HOURS == 0.5
    assert settings.FORECAST_MODEL_PATHS_VLLM == {"mine": "owner/mine"}
    changed = {"dtype": "float32", "max_model_len": None}
    assert {**config.VLLM_CONFIG, **changed} == settings.VLLM_CONFIG
    assert config.VLLM_CONFIG["dtype"] == "auto"


def test_variables_win_over_the_file_and_texts_need_no_quotes(settings, monkeypatch):
    monkeypatch.setenv("FORECASTER_POOL_METHOD", "median")
    monkeypatch.setenv("FORECASTER_PLOTS_DIR", "2026")
    monkeypatch.setenv("FORECASTER_DATABASE_PATH", '"my file.db"')
    monkeypatch.setenv("FORECASTER_WIKIPEDIA_API_URL", '""')
    monkeypatch.setenv("FORECASTER_WIKIPEDIA_MIN_INTERVAL_SECONDS", "none")
    monkeypatch.setenv("FORECASTER_SEED", "1_000")
    monkeypatch.setenv("FORECASTER_HORIZON_DAYS", "[10]")
    monkeypatch.setenv("FORECASTER_VLLM_CONFIG", "{swap_space_gb = 2}")
    monkeypatch.setenv("FORECASTER_CACHE", "somewhere")
    text = 'POOL_METHOD = "entropy"\nWIKIPEDIA_MIN_INTERVAL_SECONDS = 5\nVLLM_CONFIG.dtype = "half"'
    assert refused(settings, text) == []
    assert (settings.POOL_METHOD, settings.PLOTS_DIR) == ("median", "2026")
    assert (settings.DATABASE_PATH, settings.WIKIPEDIA_API_URL) == ("my file.db", "")
    assert settings.WIKIPEDIA_MIN_INTERVAL_SECONDS is None
    assert (settings.SEED, settings.HORIZON_DAYS) == (1000, (10,))
    assert settings.VLLM_CONFIG["dtype"] == "half"
    assert settings.VLLM_CONFIG["swap_space_gb"] == 2


@pytest.mark.parametrize(
    ("argv", "seed"),
    [
        ([], 1), (["--database", "a/x.db"], 2), (["--question", "Q?", "--database=a/x.db"], 2),
        (["--datab", "a/x.db"], 2), (["--database", "x.db"], 1), (["--database"], 1),
        (["--database", "a/x.db", "--database", "b/x.db"], 20261123),
        (["--database", "none/x.db"], 20261123), (["--database", "forecaster.toml/x.db"], 20261123),
        (["--database", "y" * 5000 + "/x.db"], 20261123), (["--database", "\0/x.db"], 20261123),
    ],
)  # fmt: skip
def test_the_file_is_beside_the_database(settings, argv, seed):
    Path("forecaster.toml").write_text("SEED = 1")
    for folder, text in (("a", "SEED = 2"), ("b", "")):
        Path(folder).mkdir()
        Path(folder, "forecaster.toml").write_text(text)
    assert load(settings, argv) == []
    assert seed == settings.SEED


def test_a_variable_may_name_another_file(settings, monkeypatch):
    Path("forecaster.toml").write_text("SEED = 1")
    Path("mine.toml").write_text("SEED = 2")
    monkeypatch.setenv("FORECASTER_SETTINGS", "mine.toml")
    assert load(settings, ["--database", "a/x.db"]) == []
    assert settings.SEED == 2
    for wrong in ("none.toml", "~nobody-of-this-name/f", "x" * 3000):
        monkeypatch.setenv("FORECASTER_SETTINGS", wrong)
        (line,) = load(settings)
        assert line.startswith(f"FORECASTER_SETTINGS is '{wrong[:100]}")
        assert "; allowed: a file that exists; " in line


# --- what is wrong --------------------------------------------------------------------------------

WRONG = {
    "LOGIC_SAMPLES = 0": "line 1: LOGIC_SAMPLES is 0; allowed: a whole number, 1 or more; ",
    "\n\nSEED = true": "line 3: SEED is True; allowed: ",
    "SEED = 1.0": "line 1: SEED is 1.0; allowed: ",
    'SEED = "none"': "line 1: SEED is 'none'; allowed: ",
    "PLOTS_DIR = 5": "line 1: PLOTS_DIR is 5; allowed: ",
    "FRESHNESS_HOURS = nan": "line 1: FRESHNESS_HOURS holds nan; allowed: ",
    "FRESHNESS_HOURS = -inf": "line 1: FRESHNESS_HOURS holds -inf; allowed: ",
    "SEED = 2026-01-02": "line 1: SEED holds 2026-01-02; allowed: .*write a date in quotes",
    "HORIZON_DAYS = [1, 12:00:00]": "line 1: HORIZON_DAYS holds 12:00:00; allowed: ",
    'HORIZON_DAYS = "7"': "line 1: HORIZON_DAYS is '7'; allowed: ",
    '\n[FORECAST_MODEL_PATHS."a"]\npath = "o/a"\nchat_template_kwargs = {x = 2026-01-02T00:00:00Z}':
        r"line 2: FORECAST_MODEL_PATHS holds 2026-01-02 00:00:00\+00:00; allowed: ",
    "POOL_METHD = 1": r"line 1: POOL_METHD is no setting; .*; did you mean 'POOL_METHOD'\?$",
    "pool_method = 1": r"line 1: pool_method is no setting; .*; did you mean 'POOL_METHOD'\?$",
    '"a\\u001b\\n" = 1': r"'a\\x1b\\n' is no setting; ",
    "__doc__ = 1": "line 1: __doc__ is no setting; ",
    "validate_config = 1": "line 1: validate_config is no setting; ",
    "[VLLM_CONFIG]\ndtyp = 'half'": r"line 1: VLLM_CONFIG has the unknown key 'dtyp'; .*'dtype'\?$",
    "[VLLM_CONFIG]\ndtype = 'half'\nSEED = 5": "line 1: SEED is inside of VLLM_CONFIG; write it above",
    "VLLM_CONFIG = 5": "line 1: VLLM_CONFIG is 5; allowed: a dictionary; ",
    "FORECAST_MODEL_PATHS_VLLM = {qwen3-14b = 5}": r"line 1: FORECAST_MODEL_PATHS_VLLM\['qwen3-14b'\] is 5; ",
    "FORECAST_MODEL_PATHS_VLLM = {a = 'o/a'}": "DEFAULT_MODEL_VLLM is 'qwen3-14b'; allowed: a key of",
    "[FORECAST_MODEL_PATHS_VLLM.qwen3-14b]\npath = 'o/a'\ntrust_remote_code = true":
        "line 1: FORECAST_MODEL_PATHS_VLLM has trust_remote_code = true; allowed: in config.py or in a file that",
    'DATABASE_PATH = "a\\u0000b"': "line 1: DATABASE_PATH holds a NUL character; ",
    "SEED = 1\nSEED = 2": "line 2: Cannot overwrite a value; correct it$",
    "SEED = True": "line 1: Invalid value; correct it$",
    "SEED =\n": "line 1: Invalid value; correct it$",
    "SEED = 1 \x1b": r"line 1: .*; correct it$",
    'SEED = "': r"line 1: Illegal character '\\n'; correct it$",
    "SEED = " + "[" * 3000: "forecaster.toml is nested too deeply; ",
    "VLLM_CONFIG" + ".a" * 900 + " = 1": "line 1: VLLM_CONFIG is nested more than 20 deep; ",
    "SEED = 1 #" + "x" * 4000: "forecaster.toml is too long for settings; ",
    "#\n" * 40_000: "forecaster.toml is too long for settings; ",
    b"SEED = 1 # \xe4": "forecaster.toml is no UTF-8 text; save it as UTF-8$",
    b"\xff\xfeS\0": "forecaster.toml is no UTF-8 text; ",
}  # fmt: skip


@pytest.mark.parametrize("text", WRONG, ids=lambda text: text[:40])
def test_what_is_wrong_in_a_file_is_one_line_that_names_its_place(settings, text):
    before = dict(vars(settings))
    lines = refused(settings, text)
    assert len(lines) == 1, lines
    assert "\n" not in lines[0]
    assert len(lines[0]) < 1500
    pattern = WRONG[text]
    pattern = f"forecaster.toml, {pattern}" if pattern.startswith("line ") else pattern
    assert re.search(pattern, lines[0]), lines[0]
    if load(settings):
        assert vars(settings) == before


def test_every_problem_is_named_but_not_thousands(settings):
    lines = refused(settings, "A_B = 1\nSEED = 2026-01-01\nC_D = nan")
    assert [line.split(":")[0] for line in lines] == [f"forecaster.toml, line {n}" for n in (1, 2, 3)]  # fmt: skip
    lines = refused(settings, "\n".join(f"X{n} = 1" for n in range(3000)))
    assert len(lines) == 21
    assert lines[-1] == "… and 2980 more problems"


def test_folders_pipes_and_files_without_rights(settings):
    Path("forecaster.toml").mkdir()
    (line,) = load(settings)
    assert line == "forecaster.toml is no file; move it away, or correct the path"
    Path("forecaster.toml").rmdir()
    os.mkfifo("forecaster.toml")  # would be waited for
    assert load(settings) == [line]
    Path("forecaster.toml").unlink()
    Path("forecaster.toml").symlink_to("forecaster.toml")
    assert len(load(settings)) == 1
    Path("forecaster.toml").unlink()
    if os.geteuid():
        Path("forecaster.toml").touch(mode=0)
        (line,) = load(settings)
        assert "cannot be read (Permission denied)" in line


WRONG_VARIABLES = {
    ("FORECASTER_LOGIC_SAMPLES", "0"): "FORECASTER_LOGIC_SAMPLES: LOGIC_SAMPLES is 0; allowed: ",
    ("FORECASTER_SEED", "abc"): "FORECASTER_SEED: SEED is 'abc'; allowed: ",
    ("FORECASTER_SEED", "5, 6"): "FORECASTER_SEED: SEED is '5, 6'; allowed: ",
    ("FORECASTER_SEED", "true"): "FORECASTER_SEED: SEED is True; allowed: ",
    ("FORECASTER_SEED", "2026-01-01"): "FORECASTER_SEED: SEED holds 2026-01-01; allowed: ",
    ("FORECASTER_SEED", " "): "FORECASTER_SEED is empty; ",
    ("FORECASTER_SETTINGS", ""): "FORECASTER_SETTINGS is empty; ",
    ("FORECASTER_SEED", "1\nPOOL_METHOD = 1"): "FORECASTER_SEED is '1\\nPOOL_METHOD = 1'; ",
    ("FORECASTER_PLOTS_DIR", "\udce4"): "FORECASTER_PLOTS_DIR is '\\udce4'; ",
    ("FORECASTER_PLOTS_DIR", "x" * 5000): "FORECASTER_PLOTS_DIR is 'xxx",
    ("FORECASTER_VLLM_CONFIG", "float32"): "FORECASTER_VLLM_CONFIG: VLLM_CONFIG is 'float32'; ",
    ("FORECASTER_POOL_METHD", "mean"): "FORECASTER_POOL_METHD is no setting; ",
    ("FORECASTER_seed", "5"): "FORECASTER_seed is no setting; ",
    ("FORECASTER_", "5"): "FORECASTER_ is no setting; ",
    ("FORECASTER_CACHES", "5"): "FORECASTER_CACHES is no setting; ",
}


@pytest.mark.parametrize(("name", "value"), WRONG_VARIABLES)
def test_what_is_wrong_in_a_variable_is_one_line(settings, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    (line,) = load(settings) or setting_problems(settings)
    assert line.startswith(WRONG_VARIABLES[name, value])
    assert len(line) < 500


def test_remote_code_is_allowed_where_the_user_names_the_file(settings, monkeypatch):
    text = "[FORECAST_MODEL_PATHS_VLLM.qwen3-14b]\npath = 'o/a'\ntrust_remote_code = true"
    monkeypatch.setenv("FORECASTER_SETTINGS", "forecaster.toml")
    assert refused(settings, text) == []
    assert settings.FORECAST_MODEL_PATHS_VLLM["qwen3-14b"]["trust_remote_code"] is True


def test_passwords_are_not_repeated(settings, monkeypatch):
    address = "https://bot:hunter2hunter2@wiki.org/w/api"
    (line,) = refused(settings, f'WIKIPEDIA_API_URL = "{address}"')
    assert "hunter2" not in line
    (line,) = refused(settings, f'WIKIPEDIA_API_URL = "{address}\nSEED = 5')
    assert "hunter2" not in line
    Path("forecaster.toml").unlink()
    monkeypatch.setenv("FORECASTER_WIKIPEDIA_API_URL", address)
    (line,) = load(settings) or setting_problems(settings)
    assert "hunter2" not in line
    monkeypatch.setenv("FORECASTER_WIKIPEDIA_API_URL", address + "\n")
    (line,) = load(settings)
    assert "hunter2" not in line


# --- both command lines ---------------------------------------------------------------------------


def run(*command, **variables):
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("program", ["forecaster.py", "analysis.py"])
def test_a_command_line_starts_nothing_with_a_wrong_file(program, tmp_path):
    Path("forecaster.toml").write_text("SED = 1\n")
    code, out, errors = run(ROOT / program)
    assert (code, out) == (2, "")
    assert errors.startswith(f"{program}: forecaster.toml, line 1: SED is no setting; ")
    Path("forecaster.toml").write_text("SEED = -1\n")
    code, out, errors = run(ROOT / program)
    assert (code, out) == (2, "")
    assert f"{program}: forecaster.toml, line 1: SEED is -1; allowed: " in errors
    Path("forecaster.toml").write_text(
        'DEFAULT_MODEL_VLLM = "a"\nDEFAULT_LOGIC_MODEL_PATH = "a"\n'
        '[FORECAST_MODEL_PATHS_VLLM]\na = {path = "owner/a", max_model_len = "x"}\n'
    )
    code, out, errors = run(ROOT / program)
    assert (code, out) == (2, "")
    (line,) = [line for line in errors.splitlines() if "max_model_len" in line]
    assert line.startswith(f"{program}: forecaster.toml, line 3: FORECAST_MODEL_PATHS_VLLM['a']")
    assert [path.name for path in tmp_path.iterdir()] == ["forecaster.toml"]


@pytest.mark.parametrize("program", ["forecaster.py", "analysis.py"])
def test_the_help_names_the_paths_in_force(program):
    Path("forecaster.toml").write_text('DATABASE_PATH = "mine.db"\nPLOTS_DIR = "figures"')
    code, out, _ = run(ROOT / program, "--help", FORECASTER_PLOTS_DIR="pictures")
    assert code == 0
    assert "default: mine.db" in out
    assert "default: pictures" in out


def test_a_run_stores_the_values_it_used(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "forecaster.toml").write_text("EVIDENCE_CHUNKS = 2\nVLLM_CONFIG.swap_space_gb = 1\n")
    database = folder / "run.db"
    arguments = ["--question", "Will it rain?", "--no-retrieval", "--database", database]
    code, _, errors = run("-m", "tests.support.stub_cli", *arguments, FORECASTER_POOL_METHOD="median")  # fmt: skip
    assert code == 0, errors
    with sqlite3.connect(database) as connection:
        ((text,),) = connection.execute("select settings from runs")
    stored = json.loads(text)
    assert (stored["evidence_chunks"], stored["pool_method"]) == (2, "median")
    assert stored["vllm"]["swap_space_gb"] == 1


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_build_pod_downloads_the_models_of_the_settings_file():
    Path("mine.toml").write_text('DEFAULT_MODEL_VLLM = "a"\nFORECAST_MODEL_PATHS_VLLM.a = "o/mine"')
    variables = {"HF_TOKEN": "hf_abcdefghijklmnop", "FORECASTER_SETTINGS": str(Path("mine.toml").resolve())}  # fmt: skip
    command = ["bash", str(ROOT / "build_pod.sh"), "--dry-run"]
    environment = {**os.environ, **variables}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "hf download --quiet o/mine" in done.stdout
    assert "phi-4" not in done.stdout
    environment["FORECASTER_SETTINGS"] = "none.toml"
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "FORECASTER_SETTINGS is 'none.toml'; allowed: " in done.stderr
    assert "Traceback" not in done.stderr


def test_the_examples_of_the_documentation_pass(settings, monkeypatch):
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    variables = re.findall(r"(FORECASTER_(?:POOL_METHOD|VLLM_CONFIG))=(?:'([^']*)'|(\S*))", text)
    assert len(variables) == 2
    for name, quoted, plain in variables:
        monkeypatch.setenv(name, quoted or plain)
    assert refused(settings, example) == []
    assert settings.VLLM_CONFIG["enforce_eager"] is True
    assert settings.VLLM_CONFIG["tensor_parallel_size"] == 2
    assert list(settings.FORECAST_MODEL_PATHS_VLLM) == ["phi-4", "qwen3-32b"]


def test_no_setting_is_a_variable_of_the_program():
    taken = {name.removeprefix("FORECASTER_") for name in overrides.OTHER_VARIABLES}
    assert not taken & set(rules_of(config))


def test_the_password_of_a_wiki_in_the_file_is_kept_out_of_everything(tmp_path):
    Path("forecaster.toml").write_text(
        'WIKIPEDIA_API_URL = "http://bot:hunter2hunter2@127.0.0.1:9/w/api.php"\n'
        "WIKIPEDIA_MAX_ATTEMPTS = 1\nWIKIPEDIA_MIN_INTERVAL_SECONDS = 0\n"
    )
    code, out, errors = run("-m", "tests.support.stub_cli", "--question", "Will it rain?")
    assert code == 1, errors  # no evidence
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".toml"]
    assert {"stub.db", "runpod_forecast_logs.log"} <= {path.name for path in files}
    contents = b"".join(path.read_bytes() for path in files)
    assert b"127.0.0.1:9/w/api.php" in contents
    for text in (contents, out.encode(), errors.encode()):
        assert b"hunter2" not in text


# --- any text -------------------------------------------------------------------------------------

words = st.sampled_from([*rules_of(config), *config.VLLM_CONFIG, "[", "]", "{", "}", "=", ".", ",", "\n", "#", '"', "'", "none", "nan", "1", "2026-01-01", "true", "\\", " ", "\0", "ä", "\ud800"])  # fmt: skip


@hypothesis.settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(words | st.text(max_size=5), max_size=30).map("".join))
def test_any_text_is_read_or_refused_in_lines(monkeypatch, text):
    copied = ModuleType("config")
    vars(copied).update(vars(config))
    for place in ("file", "variable"):
        monkeypatch.delenv("FORECASTER_VLLM_CONFIG", raising=False)
        if place == "file":
            Path("forecaster.toml").write_bytes(text.encode("utf-8", "surrogatepass"))
        elif "\0" not in text and text.isascii():
            monkeypatch.setenv("FORECASTER_VLLM_CONFIG", text)
            Path("forecaster.toml").write_bytes(b"")
        for line in load(copied) or setting_problems(copied):
            assert visible_line(line) == line
            assert len(line) < 2000
