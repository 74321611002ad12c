"""What this program never does, shown on its own source: run stored code, build SQL from values, trust remote code."""

from __future__ import annotations

import ast
import contextlib
import re
import sqlite3
from pathlib import Path

import pytest

import config
import ensemble
import forecaster
from engine.arguments import engine_arguments
from evidence.encoders import Embedder, ModelError, Reranker
from preflight.model_entries import ModelSpec, model_spec
from runs import manifest
from tests.support import kill_driver
from tests.support.checkpoints import inspect
from tests.support.needed import needs

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    [
        *ROOT.glob("*.py"),
        *(
            m
            for p in ROOT.glob("*/__init__.py")
            if p.parent.name != "tests"
            for m in p.parent.glob("*.py")
        ),
    ]
)
FORBIDDEN_IMPORTS = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}


def nodes(path: Path):
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def faults(path: Path) -> list[str]:
    found = []
    for node in nodes(path):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name.split(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [(node.module or "").split(".")[0]]
        found += [
            f"{path.name}:{node.lineno} imports {name}"
            for name in names
            if name in FORBIDDEN_IMPORTS
        ]
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS:
                found.append(f"{path.name}:{node.lineno} calls {node.func.id}")
            for keyword in node.keywords:
                if (
                    keyword.arg == "allow_pickle"
                    and getattr(keyword.value, "value", None) is not False
                ):
                    found.append(f"{path.name}:{node.lineno} allows pickle")
                if (
                    keyword.arg == "trust_remote_code"
                    and getattr(keyword.value, "value", None) is True
                ):
                    found.append(f"{path.name}:{node.lineno} trusts remote code")
    return found


def test_there_are_modules_to_look_at():
    assert {"forecaster.py", "database.py", "manifest.py"} <= {path.name for path in MODULES}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_no_module_unpickles_evaluates_or_trusts(path):
    assert faults(path) == []


def test_the_scan_finds_what_it_looks_for(tmp_path):
    bad = tmp_path / "bad.py"
    bad.write_text(
        "import pickle\neval('1')\nload(x, allow_pickle=True)\nload(x, trust_remote_code=True)\n"
    )
    assert len(faults(bad)) == 4


STORAGE = sorted((ROOT / "storage").glob("*.py"))


@pytest.mark.parametrize(
    "path", [p for p in MODULES if p not in STORAGE], ids=lambda path: path.name
)
def test_sql_is_sent_by_storage_only(path):
    calls = [
        node.lineno
        for node in nodes(path)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"execute", "executemany", "executescript"}
    ]
    assert calls == []


# Parts of a statement that may be put together: names of tables and columns, placeholders and
# fixed parts that a condition chooses, never values.
MADE_OF = {"among", "columns", "marks", "table", "column", "verb", "number"}
CONSTANT = re.compile(r"_?[A-Z][A-Z_]*")
SQL = re.compile(r"\b(SELECT|INSERT|UPDATE|DELETE|INTO|FROM|WHERE|PRAGMA)\b")


def test_a_statement_is_made_of_constants_and_names_of_columns():
    seen = 0
    for path in STORAGE:
        for node in nodes(path):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
                assert not isinstance(node.left, ast.Constant | ast.JoinedStr), (path, node.lineno)
            if not isinstance(node, ast.JoinedStr):
                continue
            fixed = [part.value for part in node.values if isinstance(part, ast.Constant)]
            if not SQL.search(" ".join(map(str, fixed))):
                continue
            for part in node.values:
                if isinstance(part, ast.FormattedValue):
                    named = ast.unparse(part.value)
                    assert named in MADE_OF or CONSTANT.fullmatch(named), (path, part.lineno, named)
                    seen += 1
    assert seen


def test_remote_code_is_off_unless_a_model_asks_for_it(monkeypatch):
    assert ModelSpec("a", "owner/a").trust_remote_code is False
    entries = {"a": "owner/a", "b": {"path": "owner/b", "trust_remote_code": True}}
    assert [model_spec(name, entries).trust_remote_code for name in entries] == [False, True]


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth"])
@pytest.mark.parametrize("load_format", ["auto", "safetensors", "runai_streamer"])
def test_pickled_weights_of_a_folder_are_refused_before_an_engine_starts(
    tmp_path, suffix, load_format
):
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / f"pytorch_model{suffix}").write_bytes(b"a pickle")
    found = inspect(str(tmp_path), load_format=load_format)
    (problem,) = found.problems
    assert f"pytorch_model{suffix}: weights in PyTorch's format are pickles" in problem
    assert "save_pretrained" in problem


