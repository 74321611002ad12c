"""How the tests are divided among processes, and the folder that their libraries cache in."""

from __future__ import annotations

import os
from collections.abc import Generator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
# Files with such a test take whole cores for minutes: they begin first.
LONG = ("engine", "debian_root")
# Kept between sessions: without what vLLM knows of a model's class, a start takes an interpreter more.
CACHE = Path.home() / ".cache" / "forecaster-tests"


def pytest_configure() -> None:
    """Give vLLM and huggingface_hub folders that no other program writes to."""
    os.environ["VLLM_CACHE_ROOT"] = str(CACHE / "vllm")
    os.environ["HF_HOME"] = str(CACHE / "huggingface")


@cache
def group(file: str) -> str:
    """The tests that one process runs: those of a file, or of all files that start engines."""
    text = (ROOT / file).read_text(encoding="utf-8")
    return next((name for name in LONG if f"pytest.mark.{name}" in text), file)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    items.sort(key=lambda item: group(item.nodeid.split("::")[0]) not in LONG)  # stable


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Divide the tests by ``group``: xdist's own loadgroup knows no groups with pytest 9.2."""
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group(nodeid.split("::")[0])

    return Groups(config, log)


def without_surrogates(value: object) -> object:
    """Write lone surrogates as ``\\udc80``, at any depth of a report."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {key: without_surrogates(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(without_surrogates(one) for one in value)
    return value


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, object, object]:
    """Let a test log hostile text: xdist's pipe takes only UTF-8, and its worker would crash."""
    return without_surrogates((yield))
