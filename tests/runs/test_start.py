"""A run belongs to one process, until that ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess

import pytest

from runs.start import this_process, working_on


@pytest.fixture
def sleeper(tmp_path):
    """A process whose name holds what separates the fields of /proc/PID/stat."""
    program = tmp_path / "s) l (p"
    shutil.copy(shutil.which("sleep"), program)
    process = subprocess.Popen([program, "60"])
    yield process
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.wait()


def test_a_run_belongs_to_a_process_until_that_ends(sleeper):
    host, own, _ = this_process().split(" ")
    with open(f"/proc/{sleeper.pid}/stat") as file:
        started = file.read().rpartition(")")[2].split()[19]
    owner = f"{host} {sleeper.pid} {started}"
    assert working_on(owner) == f"process {sleeper.pid} of this machine"
    assert (
        working_on(f"{host} {sleeper.pid} {int(started) + 1}") is None
    )  # its number was given again
    assert working_on(f"elsewhere {sleeper.pid} {started}") is None
    assert working_on(f"{host} {own} 1") is None
    assert working_on(None) is None
    assert working_on(f"{host} process 1") is None
    sleeper.send_signal(signal.SIGKILL)
    os.waitid(
        os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT
    )  # it has ended, and waits to be reaped
    assert working_on(owner) is None
    sleeper.wait()
    assert working_on(owner) is None
    assert working_on(f"{host} {sleeper.pid} ") is None
