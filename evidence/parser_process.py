"""Parse foreign text in another process, so that a crash costs one text.

Parsers of wikitext, HTML, Markdown and PDF meet text that nobody checked. Some inputs crash a C
parser, others take it hours or all memory. One long-lived child parses under limits on processor
time and memory; a text that exceeds them or kills the child is refused with a ``ParserError``, and
the next text gets a new child. This file is also the child's program.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

# Processor time for one text, in seconds. Ordinary text takes a second a megabyte, PDF far more.
WIKITEXT_SECONDS: Final = 10
DOCUMENT_SECONDS: Final = 20
PDF_SECONDS: Final = 120
# Clock time for one text, as a multiple of the above: for a busy machine or a slow disk.
PATIENCE: Final = 10
# Address space of the child, in bytes.
MEMORY_BYTES: Final = 4 << 30
# The longest answer that is taken, in bytes: what a compressed file unpacks to.
ANSWER_BYTES: Final = 200_000_000
# prctl(2): the signal a process gets when the thread that started it ends.
PR_SET_PDEATHSIG: Final = 1


class ParserError(Exception):
    """A text cannot be parsed within the limits; the message says why, in one line."""


def parse_wikitext(
    text: str, *, file_namespaces: Iterable[str], category_namespaces: Iterable[str]
) -> list[tuple[str, str]]:
    """Clean wikitext as ``wikitext.sections_from_wikitext``: (section, text) pairs.

    Raises:
        ParserError: the parser crashed, took too long or too much memory.
    """
    job = {
        "text": text,
        "file_namespaces": sorted(file_namespaces),
        "category_namespaces": sorted(category_namespaces),
    }
    return _parser.run(job, WIKITEXT_SECONDS)


def parse_document(path: Path) -> list[tuple[str, str]]:
    """Read a document as ``readers.read_sections``: (section, text) pairs.

    Raises:
        ParserError: the file cannot be read as what its name says, or not within the limits.
    """
    seconds = PDF_SECONDS if path.suffix.casefold() == ".pdf" else DOCUMENT_SECONDS
    return _parser.run({"path": str(path)}, seconds)


# --- in this process ------------------------------------------------------------------------------


class ParserProcess:
    """Run a child that parses one text at a time; restart it when it has ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._pipe: Connection[Any, Any] | None = None
        self._owner = 0

    def run(self, job: Mapping[str, Any], seconds: int) -> list[tuple[str, str]]:
        """Return the sections of one job, within ``seconds`` of processor time."""
        request = json.dumps({**job, "seconds": seconds}).encode()
        with self._lock, contextlib.ExitStack() as on_error:
            # After an interrupt too: its answer would be taken for the next one's.
            on_error.callback(self.end)
            answer = json.loads(self._exchange(request, seconds))
            on_error.pop_all()
        if "error" in answer:
            raise ParserError(answer["error"])
        return [(title, text) for title, text in answer["sections"]]

    def end(self) -> None:
        """End the child, if there is one of this process."""
        child, self._child = self._child, None
        if child is not None and self._owner == os.getpid():
            child.kill()
            child.wait()
            assert self._pipe is not None
            self._pipe.close()

    def _exchange(self, request: bytes, seconds: int) -> bytes:
        child, pipe = self._started()
        try:
            pipe.send_bytes(request)
            if not pipe.poll(PATIENCE * seconds):
                raise ParserError(f"the parser did not finish within {PATIENCE * seconds} s")
            return pipe.recv_bytes(ANSWER_BYTES)
        except (EOFError, ConnectionError):
            child.kill()
            raise ParserError(_cause(child.wait(), seconds)) from None
        except OSError:  # what recv_bytes raises beyond its limit
            raise ParserError(f"holds more than {ANSWER_BYTES // 1_000_000} MB of text") from None

    def _started(self) -> tuple[subprocess.Popen[bytes], Connection[Any, Any]]:
        """Return the child and its pipe; new ones if it has ended, or we were forked."""
        child, pipe = self._child, self._pipe
        if child and pipe and self._owner == os.getpid() and child.poll() is None:
            return child, pipe
        self.end()
        program = [sys.executable, "-X", "utf8", "-m", "evidence.parser_process"]
        try:
            self._pipe, theirs = Pipe()
            with theirs:
                self._child = subprocess.Popen(  # noqa: S603 - this interpreter, this module
                    [*program, str(theirs.fileno())],
                    cwd=Path(__file__).resolve().parent.parent,  # where the package is found
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    # Ctrl-C in a terminal reaches every process of the foreground's session.
                    start_new_session=True,
                )
        except OSError as error:
            raise ParserError(f"the parser cannot be started ({error.strerror})") from None
        self._owner = os.getpid()
        return self._child, self._pipe


def _cause(status: int, seconds: int) -> str:
    """Say why a child ended, from its exit status (negative: the signal)."""
    if status == -signal.SIGXCPU:
        return f"the parser did not finish within {seconds} s of processor time"
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"the parser crashed ({signal.Signals(-status).name})"
    return f"the parser crashed (exit code {status})"


_parser = ParserProcess()
atexit.register(_parser.end)


# --- in the child ---------------------------------------------------------------------------------


def serve(pipe: Connection[Any, Any]) -> None:
    """Answer jobs until the parent ends, in the middle of a text too."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    with contextlib.suppress(EOFError):
        while True:
            job = json.loads(pipe.recv_bytes())
            _limit(resource.RLIMIT_CPU, int(time.process_time()) + 1 + job.pop("seconds"))
            pipe.send_bytes(json.dumps(_answer(job)).encode())


def _limit(kind: int, value: int) -> None:
    """Set a soft limit, as far as the hard one allows."""
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _answer(job: dict[str, Any]) -> dict[str, Any]:
    """Return the sections of one job, or the error in one line."""
    from evidence.readers import DocumentError, read_sections
    from evidence.wikitext import sections_from_wikitext

    try:
        if "path" in job:
            sections = read_sections(Path(job["path"]))
        else:
            sections = sections_from_wikitext(job.pop("text"), **job)
        return {"sections": [[_unicode(part) for part in section] for section in sections]}
    except DocumentError as error:
        return {"error": str(error)}
    except RecursionError:
        return {"error": "is nested too deeply"}
    except MemoryError:
        return {"error": f"needs more than {MEMORY_BYTES >> 30} GB of memory to be parsed"}
    except Exception as error:  # parsers of foreign formats raise what they like
        detail = " ".join(str(error).split())[:200]
        return {"error": f"cannot be read ({type(error).__name__}: {detail})"}


def _unicode(text: str) -> str:
    """Replace halves of characters, which neither SQLite nor a tokenizer takes."""
    return text.encode("utf-8", "replace").decode()


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
