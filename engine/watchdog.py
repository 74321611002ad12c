"""End a load that makes no progress or takes too long."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final, Protocol

# Seconds between two looks at a load.
TICK_SECONDS: Final = 1.0
# What counts as progress within the longest time without any: so many bytes, or this share of one
# core's time. A process that waits for an answer uses a hundredth of either.
PROGRESS_BYTES: Final = 1 << 20
PROGRESS_CPU: Final = 0.05
# Seconds vLLM is given to notice that its processes were killed, before its wait in this process is
# interrupted.
NOTICE_SECONDS: Final = 20.0


class LoadEnded(Exception):
    """The watchdog has ended a load; the message says what took too long."""


class Processes(Protocol):
    """The child processes that are watched."""

    def running(self) -> set[Any]:
        """Those that run now, as psutil has them."""
        ...

    def kill_running(self) -> bool:
        """Kill them; return whether there were any."""
        ...


@dataclass(frozen=True)
class Work:
    """What a process has done so far: bytes read and written, and processor seconds.

    Bytes count through files, their maps and sockets.
    """

    moved: float
    cpu: float


class Watchdog:
    """Kill an engine's processes, then interrupt what waits for them in this one.

    Progress is what these processes do themselves; whatever else goes on on the machine or its
    network does not count.
    """

    def __init__(
        self, processes: Processes, stall_seconds: float | None, limit_seconds: float
    ) -> None:
        self.processes = processes
        self.stall_seconds, self.limit_seconds = stall_seconds, limit_seconds
        self.reason: str | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._in_main = threading.current_thread() is threading.main_thread()
        self._before: Any = None

    def __enter__(self) -> None:
        if self._in_main:
            self._before = signal.signal(signal.SIGALRM, self._interrupt)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        if self._in_main:
            signal.signal(signal.SIGALRM, self._before)

    def _interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        if not self._done.is_set():
            raise LoadEnded(self.reason)

    def _watch(self) -> None:
        begun = moved = time.monotonic()
        mark = self._work()
        while not self._done.wait(TICK_SECONDS):
            now, work = time.monotonic(), self._work()
            if self._progressed(mark, work):
                moved, mark = now, work
            if self.stall_seconds is not None and now - moved > self.stall_seconds:
                return self._end(
                    f"made no progress for {self.stall_seconds:g} s (LOAD_STALL_SECONDS)"
                )
            if now - begun > self.limit_seconds:
                return self._end(
                    f"took longer than {self.limit_seconds:g} s (LOAD_TIMEOUT_SECONDS)"
                )
        return None

    def _progressed(self, mark: Mapping[int, Work], work: Mapping[int, Work]) -> bool:
        if self.stall_seconds is None:
            return True
        gained = _gained(mark, work)
        return gained.moved >= PROGRESS_BYTES or gained.cpu >= PROGRESS_CPU * self.stall_seconds

    def _work(self) -> dict[int, Work]:
        """Return what each process has done, this one without the watchdog's own thread."""
        import psutil

        found = {}
        for process in (psutil.Process(), *self.processes.running()):
            with contextlib.suppress(psutil.Error):
                io, cpu = process.io_counters(), process.cpu_times()
                # Only the former counts the pages of a mapped file, only the latter what comes
                # through a socket.
                read = max(io.read_bytes, io.read_chars)
                found[process.pid] = Work(read + io.write_chars, cpu.user + cpu.system)
        this = found[os.getpid()]
        found[os.getpid()] = Work(
            this.moved - _moved_by_this_thread(), this.cpu - time.thread_time()
        )
        return found

    def _end(self, reason: str) -> None:
        self.reason = reason
        patience = NOTICE_SECONDS if self.processes.kill_running() else 0
        main = threading.main_thread().ident
        # More than once: what is left by the exception may wait again, in its clean-up.
        while not self._done.wait(patience) and self._in_main and main is not None:
            signal.pthread_kill(main, signal.SIGALRM)
            patience = NOTICE_SECONDS


def _moved_by_this_thread() -> int:
    """Count bytes this thread has read and written (proc_pid_io(5)).

    Looking at all processes reads some hundred thousand.
    """
    with open(f"/proc/self/task/{threading.get_native_id()}/io", encoding="ascii") as lines:
        counts = dict(line.split(": ") for line in lines)
    return int(counts["rchar"]) + int(counts["wchar"])


def _gained(before: Mapping[int, Work], now: Mapping[int, Work]) -> Work:
    """Add up what was done between two looks; a process that ended takes nothing away."""
    none = Work(0, 0)
    pairs = [(before.get(pid, none), work) for pid, work in now.items()]
    return Work(sum(b.moved - a.moved for a, b in pairs), sum(b.cpu - a.cpu for a, b in pairs))
