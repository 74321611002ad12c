"""Supervise an engine's processes: end them with ours, log their output.

vLLM leaves all that to whoever starts it: the processes of a parent that was killed live on with
all their memory, the cause of a failed start is in their standard error only, and a start has no
deadline.
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
from types import FrameType
from typing import Any, Final, TypeVar

from engine.watchdog import LoadEnded, Watchdog
from terminal.library_output import take_lines

# prctl(2): the signal a process gets when the thread that started it ends.
PR_SET_PDEATHSIG: Final = 1
# Seconds a killed process may take to be gone: the driver gives a GPU's memory back first.
END_SECONDS: Final = 30.0
# Lines of an engine's output that are kept to find the cause of its end.
KEPT_LINES: Final = 2000
# Where Linux keeps semaphores and shared memory that have a name.
SHARED: Final = Path("/dev/shm")  # noqa: S108 - not a place for temporary files of our own
# In vLLM's log such a line precedes the traceback of what ended an engine or one of its workers …
FATAL: Final = re.compile(r"(EngineCore|WorkerProc) (failed|encountered a fatal|hit an exception)")
# … which ends in such a line. An engine's own about its workers says less than theirs.
EXCEPTION: Final = re.compile(r"(?:[A-Za-z_]\w*\.)*([A-Z]\w*): (\S.*)")
DIED: Final = re.compile(r"Worker proc \S+ died unexpectedly \(exit code: -?\d+\)")
SECONDHAND: Final = re.compile(
    r"WorkerProc initialization failed|Worker failed with error|Executor failed"
)

T = TypeVar("T")

# --- in the engine's processes --------------------------------------------------------------------

# vLLM's entry points, where they were replaced in this process: a forked child finds them here, a
# spawned one in vLLM.
_replaced: dict[str, Callable[..., Any]] = {}


def run_engine_core(output: Connection, *args: Any, **kwargs: Any) -> None:
    """Run an engine's first process, its life and its output bound to ours."""
    for descriptor in (1, 2):
        os.dup2(output.fileno(), descriptor)
    _settle()
    os.environ.setdefault("RUNAI_STREAMER_LOG_TO_STDERR", "1")  # it raises no reasons
    from vllm.v1.engine.core import EngineCoreProc
    from vllm.v1.executor.multiproc_executor import WorkerProc

    _replaced["worker"] = WorkerProc.worker_main
    WorkerProc.worker_main = staticmethod(run_worker)
    _replaced.get("core", EngineCoreProc.run_engine_core)(*args, **kwargs)


def run_worker(*args: Any, **kwargs: Any) -> None:
    """Run a worker process of an engine; its output is the engine's."""
    _settle()
    from vllm.v1.executor.multiproc_executor import WorkerProc

    _replaced.get("worker", WorkerProc.worker_main)(*args, **kwargs)


def _settle() -> None:
    die_with_parent()
    # vLLM's records go to the root logger (VLLM_CONFIGURE_LOGGING), without a handler as yet.
    logging.basicConfig(
        level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", force=True
    )


def die_with_parent() -> None:
    """Let the kernel kill this process when the one that started it ends (Linux)."""
    parent = multiprocessing.parent_process()
    if sys.platform != "linux" or parent is None:
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent.pid:  # it ended before this process could ask
        os._exit(1)


# --- in this process ------------------------------------------------------------------------------


class Interrupted(BaseException):
    """A KeyboardInterrupt on its way through vLLM, which drops one by that name."""


@contextlib.contextmanager
def _interrupts_kept() -> Iterator[None]:
    """Raise KeyboardInterrupts of signals as ``Interrupted`` (main thread only)."""
    handlers: dict[int, Any] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        try:
            handlers[number](number, frame)
        except KeyboardInterrupt:
            raise Interrupted from None

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            if callable(before := signal.getsignal(number)):
                handlers[number] = before
                signal.signal(number, handle)
    try:
        yield
    finally:
        for installed, before in handlers.items():
            signal.signal(installed, before)


