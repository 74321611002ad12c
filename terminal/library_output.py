"""Send what libraries log and print to the log file instead of the screen."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Final, TextIO

from terminal.screen import console, console_moved

# Libraries whose records go to the file only, at INFO or above: the DEBUG records of numba or
# matplotlib would hide everything else. What a user must know of them, our own modules report.
LIBRARIES: Final = (
    "PIL", "asyncio", "boto3", "botocore", "compressed_tensors", "datasets", "depyf", "filelock",
    "flashinfer", "fsspec", "h11", "httpcore", "httpcore2", "httpx", "httpx2", "huggingface_hub",
    "libraries", "markdown_it", "matplotlib", "mistral_common", "numba", "openai", "py.warnings",
    "pypdf", "ray", "requests", "runai_model_streamer", "s3transfer", "sentence_transformers",
    "torch", "torchao", "transformers", "triton", "urllib3", "vllm", "werkzeug", "xgrammar",
)  # fmt: skip
# Bytes the pipe may hold, Linux's limit for ordinary users (pipe(7)): a library that prints while
# it keeps Python from running, and so from reading, would stop at the usual 64 KiB.
PIPE_BYTES: Final = 1 << 20
# Characters kept of a line that does not end.
LINE_CHARACTERS: Final = 10_000
# Sequences that move the cursor or colour the text.
CURSOR: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# Records of what libraries printed.
printed = logging.getLogger("libraries")
# Called with each line that a library prints; see ``listen_to_libraries``.
_listener: Callable[[str], None] | None = None


class LibraryFilter(logging.Filter):
    """Keep records of ``LIBRARIES`` off a handler, unless they are critical."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether ``record`` may be shown."""
        known = record.name in LIBRARIES or record.name.partition(".")[0] in LIBRARIES
        return record.levelno >= logging.CRITICAL or not known


class _LibraryLogger(logging.Logger):
    """A library's top logger that always hands its records to the root.

    vLLM, transformers and huggingface_hub add a handler of their own to their top logger and stop
    propagation when they are imported. Here both are ignored.
    """

    @property
    def propagate(self) -> bool:
        return True

    @propagate.setter
    def propagate(self, value: bool) -> None:
        pass

    def addHandler(self, hdlr: logging.Handler) -> None:
        pass


def adopt_libraries() -> None:
    """Make the loggers of ``LIBRARIES`` hand their records to the root."""
    # Python's warnings reach the file as well, under the logger py.warnings.
    logging.captureWarnings(True)
    # Without this vLLM's own configuration closes the root's handlers. A user's choice wins.
    if "VLLM_LOGGING_CONFIG_PATH" not in os.environ:
        os.environ.setdefault("VLLM_CONFIGURE_LOGGING", "0")
    for name in LIBRARIES:
        library = logging.getLogger(name)
        library.handlers.clear()
        library.__dict__.pop("propagate", None)
        library.__class__ = _LibraryLogger
        if library.level < logging.INFO:
            library.setLevel(logging.INFO)


@contextlib.contextmanager
def listen_to_libraries(hear: Callable[[str], None]) -> Iterator[None]:
    """Pass each line that ``libraries_to_file`` takes to ``hear``, in another thread."""
    global _listener
    _listener = hear
    try:
        yield
    finally:
        _listener = None


@contextlib.contextmanager
def libraries_to_file(*, verbose: bool = False) -> Iterator[None]:
    """Log what libraries, C++ code and engine processes write to descriptors 1 and 2.

    Only loggers and ``console()`` reach the screen meanwhile, ``print`` does not. Nothing changes
    with ``verbose``, or when standard output or error is replaced (in a test or notebook).
    """
    if verbose or console() is not sys.stderr or not _owns_the_screen():
        yield
        return
    with contextlib.ExitStack() as undo:
        reading, writing = os.pipe()
        with contextlib.suppress(OSError):
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        reader = threading.Thread(
            target=take_lines, args=(reading,), name="library output", daemon=True
        )
        reader.start()
        # An engine process that outlives us keeps the pipe open: then the reader is left behind.
        undo.callback(reader.join, 1.0)
        encoding = sys.stderr.encoding
        screen = undo.enter_context(
            open(os.dup(2), "w", encoding=encoding, errors="backslashreplace", buffering=1)
        )
        undo.enter_context(console_moved(screen))
        for number, stream in ((1, sys.stdout), (2, sys.stderr)):
            stream.flush()
            undo.callback(_put_back, number, os.dup(number), stream)
            os.dup2(writing, number)
        os.close(writing)
        yield


def _owns_the_screen() -> bool:
    try:
        own = sys.stdout is sys.__stdout__ and sys.stderr is sys.__stderr__
        return own and (sys.stdout.fileno(), sys.stderr.fileno()) == (1, 2)
    except (AttributeError, OSError, ValueError):
        return False  # closed, or none at all


def _put_back(number: int, saved: int, stream: TextIO) -> None:
    with contextlib.suppress(OSError):
        stream.flush()
    os.dup2(saved, number)
    os.close(saved)


def take_lines(descriptor: int, keep: Callable[[str], object] | None = None) -> None:
    """Log (and ``keep``) each line from a pipe until all its writers have closed it.

    A progress bar, which draws its states over one another, is logged once, in its last state.
    """
    waiting, decoder = "", codecs.getincrementaldecoder("utf-8")("replace")
    with open(descriptor, "rb", buffering=0) as pipe:
        while chunk := pipe.read(PIPE_BYTES):
            # Each state of a bar ends in a carriage return, the last one in a line feed.
            *states, waiting = re.split(r"(?<=[\r\n])", waiting + decoder.decode(chunk))
            for state in states:
                text = CURSOR.sub("", state).strip()
                if text and (hear := _listener) is not None:
                    hear(text)
                if text and state.endswith("\n"):
                    printed.info("%s", text)
                    if keep is not None:
                        keep(text)
            waiting = waiting[-LINE_CHARACTERS:]
    if text := CURSOR.sub("", waiting).strip():
        printed.info("%s", text)
