"""Start a run, and keep it to the one process that works on it."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def this_process() -> str:
    """Identify this process: host, process id, start time in clock ticks since boot."""
    return f"{socket.gethostname()} {os.getpid()} {_started(os.getpid())}"


def working_on(owner: str | None) -> str | None:
    """Name the process that works on a run; None when it has ended, or ran on another machine."""
    host, _, rest = (owner or "").partition(" ")
    process, _, started = rest.partition(" ")
    if host != socket.gethostname() or not process.isdigit() or int(process) == os.getpid():
        return None
    return f"process {process} of this machine" if _started(int(process)) == started != "" else None


def _started(process: int) -> str:
    """Return field 22 of /proc/PID/stat (proc(5)); "" for no process, and for a zombie."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] in "ZX" else fields[19]
