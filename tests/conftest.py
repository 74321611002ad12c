"""How the tests are divided among processes, and the folder that their libraries cache in."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest

# These take whole cores or a lock of their own: one after another, begun first.
ALONE = ("engine", "debian_root")

# Kept between sessions: without what vLLM knows of a model's class, a start takes an interpreter more.
CACHE = Path.home() / ".cache" / "forecaster-tests"


def pytest_configure() -> None:
    """Give vLLM and huggingface_hub folders that no other program writes to."""
    os.environ["VLLM_CACHE_ROOT"] = str(CACHE / "vllm")
    os.environ["HF_HOME"] = str(CACHE / "huggingface")


@pytest.hookimpl(tryfirst=True)  # xdist's own hook reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file together, so that what they share is made once."""

    def group(item: pytest.Item) -> str:
        return next(
            (name for name in ALONE if item.get_closest_marker(name)), item.nodeid.split("::")[0]
        )

    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))
    items.sort(key=lambda item: group(item) not in ALONE)  # a stable sort: the order stays


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