def test_an_engine_is_told_to_load_safetensors_only_from_the_hub():
    for given, told in (
        ("auto", "safetensors"),
        ("safetensors", "safetensors"),
        ("dummy", "dummy"),
    ):
        arguments = engine_arguments(ModelSpec("a", "owner/a"), {"load_format": given})
        assert arguments["load_format"] == told


@needs(
    {
        "torch": "torch",
        "transformers": "transformers",
        "sentence_transformers": "sentence-transformers",
    }
)
def test_retrieval_models_are_not_unpickled_either(tmp_path):
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    (tmp_path / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"])
    )
    BertTokenizerFast(vocab_file=str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    shape = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 8,
    }
    model = BertForSequenceClassification(BertConfig(vocab_size=6, num_labels=1, **shape))
    model.save_pretrained(tmp_path)
    kinds = (Embedder, {"max_tokens": 16}), (Reranker, {})
    for kind, more in kinds:
        kind(str(tmp_path), **more)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    for kind, more in kinds:
        with pytest.raises(ModelError, match="safetensors"):
            kind(str(tmp_path), **more)


@pytest.mark.parametrize(
    "identifier",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "a\0b",
        "a/b",
        "..",
        "",
        "x" * 5000,
        "a\nb",
        "CON",
        "‮gnp.exe",
    ],
)
def test_a_hostile_question_id_is_a_plain_file_name(tmp_path, identifier):
    from reporting.svg import file_part

    name = f"run1_{file_part(identifier)}.svg"
    path = tmp_path / name
    assert path.resolve().parent == tmp_path.resolve()
    assert name.isprintable()
    assert not set("/\\\0\n") & set(name)
    path.write_bytes(b"")


def test_no_secret_of_settings_or_environment_is_stored_logged_or_shown(
    tmp_path, monkeypatch, capsys
):
    secrets = {
        "environment": "a-secret-of-the-environment",
        "hub": "hf_" + "A1" * 12,
        "wiki": "passw0rd",
        "signature": "0f3ac9deadbeef",
        "key": "plain-words-as-a-key",
        "header": "abc.def-ghi.jkl",
    }
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setenv("MY_TOKEN", secrets["environment"])
    # Nobody listens there: the error names the address.
    monkeypatch.setattr(
        config, "WIKIPEDIA_API_URL", f"http://user:{secrets['wiki']}@127.0.0.1:9/w/api.php"
    )
    monkeypatch.setattr(config, "WIKIPEDIA_MAX_ATTEMPTS", 1)
    monkeypatch.setattr(config, "RANKING", "bm25")
    monkeypatch.setattr(config, "VLLM_CONFIG", {"load_format": "runai_streamer"})
    monkeypatch.setattr(
        config,
        "FORECAST_MODEL_PATHS_VLLM",
        {
            "one": {
                "path": f"s3://bucket/model?X-Amz-Signature={secrets['signature']}",
                "chat_template_kwargs": {
                    "note": f"{secrets['hub']} {secrets['environment']}",
                    "api_key": secrets["key"],
                    "nested": [{"Authorization": f"Bearer {secrets['header']}"}],
                },
            },
            "two": "owner/two",
        },
    )
    monkeypatch.setattr(config, "DEFAULT_MODEL_VLLM", "one")
    monkeypatch.setattr(manifest, "weights_identity", lambda path: "unknown")
    monkeypatch.setattr(ensemble, "weights_identity", lambda path: "unknown")

    class Agent(kill_driver.Agent):
        def score(self, tasks):
            if self.spec.name == "two":
                raise RuntimeError(f"{config.FORECAST_MODEL_PATHS_VLLM} {secrets['environment']}")
            return super().score(tasks)

    database = tmp_path / "run.db"
    arguments = [
        "--question",
        "Will A happen?",
        "--database",
        str(database),
        "--plots",
        str(tmp_path / "plots"),
    ]
    assert forecaster.main(arguments, agent_factory=Agent) == 1
    forecaster.main(["--resume", "1", *arguments[2:]], agent_factory=Agent)
    with contextlib.closing(sqlite3.connect(database)) as connection:
        stored = "\n".join(connection.iterdump())
        assert connection.execute("SELECT context_error FROM forecasts").fetchone()[0]
    said = capsys.readouterr()
    logged = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert "127.0.0.1" in logged + stored
    for name, secret in secrets.items():
        for where, text in (
            ("stored", stored),
            ("logged", logged),
            ("out", said.out),
            ("err", said.err),
        ):
            assert secret not in text, (name, where)
