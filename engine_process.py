"""The processes of an engine: they die with this one, and what they print goes into the log.

A room of its own because vLLM leaves both to whoever starts it: the processes of a parent that was killed live on with all
their memory, and the cause of a failed start stands in their standard error only.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
import multiprocessing
import os
import re
import select
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, TypeVar

from logger import take_lines

# prctl(2): the signal a process gets when the thread that started it ends.
PR_SET_PDEATHSIG: Final = 1
# Seconds a killed process may take to be gone: the driver gives a GPU's memory back first.
END_SECONDS: Final = 30.0
# Lines of an engine's output that are kept to find the cause of its end.
KEPT_LINES: Final = 2000
# Where Linux keeps semaphores and shared memory that have a name.
SHARED: Final = Path("/dev/shm")  # noqa: S108 - not a place for temporary files of our own
# After one of these lines of vLLM's log stands the traceback of what ended an engine or one of its workers …
FATAL: Final = re.compile(r"(EngineCore|WorkerProc) (failed|encountered a fatal|hit an exception)")
# … which ends in such a line. What an engine says of its workers comes second: their own traceback says more.
EXCEPTION: Final = re.compile(r"(?:[A-Za-z_]\w*\.)*([A-Z]\w*): (\S.*)")
DIED: Final = re.compile(r"Worker proc \S+ died unexpectedly \(exit code: -?\d+\)")
SECONDHAND: Final = re.compile(r"WorkerProc initialization failed|Worker failed with error|Executor failed")

T = TypeVar("T")

# --- in the engine's processes ----------------------------------------------------------------------

# vLLM's entry points, where they were replaced in this process: a forked child finds them here, a spawned one in vLLM.
_replaced: dict[str, Callable[..., Any]] = {}


def run_engine_core(output: Connection, *args: Any, **kwargs: Any) -> None:
    """What an engine's first process runs: it binds its life and its output to ours, and goes on as vLLM would."""
    for descriptor in (1, 2):
        os.dup2(output.fileno(), descriptor)
    _settle()
    from vllm.v1.engine.core import EngineCoreProc
    from vllm.v1.executor.multiproc_executor import WorkerProc

    _replaced["worker"] = WorkerProc.worker_main
    WorkerProc.worker_main = staticmethod(run_worker)
    _replaced.get("core", EngineCoreProc.run_engine_core)(*args, **kwargs)


def run_worker(*args: Any, **kwargs: Any) -> None:
    """What each worker process of an engine runs; its output is the engine's."""
    _settle()
    from vllm.v1.executor.multiproc_executor import WorkerProc

    _replaced.get("worker", WorkerProc.worker_main)(*args, **kwargs)


def _settle() -> None:
    die_with_parent()
    # vLLM's records go to the root logger (VLLM_CONFIGURE_LOGGING), which has no handler in a new process.
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", force=True)


def die_with_parent() -> None:
    """Let the kernel kill this process when the one that started it ends, in whatever way (Linux)."""
    parent = multiprocessing.parent_process()
    if sys.platform != "linux" or parent is None:
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent.pid:  # it ended before this process could ask
        os._exit(1)


# --- in this process --------------------------------------------------------------------------------


class EngineProcesses:
    """The child processes of one engine and what they print."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._found: set[Any] = set()
        self._others: set[Any] = set()
        self._shared: set[str] = set()
        self._reader: threading.Thread | None = None

    def start(self, construct: Callable[[], T]) -> T:
        """Call ``construct``, which starts an engine in child processes, and see to it that none is left when it fails.

        To be called in a thread that lives as long as the engine is wanted, as the main thread does: the kernel counts a
        thread's end as the parent's.

        Raises:
            BaseException: whatever ``construct`` raises.
        """
        import psutil

        # Python's own helper is no part of the engine: it outlives engines and ends with this process.
        resource_tracker.ensure_running()
        self._others = set(psutil.Process().children(recursive=True))
        try:
            with self._entered():
                engine = construct()
        except BaseException:
            self.kill()
            raise
        self._shared = set().union(*(shared_memory(process.pid) for process in self.running()))
        return engine

    @contextlib.contextmanager
    def _entered(self) -> Iterator[None]:
        """Within it an engine begins in ``run_engine_core``, with a pipe for its output that ends in the log."""
        from vllm.v1.engine.core import EngineCoreProc

        reader, writer = multiprocessing.Pipe(duplex=False)
        self._reader = threading.Thread(
            target=take_lines, args=(os.dup(reader.fileno()), self.lines.append), daemon=True
        )
        reader.close()
        self._reader.start()
        _replaced["core"] = EngineCoreProc.run_engine_core
        EngineCoreProc.run_engine_core = functools.partial(run_engine_core, writer)
        try:
            yield
        finally:
            EngineCoreProc.run_engine_core = staticmethod(_replaced.pop("core"))
            writer.close()

    def running(self) -> set[Any]:
        """The engine's processes that run now, as psutil has them."""
        import psutil

        self._found |= set(psutil.Process().children(recursive=True)) - self._others
        self._found = {process for process in self._found if process.is_running()}
        return self._found

    def on_death(self, call: Callable[[], object]) -> None:
        """Call something, in a thread, once the engine's first process has ended, whatever ended it."""
        import psutil

        def wait(pid: int) -> None:
            _wait_for_end(pid)
            call()

        for process in self.running() & set(psutil.Process().children()):
            threading.Thread(target=wait, args=(process.pid,), daemon=True).start()

    def kill(self) -> None:
        """Kill what is left of the engine and wait until it is gone; may be called more than once."""
        if self._reader is None:
            return
        self._kill_running()
        for name in self._shared:
            _forget_shared(name)
        # Takes the exit codes of our children; init has those of their children.
        multiprocessing.active_children()
        self._found = set()
        # The pipe ends with the last process that could write into it.
        self._reader.join(END_SECONDS)
        self._reader = None

    def _kill_running(self) -> int:
        import psutil

        left = self.running()
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for process in left:
            _wait_for_end(process.pid, END_SECONDS)
        return len(left)

    def cause(self) -> str | None:
        """What ended the engine, in the words of the first exception that it or one of its workers printed."""
        fatal, found = False, None
        for line in self.lines:
            if died := DIED.search(line):
                return died[0]
            fatal = fatal or FATAL.search(line) is not None
            match = EXCEPTION.fullmatch(line) if fatal else None
            if match and not SECONDHAND.search(line):
                return f"{match[1]}: {match[2]}"
            found = found or (match and f"{match[1]}: {match[2]}")
        return found


def shared_memory(pid: int) -> set[str]:
    """Names of the semaphores and blocks of shared memory that a process has open (files in /dev/shm)."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
        return set(re.findall(rf"(?<= {SHARED}/)\S+(?=\n)", maps.read()))
    return set()


def _forget_shared(name: str) -> None:
    """Remove what was not removed: by a process that was killed, and by vLLM's workers on CPUs in any case.

    Python's resource tracker would do so only when this process ends, and complain.
    """
    with contextlib.suppress(FileNotFoundError):
        (SHARED / name).unlink()
        for start, kind in (("sem.", "semaphore"), ("psm_", "shared_memory")):
            if name.startswith(start):
                resource_tracker.unregister(f"/{name.removeprefix('sem.')}", kind)


def _wait_for_end(pid: int, seconds: float | None = None) -> None:
    """Wait until a process has ended, without taking its exit code from whoever started it."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        select.select([descriptor], [], [], seconds)
    finally:
        os.close(descriptor)
