"""``forecaster.main`` with everything real but the engine: the vLLM agent builds and stores its prompts around a stand-in."""

from __future__ import annotations

import re
import sqlite3
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

import config
import forecaster
from agents_vllm import Agent
from tests.scoring.test_agent_stub import StubLLM

# Of one passage as a prompt quotes it: number, source, title and section, date of the revision.
HEADING: Final = re.compile(r"^\[(\d+)\] (.+), revision of (\d{4}-\d\d-\d\d)$", re.MULTILINE)


CHATML: Final = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@cache
def chat_tokenizer() -> Any:
    """A byte-level tokenizer that knows every character, with the control tokens and the template of ChatML."""
    from transformers import PreTrainedTokenizerFast

    from tests.support.tiny_models import END, merged_tokenizer

    tokenizer = merged_tokenizer()
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)
    wrapped.chat_template = CHATML
    wrapped.texts = range(len(wrapped))
    return wrapped


class ChatLLM(StubLLM):
    """The stand-in with a real tokenizer and a window that holds whole articles."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(window=200_000, blocks=100_000, **arguments)
        self.tokenizer = chat_tokenizer()


def stub_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str, **settings: Any
) -> tuple[int, Path]:
    """Run the command line in ``folder`` with settings of config.py changed; returns the exit code and the database.

    No wiki is searched and no embedding model loaded unless the settings say so.
    """
    quiet = {
        "WIKIPEDIA_API_URL": "",
        "RANKING": "bm25",
        "CONTEXT_TOKENS": 100_000,
        "SCORING_TOLERANCE": 0.5,
    }
    for name, value in {**quiet, **settings}.items():
        monkeypatch.setattr(config, name, value)
    monkeypatch.setattr(config, "FORECAST_MODEL_PATHS_VLLM", {"stub": "owner/stub"})
    monkeypatch.setattr(config, "DEFAULT_MODEL_VLLM", "stub")
    monkeypatch.setattr(forecaster, "draw", lambda *_: True)
    monkeypatch.setenv("LOG_DIR", str(folder))
    database = folder / "run.db"
    code = forecaster.main(
        [*arguments, "--database", str(database), "--plots", str(folder / "plots")],
        agent_factory=lambda spec: Agent(spec, llm_factory=ChatLLM),
    )
    return code, database


def rows(database: Path, sql: str) -> list[tuple[Any, ...]]:
    """Rows of a statement, read as any other program would."""
    with sqlite3.connect(database) as connection:
        return connection.execute(sql).fetchall()
