"""How the tests are divided among processes, and the folder that their libraries cache in."""

from __future__ import annotations

import os
from collections.abc import Generator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
# Groups that take whole cores for minutes, in the order they begin. Two engines at most run at once.
ENGINE, ENGINE_HERE, DEBIAN = LONG = ("engine", "engine in this process", "debian_root")
# Engines in processes of their own mostly wait for interpreters to start; those of these files compute.
COMPUTES = {
    f"tests/engine/test_{name}.py"
    for name in ("cache_independence", "engine", "real_server", "thinking", "thinking_families", "tiny_models")
}  # fmt: skip
# Kept between sessions: without what vLLM knows of a model's class, a start takes an interpreter more.
CACHE = Path.home() / ".cache" / "forecaster-tests"


# Files of many seconds, the longest first: were one the last to begin, the other processes would wait for it.
LONGER = tuple(
    f"tests/{name}.py"
    for name in (
        "engine/test_packaged_model", "runs/test_every_stage", "evidence/test_encoders", "project/test_linear",
        "runs/test_under_the_feet", "preflight/test_streaming_failures", "runs/test_faults", "project/test_fuzz",
        "storage/test_two_at_once",
    )
)  # fmt: skip
# Quick tests that import vLLM, which takes ten seconds: once for all of them.
IMPORTS_VLLM = {"tests/engine/test_arguments.py", "tests/preflight/test_machine.py"}


def pytest_configure() -> None:
    """Give vLLM and huggingface_hub folders that no other program writes to, and engines less memory."""
    os.environ["VLLM_CACHE_ROOT"] = str(CACHE / "vllm")
    os.environ["HF_HOME"] = str(CACHE / "huggingface")
    # Half of what a run takes: every engine fills it with zeros, and two run at once.
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = "1"


@cache
def group(file: str) -> str:
    """The tests that one process runs: those of a file, or of several files that start engines."""
    if file in COMPUTES:
        return ENGINE_HERE
    if file in IMPORTS_VLLM:
        return ENGINE
    text = (ROOT / file).read_text(encoding="utf-8")
    return next((name for name in (ENGINE, DEBIAN) if f"pytest.mark.{name}" in text), file)


def place(item: pytest.Item) -> int:
    """Where among the groups a test's begins; the sort that asks is stable."""
    found = group(item.nodeid.split("::")[0])
    early = LONG + LONGER
    return early.index(found) if found in early else len(early)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    items.sort(key=place)


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
