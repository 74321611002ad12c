"""What the log says about the machine."""

from __future__ import annotations

import sys
from types import SimpleNamespace

from runs import environment


def test_the_log_tells_the_gpus_of_the_machine_from_those_of_the_run(monkeypatch, caplog):
    monkeypatch.setattr(environment, "vllm_is_cpu_build", lambda: False)
    monkeypatch.setattr(environment.machine, "gpu_names", lambda: ["One", "Two"])
    monkeypatch.setattr(environment.machine, "visible_gpus", lambda: 1)
    monkeypatch.setattr(environment, "driver_version", lambda: "580.1")
    torch = SimpleNamespace(version=SimpleNamespace(cuda="13.0"))
    monkeypatch.setitem(sys.modules, "torch", torch)
    with caplog.at_level("INFO"):
        environment.log_environment()
    assert (
        caplog.messages[-1] == "CUDA 13.0, driver 580.1, GPUs of this machine: One, Two; visible: 1"
    )