class EngineProcesses:
    """The child processes of one engine and what they print."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._found: set[Any] = set()
        # Child processes from before; None for an engine that has none of its own.
        self._others: set[Any] | None = None
        self._shared: set[str] = set()
        self._reader: threading.Thread | None = None

    def start(
        self,
        construct: Callable[[], T],
        *,
        child: bool,
        stall_seconds: float | None,
        limit_seconds: float,
    ) -> T:
        """Start an engine under the watchdog; no process of it is left when that fails.

        To be called in a thread that lives as long as the engine, as the main thread does: the
        kernel counts a thread's end as the parent's. Only in the main thread the watchdog can end
        what waits in this process.

        ``construct`` makes it in child processes, or in this one unless ``child``. The watchdog
        allows ``limit_seconds`` in all, and ``stall_seconds`` (None: any) without progress.

        Raises:
            LoadEnded: by the watchdog.
            BaseException: whatever ``construct`` raises.
        """
        import psutil

        if child:
            # Python's own helper is no part of the engine: it ends with this process.
            resource_tracker.ensure_running()
            self._others = set(psutil.Process().children(recursive=True))
        watchdog = Watchdog(self, stall_seconds, limit_seconds)
        try:
            with (
                _interrupts_kept(),
                self._entered() if child else contextlib.nullcontext(),
                watchdog,
            ):
                engine = construct()
            if watchdog.reason is not None:
                raise LoadEnded(watchdog.reason)
        except Interrupted:
            self.kill()
            raise KeyboardInterrupt from None
        except BaseException as error:
            self.kill()
            if watchdog.reason is not None and not isinstance(error, LoadEnded):
                raise LoadEnded(watchdog.reason) from error
            raise
        self._shared = set().union(*(shared_memory(process.pid) for process in self.running()))
        return engine

    @contextlib.contextmanager
    def _entered(self) -> Iterator[None]:
        """Let engines begin in ``run_engine_core``, their output piped into the log."""
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
        """Return the engine's processes that run now, as psutil has them."""
        import psutil

        if self._others is None:
            return set()
        self._found |= set(psutil.Process().children(recursive=True)) - self._others
        self._found = {process for process in self._found if process.is_running()}
        return self._found

    def on_death(self, call: Callable[[], object]) -> None:
        """Call something, in a thread, once the engine's first process has ended."""
        import psutil

        def wait(pid: int) -> None:
            _wait_for_end(pid)
            call()

        for process in self.running() & set(psutil.Process().children()):
            threading.Thread(target=wait, args=(process.pid,), daemon=True).start()

    def kill(self) -> None:
        """Kill what is left of the engine and wait for it; may be called more than once."""
        if self._reader is None:
            return
        self.kill_running()
        for name in self._shared:
            _forget_shared(name)
        # Takes the exit codes of our children; init has those of their children.
        multiprocessing.active_children()
        self._found = set()
        # The pipe ends with the last process that could write into it.
        self._reader.join(END_SECONDS)
        self._reader = None

    def kill_running(self) -> bool:
        """Kill what runs of the engine and wait for it; return whether anything did."""
        import psutil

        left = self.running()
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        for process in left:
            _wait_for_end(process.pid, END_SECONDS)
        return bool(left)

    def cause(self) -> str | None:
        """Return the first exception that the engine or one of its workers printed."""
        fatal, found = False, None
        for line in tuple(self.lines):  # the reader may still add to them
            if died := DIED.search(line):
                return died[0]
            fatal = fatal or FATAL.search(line) is not None
            match = EXCEPTION.fullmatch(line) if fatal else None
            if match and not SECONDHAND.search(line):
                return f"{match[1]}: {match[2]}"
            found = found or (match and f"{match[1]}: {match[2]}")
        return found


def shared_memory(pid: int) -> set[str]:
    """Name semaphores and shared memory that a process has open (in /dev/shm)."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
        return set(re.findall(rf"(?<= {SHARED}/)\S+(?=\n)", maps.read()))
    return set()


def _forget_shared(name: str) -> None:
    """Remove what a killed process left, and vLLM's workers on CPUs in any case.

    Python's resource tracker would do so only when this process ends, and complain.
    """
    with contextlib.suppress(FileNotFoundError):
        (SHARED / name).unlink()
        for start, kind in (("sem.", "semaphore"), ("psm_", "shared_memory")):
            if name.startswith(start):
                resource_tracker.unregister(f"/{name.removeprefix('sem.')}", kind)


def _wait_for_end(pid: int, seconds: float | None = None) -> None:
    """Wait for a process without taking its exit code from whoever started it."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        select.select([descriptor], [], [], seconds)
    finally:
        os.close(descriptor)
