"""validate_config: the defaults pass, every wrong setting is named, all of them at once, and nothing heavy is imported."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import config
from preflight.model_entries import ModelSpec, model_spec
from preflight.rules import ConfigError, Keys, Rule, rules_of
from preflight.settings import setting_problems

ROOT = Path(__file__).resolve().parents[2]


def config_problems(settings=None):
    return setting_problems(config, settings)


def vllm(**changes) -> dict:
    return {"VLLM_CONFIG": {**config.VLLM_CONFIG, **changes}}


def models(entry) -> dict:
    return {"FORECAST_MODEL_PATHS_VLLM": {"a": entry}, "DEFAULT_MODEL_VLLM": "a"}


@pytest.fixture
def installed(monkeypatch):
    """Pretend that optional packages are there (or not): which of them are is not what is tested."""
    present: set[str] = {"runai_model_streamer", "runai_model_streamer_s3", "boto3", "ray"}
    real = importlib.util.find_spec
    optional = frozenset(present)
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *a: (
            (object() if name in present else None) if name in optional else real(name, *a)
        ),
    )
    return present


def test_the_defaults_are_valid():
    assert config_problems() == []
    config.validate_config()


def test_only_the_standard_library_is_imported():
    script = (
        "import sys; import config; config.validate_config();"
        "print([n for n in sys.modules if n.partition('.')[0] not in sys.stdlib_module_names | OWN"
        " and getattr(sys.modules[n], '__file__', None) and 'site-packages' not in n])"
    )
    own = (
        {path.stem for path in ROOT.glob("*.py")}
        | {p.parent.name for p in ROOT.glob("*/__init__.py")}
        | {"__main__"}
    )
    script = f"import sys; OWN = {own!r}; sys.path.insert(0, {str(ROOT)!r}); {script}"
    command = [sys.executable, "-I", "-S", "-c", script]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, (
        found.stderr
    )  # -S: no site-packages at all, so any such import fails
    assert found.stdout.strip() == "[]"


def test_every_problem_is_reported_in_one_go(installed, monkeypatch):
    wrong = {
        "SCORING_TOLERANCE": 2,
        "POOL_METHOD": "average",
        "SEED": -1,
        "DEFAULT_MODEL_VLLM": "qwen3-14",
        **vllm(dtype="int3", tensor_paralel_size=2),
    }
    for name, value in wrong.items():
        monkeypatch.setattr(config, name, value)
    with pytest.raises(ConfigError) as caught:
        config.validate_config()
    problems = caught.value.problems
    assert len(problems) == 6
    assert str(caught.value).splitlines() == problems
    for name in (
        "SCORING_TOLERANCE",
        "POOL_METHOD",
        "SEED",
        "DEFAULT_MODEL_VLLM",
        "'dtype'",
        "'tensor_paralel_size'",
    ):
        assert sum(name in line for line in problems) == 1, name


def test_the_nearest_name_is_offered():
    (line,) = config_problems(vllm(tensor_paralel_size=2))
    assert line.endswith("did you mean 'tensor_parallel_size'?")
    (line,) = config_problems({"DEFAULT_MODEL_VLLM": "qwen3-14"})
    assert line.endswith("did you mean 'qwen3-14b'?")
    (line,) = config_problems(models({"path": "a/b", "chat_template_args": {}}))
    assert line.endswith("did you mean 'chat_template_kwargs'?")


# One value that each rule must refuse. A new setting without one fails test_every_setting_has_a_refused_value.
REFUSED = {
    "LOGIC_SAMPLES": 0,
    "SCORING_WAVE": 0,
    "LOGIC_WAVE": 0,
    "LOGIC_MAX_TOKENS": 8,
    "LOGIC_TEMPERATURE": 2.5,
    "THINK_SAMPLES": 0,
    "THINK_MAX_TOKENS": 8,
    "THINK_MIN_TOKENS": -1,
    "THINK_TEMPERATURE": -0.1,
    "THINK_TOP_P": 0,
    "DEFAULT_LOGIC_MODEL_PATH": "",
    "SCORING_TOLERANCE": -0.1,
    "MAX_LOGPROB_CACHE": 101,
    "MIN_CAPTURED_MASS": 50,
    "SEED": True,
    "POOL_METHOD": "mode",
    "SHOW_MARKET": 1,
    "MARKET_WEIGHT": -1,
    "SHOW_BASE_RATE": "yes",
    "BASE_RATE_WEIGHT": float("inf"),
    "SCORING_WORDINGS": 5,
    "DATABASE_PATH": " ",
    "PLOTS_DIR": "",
    "CACHE_DIR": None,
    "CONTEXT_TOKENS": -1,
    "EVIDENCE_CHUNKS": 0,
    "MAX_PLOTTED_QUESTIONS": 0,
    "MIN_INTERVAL_CLUSTERS": 1,
    "MIN_INTERVAL_DF": 0.5,
    "MIN_CLAIM_QUESTIONS": 0,
    "CALIBRATION_SIMULATIONS": 99,
    "HORIZON_DAYS": (30, 7),
    "CALIBRATION_MIN_QUESTIONS": 9,
    "CALIBRATION_MIN_CLUSTERS": 1,
    "CALIBRATION_MIN_EACH_OUTCOME": 0,
    "CROSS_VALIDATION_FOLDS": 1,
    "S3_CONNECT_TIMEOUT_SECONDS": 0,
    "S3_READ_TIMEOUT_SECONDS": "10",
    "S3_MAX_ATTEMPTS": 0,
    "CHECKPOINT_TIMEOUT_SECONDS": -1,
    "LOAD_STALL_SECONDS": -1,
    "LOAD_TIMEOUT_SECONDS": -1,
    "SERVER_MAX_ATTEMPTS": 0,
    "SERVER_MAX_WAIT_SECONDS": -1,
    "SERVER_READ_TIMEOUT_SECONDS": 0,
    "SERVER_MAX_RESIDUAL": 1.5,
    "WIKIPEDIA_API_URL": "https://en.wikipedia.org",
    "WIKIPEDIA_CONTACT": "a\nb",
    "WIKIPEDIA_MIN_INTERVAL_SECONDS": -1,
    "WIKIPEDIA_READ_TIMEOUT_SECONDS": 0,
    "WIKIPEDIA_TOTAL_TIMEOUT_SECONDS": "60",
    "WIKIPEDIA_MAX_BYTES": 9_999,
    "WIKIPEDIA_MAXLAG_SECONDS": 0,
    "WIKIPEDIA_MAX_ATTEMPTS": 0,
    "WIKIPEDIA_MAX_WAIT_SECONDS": float("inf"),
    "WIKIPEDIA_OFFLINE_AFTER": 0,
    "WIKIPEDIA_SEARCHES": 0,
    "WIKIPEDIA_SEARCH_RESULTS": 51,
    "WIKIPEDIA_ARTICLES": 0,
    "FRESHNESS_HOURS": float("nan"),
    "PASSAGE_TOKENS": 19.5,
    "PASSAGE_OVERLAP_TOKENS": -1,
    "EMBEDDING_MODEL_PATH": "",
    "MAX_EMBEDDING_SIZE": "256",
    "EMBED_ALL_UP_TO_PASSAGES": -1,
    "EMBEDDING_BATCH_SIZE": 0,
    "EMBEDDING_DEVICE": "",
    "CROSS_ENCODER_MODEL_PATH": None,
    "RERANK_CANDIDATES": 0,
    "RANKING": "words",
    "PASSAGES_PER_QUESTION": 0,
    "PASSAGES_PER_ARTICLE": 0,
    "MIN_PASSAGE_SIMILARITY": 1.5,
    "NEAR_DUPLICATE_SHARE": 0,
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_each_settings_rule_refuses_its_wrong_value(name):
    lines = [
        line
        for line in config_problems({name: REFUSED[name]})
        if line.startswith(f"{name} is {REFUSED[name]!r}; allowed: ")
    ]
    assert len(lines) == 1


def test_every_setting_has_a_refused_value():
    own = {name for name, rules in rules_of(config).items() if not isinstance(rules[0], Rule)}
    assert own == {"DEFAULT_MODEL_VLLM", "DEFAULT_MODEL", "VLLM_CONFIG"}  # tested by themselves
    tables = {"FORECAST_MODEL_PATHS_VLLM", "OPEN_FORECASTERS", "FORECAST_MODEL_PATHS"}
    assert set(REFUSED) == set(rules_of(config)) - own - tables


def test_every_key_of_the_engine_has_a_rule_and_a_value():
    (keys,) = rules_of(config)["VLLM_CONFIG"]
    assert isinstance(keys, Keys)
    assert set(keys.rules) == set(config.VLLM_CONFIG)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tensor_parallel_size", 0),
        ("tensor_parallel_size", "2"),
        ("pipeline_parallel_size", True),
        ("distributed_executor_backend", "dask"),
        ("gpu_memory_utilization", 90),
        ("gpu_memory_utilization", 0),
        ("swap_space_gb", -1),
        ("max_model_len", 128),
        ("load_format", "pickle"),
        ("model_loader_extra_config", None),
        ("dtype", "int8"),
        ("block_size", 24),
        ("block_size", 8),
        ("enforce_eager", "yes"),
    ],
)
def test_each_vllm_rule_refuses_its_wrong_value(key, value):
    (line,) = config_problems(vllm(**{key: value}))
    assert line.startswith(f"VLLM_CONFIG[{key!r}] is {value!r}; allowed: ")


@pytest.mark.parametrize(
    ("entry", "part"),
    [
        ({"chat_template_kwargs": {}}, "has no 'path'"),
        (3, "a path or a mapping"),
        ("not a model", "a Hugging Face id"),
        ({"path": "a/b", "answer_prefix": "Answer: "}, "does not end in a space"),
        ({"path": "a/b", "chat_template_kwargs": "x"}, "a dictionary"),
        ({"path": "a/b", "max_model_len": 10}, "256 or more"),
        ({"path": "a/b", "trust_remote_code": 1}, "True or False"),
        ({"path": ""}, "a text that is not empty"),
    ],
)
def test_each_rule_of_a_model_entry_refuses_its_wrong_value(entry, part):
    (line,) = config_problems(models(entry))
    assert line.startswith("FORECAST_MODEL_PATHS_VLLM['a']")
    assert part in line


def test_an_s3_model_needs_the_streamer(installed):
    (line,) = config_problems(models("s3://bucket/prefix"))
    assert "VLLM_CONFIG['load_format'] is 'auto'" in line
    assert "'runai_streamer'" in line
    assert (
        config_problems({**models("s3://bucket/prefix"), **vllm(load_format="runai_streamer")})
        == []
    )
    (line,) = config_problems({**models("s3://B/x"), **vllm(load_format="runai_streamer")})
    assert "valid bucket name" in line


def test_packages_that_a_setting_needs_must_be_there(installed):
    installed.clear()
    (line,) = config_problems(vllm(load_format="runai_streamer"))
    assert "pip install 'runai-model-streamer[s3]'" in line
    (line,) = config_problems(vllm(distributed_executor_backend="ray"))
    assert "pip install ray" in line
    installed.add("runai_model_streamer")
    (line,) = config_problems(
        {**models("s3://bucket/prefix"), **vllm(load_format="runai_streamer")}
    )
    assert "is 's3://bucket/prefix' but the package runai-model-streamer-s3 is missing" in line


def test_loader_settings_are_checked_key_by_key(installed):
    streaming = {"load_format": "runai_streamer"}
    good = {"concurrency": 16, "memory_limit": 5368709120, "distributed": True}
    assert config_problems(vllm(**streaming, model_loader_extra_config=good)) == []
    (line,) = config_problems(vllm(**streaming, model_loader_extra_config={"concurency": 16}))
    assert line.endswith("did you mean 'concurrency'?")
    wrong = vllm(
        **streaming,
        model_loader_extra_config={"concurrency": 0, "memory_limit": -2, "distributed": 1},
    )
    assert len(config_problems(wrong)) == 3
    (line,) = config_problems(vllm(model_loader_extra_config=good))
    assert "only with 'runai_streamer'" in line
    sharded = {"load_format": "runai_streamer_sharded"}
    assert (
        config_problems(vllm(**sharded, model_loader_extra_config={"pattern": "rank-{rank}"})) == []
    )
    (line,) = config_problems(vllm(**sharded, model_loader_extra_config={"concurrency": 16}))
    assert "has the unknown key 'concurrency'; allowed: pattern" in line


def test_a_local_model_must_be_a_folder_with_a_config(tmp_path):
    (line,) = config_problems(models(str(tmp_path / "none")))
    assert "there is no folder" in line
    (line,) = config_problems(models(str(tmp_path)))
    assert "this one is empty" in line
    (tmp_path / "notes.txt").write_text("")
    (line,) = config_problems(models(str(tmp_path)))
    assert "config.json is missing" in line
    (tmp_path / "config.json").write_text("{}")
    assert config_problems(models(str(tmp_path))) == []


def test_model_tables_must_hold_a_model_and_name_the_default():
    (line,) = config_problems({"FORECAST_MODEL_PATHS_VLLM": {}})
    assert "at least one model" in line
    (line,) = config_problems({"DEFAULT_MODEL": "gpt"})
    assert line.startswith("DEFAULT_MODEL is 'gpt'; allowed: a key of FORECAST_MODEL_PATHS")
    (line,) = config_problems({"VLLM_CONFIG": None})
    assert line == "VLLM_CONFIG is None; allowed: a dictionary; write {} for vLLM's defaults"


def test_rules_between_settings():
    (line,) = config_problems({"PASSAGE_TOKENS": 100, "PASSAGE_OVERLAP_TOKENS": 100})
    assert "less than PASSAGE_TOKENS (100)" in line
    (line,) = config_problems({"PASSAGE_TOKENS": 300, "MAX_EMBEDDING_SIZE": 256})
    assert "at most MAX_EMBEDDING_SIZE (256)" in line
    (line,) = config_problems({"EMBEDDING_MODEL_PATH": "./no-such-folder"})
    assert line.startswith("EMBEDDING_MODEL_PATH")


def test_model_spec_finds_configured_names_and_takes_paths(tmp_path):
    entries = {"a": "org/a", "b": {"path": "org/b", "max_model_len": 512}}
    assert model_spec("a", entries) == ModelSpec(name="a", path="org/a")
    assert model_spec("b", entries) == ModelSpec(name="b", path="org/b", max_model_len=512)
    assert model_spec("org/new", entries) == ModelSpec(name="new", path="org/new")
    (tmp_path / "config.json").write_text("{}")
    assert model_spec(str(tmp_path), entries).name == tmp_path.name
    with pytest.raises(ConfigError, match="did you mean 'alpha'"):
        model_spec("alhpa", {"alpha": "org/a"})
    with pytest.raises(ConfigError, match=r"^unknown model 'b'; configured: alpha$"):
        model_spec("b", {"alpha": "org/a", 5: "org/b"})


def test_a_default_model_is_the_one_taken_when_none_is_given(monkeypatch):
    import agents
    import agents_vllm

    monkeypatch.setattr(config, "FORECAST_MODEL_PATHS_VLLM", {"a": "org/a", "b": {"path": "org/b", "max_model_len": 512}})  # fmt: skip
    monkeypatch.setattr(config, "DEFAULT_MODEL_VLLM", "b")
    monkeypatch.setattr(config, "FORECAST_MODEL_PATHS", {"c": "org/c"})
    monkeypatch.setattr(config, "DEFAULT_MODEL", "c")
    assert agents_vllm.Agent().spec == ModelSpec("b", "org/b", max_model_len=512)
    assert agents.Agent().spec == ModelSpec("c", "org/c")
    monkeypatch.setattr(config, "FORECAST_MODEL_PATHS", {"c": 5})
    with pytest.raises(ConfigError, match=r"^FORECAST_MODEL_PATHS\['c'\] is 5; allowed: "):
        agents.Agent()


def test_every_setting_is_read_by_the_program():
    product = [*ROOT.glob("*.py"), *(p for i in ROOT.glob("*/__init__.py") for p in i.parent.glob("*.py"))]  # fmt: skip
    text = "\n".join(
        path.read_text(encoding="utf-8")
        for path in product
        if path.name != "config.py" and path.parent.name not in ("tests", "preflight")
    )
    stores = (ROOT / "preflight" / "stores.py").read_text(encoding="utf-8")
    for name in rules_of(config):
        assert re.search(rf"(?:config\.|settings\.|\"){name}\b", text + stores), name
