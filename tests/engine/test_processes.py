"""The watchdog of a load, and the cause of an engine's end as it is found in its output. No engine is started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

from engine import watchdog
from engine.processes import EngineProcesses, LoadEnded

STALL = 1.0
LONG = 600.0


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(watchdog, "TICK_SECONDS", 0.1)
    # Without vLLM there is no entry point to replace.
    monkeypatch.setattr(EngineProcesses, "_entered", lambda _: contextlib.nullcontext())


def start(construct, *, child=False, stall=STALL, limit=LONG):
    processes = EngineProcesses()
    # No output of such a child is read; kill() waits for that of an engine.
    processes._reader = threading.Thread(target=lambda: None)
    processes._reader.start()
    return processes.start(construct, child=child, stall_seconds=stall, limit_seconds=limit)


def test_what_waits_in_this_process_is_interrupted():
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(LoadEnded, match=r"^made no progress for 1 s \(LOAD_STALL_SECONDS\)$"):
        start(lambda: threading.Event().wait(LONG))
    assert signal.getsignal(signal.SIGALRM) is before


def test_child_processes_that_wait_are_killed_and_others_stay():
    other = subprocess.Popen(["sleep", "600"])
    children = []

    def construct():
        # The child of the child is of the engine, too.
        code = "import subprocess, sys; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); p.wait()"
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        children.extend([child.pid, int(child.stdout.readline())])
        with child:
            child.wait()
        raise RuntimeError("engine core initialization failed")

    try:
        with pytest.raises(LoadEnded, match="made no progress"):
            start(construct, child=True)
        assert len(children) == 2
        assert not any(
            psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in children
        )
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def busy(seconds):
    """Work in this process for at least so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        sum(range(10_000))
    return "engine"


def test_what_works_is_left_alone_until_the_limit_for_all():
    assert start(lambda: busy(3 * STALL)) == "engine"
    with pytest.raises(LoadEnded, match=r"^took longer than 2 s \(LOAD_TIMEOUT_SECONDS\)$"):
        start(lambda: busy(LONG), limit=2.0)


def test_bytes_count_as_progress_and_a_load_without_a_stall_limit_may_wait():
    read, write = os.pipe()
    silent = threading.Event()

    def feed():
        # A MiB at once costs next to no processor time.
        for _ in range(8):
            os.write(write, b"x" * 65536 * 8)
            silent.wait(STALL / 2)
        os.close(write)

    def construct():
        threading.Thread(target=feed).start()
        while os.read(read, 1 << 20):
            pass
        return "engine"

    try:
        assert start(construct) == "engine"
    finally:
        os.close(read)
    assert start(lambda: silent.wait(2 * STALL), stall=None) is False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_not_dropped_on_its_way(number, monkeypatch):
    """vLLM's zmq_socket_ctx catches KeyboardInterrupt and goes on to wait for an engine that will not answer."""

    def construct():
        with contextlib.suppress(KeyboardInterrupt, Exception):
            signal.raise_signal(number)
        return "engine"

    before = signal.signal(number, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            start(construct)
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)


def test_an_exception_of_the_engine_is_the_engines():
    with pytest.raises(KeyError):
        start(lambda: {}["x"])


PRINTED = {
    "of a worker, before the engine's own": (
        "INFO vllm.v1.engine.core: Initializing\nValueError: of no account\nERROR vllm: WorkerProc failed to start.\nTraceback (most recent call last):\n"
        "  File \"x.py\", line 1, in f\nValueError: Could not receive response from libstreamer due to: b'File access error'\n"
        "ERROR vllm: EngineCore failed to start.\nTraceback (most recent call last):\nException: WorkerProc initialization failed due to an exception in a"
        " background process. See stack trace for root cause.",
        "ValueError: Could not receive response from libstreamer due to: b'File access error'",
    ),
    "of the engine": (
        "ERROR vllm: EngineCore encountered a fatal error.\nTraceback (most recent call last):\ntorch.OutOfMemoryError: CUDA out of memory.",
        "OutOfMemoryError: CUDA out of memory.",
    ),
    "a worker that was killed": (
        "ERROR vllm: Worker proc VllmWorker-0 died unexpectedly (exit code: -9), shutting down executor.\nERROR vllm: EngineCore encountered a fatal"
        " error.\nRuntimeError: cancelled",
        "Worker proc VllmWorker-0 died unexpectedly (exit code: -9)",
    ),
    "of nothing": ("INFO vllm: all is well\nUserWarning: take care", None),
}  # fmt: skip


@pytest.mark.parametrize("case", PRINTED)
def test_the_cause_of_an_end(case):
    printed, cause = PRINTED[case]
    processes = EngineProcesses()
    processes.lines.extend(printed.splitlines())
    assert processes.cause() == cause


def test_a_cause_is_looked_for_while_the_engine_still_prints():
    processes = EngineProcesses()
    processes.lines.extend("INFO vllm: all is well" for _ in range(processes.lines.maxlen))
    ended = threading.Event()

    def print_on():
        while not ended.is_set():
            processes.lines.append("INFO vllm: all is well")

    printer = threading.Thread(target=print_on)
    printer.start()
    try:
        assert {processes.cause() for _ in range(100)} == {None}
    finally:
        ended.set()
        printer.join()
