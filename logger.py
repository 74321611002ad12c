"""Root logging: short lines on the console, everything with times and tracebacks in a rotating file.

``configure_root_logger()`` is called once by an entry point, before vLLM or transformers are imported;
every other module only does ``logging.getLogger(__name__)``. ``libraries_to_file()`` also takes what C++ code and engine
processes write to the screen without asking. Secrets are taken out of each line before it is written, wherever it came from,
and characters that command a terminal are written out. ``show`` is how a program prints its results and errors.
"""

from __future__ import annotations

import argparse
import base64
import codecs
import contextlib
import fcntl
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import NoReturn, TextIO
from urllib.parse import quote, unquote

from terminal.text import visible

DEFAULT_LOG_DIR = "."
DEFAULT_LOG_FILE = "runpod_forecast_logs.log"
# Bytes of one file and number of older files kept: about 60 MB at most, weeks of runs.
MAX_LOG_BYTES = 10_000_000
LOG_BACKUPS = 5

# Libraries whose records go to the file only (and at INFO or above: the DEBUG records of numba or
# matplotlib would drown everything else). What a user must know of them, an agent reports itself.
LIBRARIES = (
    "PIL", "asyncio", "boto3", "botocore", "compressed_tensors", "datasets", "depyf", "filelock", "flashinfer", "fsspec",
    "h11", "httpcore", "httpcore2", "httpx", "httpx2", "huggingface_hub", "libraries", "markdown_it", "matplotlib",
    "mistral_common", "numba", "openai", "py.warnings", "pypdf", "ray", "requests", "runai_model_streamer", "s3transfer",
    "sentence_transformers", "torch", "torchao", "transformers", "triton", "urllib3", "vllm", "werkzeug", "xgrammar",
)  # fmt: skip

# --- secrets --------------------------------------------------------------------------------------

REDACTED = "***"
# Environment variables whose values are secret: HF_TOKEN, AWS_SECRET_ACCESS_KEY, OPENAI_API_KEY …
SECRET_VARIABLE = re.compile(
    r"(?:^|_)(?:TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY(?:_ID)?|SECRET_KEY|PRIVATE_KEY|CREDENTIALS)$",
    re.IGNORECASE,
)
# Characters. A shorter value is no real secret, and blanking it would tear ordinary words apart.
MIN_SECRET_LENGTH = 8

_SECRET_PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE if ignore_case else 0), replacement)
    for pattern, replacement, ignore_case in (
        # Hugging Face tokens: hf_ and letters and digits; a name such as hf_transformers has neither digit nor capital.
        (r"\bhf_(?:(?=[a-z]*[A-Z0-9])[A-Za-z0-9]{8,}|[a-z]{24,})", REDACTED, False),
        # AWS access key ids: long-lived (AKIA) and temporary (ASIA).
        (r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[A-Z0-9]{12,}", REDACTED, False),
        # Signed URLs: AWS signature versions 4 and 2, CloudFront, Azure; also in a header or a message.
        (
            r"\b(X-Amz-(?:Signature|Credential|Security-Token)|Signature|Credential|AWSAccessKeyId|Key-Pair-Id)"
            r"([\"']?\s*[=:]\s*[\"']?)[^\s&\"'<>,;]+",
            rf"\1\2{REDACTED}",
            True,
        ),
        (
            r"([?&](?:sig|policy|token|access_token|api_key|key)=)[^\s&\"'<>]+",
            rf"\1{REDACTED}",
            True,
        ),
        (
            r"((?:proxy-)?authorization[\"']?\s*[=:]\s*[\"']?)(?:(?:bearer|basic|token|digest)\s+)?[^\s\"',]+",
            rf"\1{REDACTED}",
            True,
        ),
        (r"\b(bearer\s+)[A-Za-z0-9._~+/=-]{8,}", rf"\1{REDACTED}", True),
        # Settings as they stand in dictionaries, INI files and commands.
        (
            r"((?:secret_?access_?key|session_?token|security_?token|hf_token|hub_token|api_?key|password)"
            r"[\"']?\s*[=:]\s*[\"']?)[^\s\"',;&]{4,}",
            rf"\1{REDACTED}",
            True,
        ),
        # https://user:password@host
        (r"(\b[a-z][a-z0-9+.-]{1,20}://)[^\s/?#\"'<>]+@", rf"\1{REDACTED}@", True),
        # The same with a slash in the password that should have been percent-encoded; host:8080/ is none.
        (
            r"(\b[a-z][a-z0-9+.-]{1,20}://)[^\s/?#:@\"'<>]{1,100}:(?!\d{1,5}(?:[/?#]|$))[^\s@\"'<>]{1,200}@",
            rf"\1{REDACTED}@",
            True,
        ),
    )
)


# Passwords that are known otherwise; see ``keep_secret``.
_known_secrets: set[str] = set()
# A value of the environment that is an address with a user and a password, or a token alone: of a proxy, a store, a mirror.
_ADDRESS_WITH_PASSWORD = re.compile(
    r"\A[a-z][a-z0-9+.-]{1,20}://([^\s/@:]*)(?::(\S*))?@", re.IGNORECASE
)
# Clients take the address of a proxy without its scheme too.
_PROXY_WITH_PASSWORD = re.compile(
    r"\A(?:[a-z][a-z0-9+.-]{1,20}://)?([^\s/@:]*)(?::(\S*))?@", re.IGNORECASE
)


def keep_secret(*values: str) -> None:
    """Have ``redact`` replace these values from now on; shorter ones than 8 characters are no secrets."""
    _known_secrets.update(value for value in values if len(value) >= MIN_SECRET_LENGTH)


def _secret_values() -> Iterator[str]:
    """Values of the environment's secret variables, passwords of its addresses, and what is to be kept secret.

    Each plain and as it looks inside a URL.
    """
    found = set(_known_secrets)
    for name, value in os.environ.items():
        if SECRET_VARIABLE.search(name):
            found.add(value)
        elif match := _address_pattern(name).match(value):
            user, password = match[1], match[2] or ""
            found |= {password, unquote(password)} if password else {user, unquote(user)}
            found.add(base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode())
    for value in found:
        if len(value) >= MIN_SECRET_LENGTH:
            yield value
            yield quote(value, safe="")


def _address_pattern(name: str) -> re.Pattern[str]:
    """How user and password are found in the value of a variable of the environment."""
    return _PROXY_WITH_PASSWORD if name.upper().endswith("_PROXY") else _ADDRESS_WITH_PASSWORD


def redact(text: str) -> str:
    """Return ``text`` with every secret replaced by ``***``.

    Secrets are the values of environment variables such as ``HF_TOKEN`` and ``AWS_SECRET_ACCESS_KEY`` (as
    they are now), Hugging Face tokens, AWS key ids, signatures of signed URLs, passwords in URLs and
    ``Authorization`` headers. Meant for anything that leaves the process: logs, the database, messages.
    """
    # Longest first: a secret that contains another is replaced whole.
    for value in sorted(set(_secret_values()), key=len, reverse=True):
        text = text.replace(value, REDACTED)
    for pattern, replacement in _SECRET_PATTERNS:
        text = pattern.sub(replacement, text)
    return text


class RedactingFormatter(logging.Formatter):
    """Formats a record, exception and stack text included, and then takes the secrets out."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Return the record's time in UTC, ISO-8601 with milliseconds and ``Z``."""
        moment = datetime.fromtimestamp(record.created, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def format(self, record: logging.LogRecord) -> str:
        """Return the finished text of ``record`` without secrets; only a record begins at the start of a line."""
        return visible(redact(super().format(record))).replace("\n", "\n    ")


class ConsoleFormatter(RedactingFormatter):
    """``message`` or ``warning: message``; a traceback belongs in the file and is left out."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one short text for ``record`` without secrets and without traceback."""
        prefix = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return visible(redact(prefix + record.getMessage())).replace("\n", "\n  ")


# --- handlers -------------------------------------------------------------------------------------


class ConsoleHandler(logging.Handler):
    """Writes to the console as it is at that moment, above a progress bar when one is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write ``record``; a console that is gone (closed pipe) never stops the run."""
        try:
            text = self.format(record)
            # Only a loaded tqdm can have a bar on the screen; importing it here would slow every start.
            tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)
            if tqdm is not None:
                tqdm.write(text, file=console())
            else:
                console().write(text + "\n")
            console().flush()
        except (OSError, ValueError):
            return
        except Exception:  # logging's own convention: a bad record is reported, not raised
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Name the line of a log call whose arguments do not fit its message."""
        _report_malformed(record)


class LogFile(RotatingFileHandler):
    """The log file. When it cannot be written any more (disk full), that is said once."""

    _failed = False

    def handleError(self, record: logging.LogRecord) -> None:
        """Report the first failure to write on the console and stay silent about the following ones."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            _report_malformed(record)
        elif not self._failed:
            self._failed = True
            console().write(
                f"warning: the log file {self.baseFilename} cannot be written: {error.strerror}\n"
            )


_malformed_calls: set[tuple[str, int]] = set()


def _report_malformed(record: logging.LogRecord) -> None:
    # logging's own report prints the raw arguments, which may hold a secret.
    place = (record.pathname, record.lineno)
    if place not in _malformed_calls:
        _malformed_calls.add(place)
        console().write(
            f"warning: the log call in {place[0]}:{place[1]} has arguments that do not fit its message\n"
        )


class LibraryFilter(logging.Filter):
    """Keeps records of ``LIBRARIES`` off a handler, unless they are critical."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether ``record`` may be shown."""
        return record.levelno >= logging.CRITICAL or not _is_library(record.name)


def _is_library(name: str) -> bool:
    return name in LIBRARIES or name.partition(".")[0] in LIBRARIES


class _LibraryLogger(logging.Logger):
    """A library's top logger that cannot be diverted from the root.

    vLLM, transformers and huggingface_hub put a handler of their own on their top logger, and stop
    propagation, while they are imported. Here both are ignored.
    """

    @property
    def propagate(self) -> bool:
        return True

    @propagate.setter
    def propagate(self, value: bool) -> None:
        pass

    def addHandler(self, hdlr: logging.Handler) -> None:
        pass


def _adopt_libraries() -> None:
    """Make every logger of ``LIBRARIES`` hand its records to the root, whether or not it is imported yet."""
    # PYTHONWARNINGS reach the file as well, under the logger py.warnings.
    logging.captureWarnings(True)
    # Without this vLLM's own configuration closes the handlers of the root. A user's choice stands.
    if "VLLM_LOGGING_CONFIG_PATH" not in os.environ:
        os.environ.setdefault("VLLM_CONFIGURE_LOGGING", "0")
    for name in LIBRARIES:
        library = logging.getLogger(name)
        library.handlers.clear()
        library.__dict__.pop("propagate", None)
        library.__class__ = _LibraryLogger
        if library.level < logging.INFO:
            library.setLevel(logging.INFO)


# --- configuration --------------------------------------------------------------------------------


def log_path(log_dir: str | Path | None = None, log_file: str | Path | None = None) -> Path:
    """Where the log goes: argument before environment variable (``LOG_DIR``, ``LOG_FILE``) before default.

    A file given with a folder of its own needs no directory; a ``log_dir`` argument wins over the folder
    in ``LOG_FILE``. An empty variable counts as unset.
    """
    file = Path(log_file or os.environ.get("LOG_FILE") or DEFAULT_LOG_FILE).expanduser()
    if log_dir and not log_file:
        file = Path(file.name)
    return Path(log_dir or os.environ.get("LOG_DIR") or DEFAULT_LOG_DIR).expanduser() / file


def configure_root_logger(
    log_dir: str | Path | None = None, log_file: str | Path | None = None, *, verbose: bool = False
) -> Path | None:
    """Send INFO and above to the console and DEBUG and above to a rotating file; return the file's path.

    Calling it again replaces what it set up before and leaves other handlers alone. ``verbose`` shows the
    libraries' records on the console too. When the file cannot be opened, one warning says so, the console
    alone is used and None is returned.
    """
    root = logging.getLogger()
    for handler in [h for h in root.handlers if isinstance(h, ConsoleHandler | LogFile)]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(logging.DEBUG)
    _adopt_libraries()
    console = ConsoleHandler()
    console.setLevel(logging.INFO)
    console.setFormatter(ConsoleFormatter())
    if not verbose:
        console.addFilter(LibraryFilter())
    root.addHandler(console)

    path = log_path(log_dir, log_file)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = LogFile(
            path,
            maxBytes=MAX_LOG_BYTES,
            backupCount=LOG_BACKUPS,
            encoding="utf-8",
            errors="backslashreplace",
        )
    except OSError as error:
        reason = error.strerror or str(error)
        root.warning(
            "no log file: %s cannot be opened (%s); set LOG_DIR to a writable folder", path, reason
        )
        return None
    file.setLevel(logging.DEBUG)
    file.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root.addHandler(file)
    return path


# --- the screen -----------------------------------------------------------------------------------

# The real standard error while ``libraries_to_file`` has its place; else None.
_screen: TextIO | None = None
# Called with each line that a library writes; see ``listen_to_libraries``.
_listener: Callable[[str], None] | None = None
# Bytes that may wait in the pipe: Linux's limit for ordinary users (pipe(7)). A library that writes while it keeps Python from
# running, and so from reading, would otherwise stop at 64 KiB.
PIPE_BYTES = 1 << 20
# Characters kept of a line that does not end.
LINE_CHARACTERS = 10_000
# What moves the cursor or colours the text.
CURSOR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# Records of what libraries wrote to the screen themselves.
written = logging.getLogger("libraries")


def console() -> TextIO:
    """Where lines and bars for the user go: standard error, whoever else writes to descriptor 2 meanwhile."""
    return _screen or sys.stderr


def say_at_once(text: str) -> None:
    """Write to the console from a signal handler: not through a stream, which may be in the middle of a line."""
    os.write(2 if _screen is None else _screen.fileno(), text.encode())


@contextlib.contextmanager
def listen_to_libraries(hear: Callable[[str], None]) -> Iterator[None]:
    """Also hand each line that ``libraries_to_file`` takes to ``hear``, called from another thread."""
    global _listener
    _listener = hear
    try:
        yield
    finally:
        _listener = None


@contextlib.contextmanager
def libraries_to_file(*, verbose: bool = False) -> Iterator[None]:
    """Send what is written to descriptors 1 and 2 to the log file: bars and prints of libraries, C++ code, engine processes.

    Only lines of loggers and of ``console()`` reach the screen meanwhile; ``print`` does not. With ``verbose``, or when standard
    output and error are not the process's own (a test's, a notebook's), everything stays as it is.
    """
    global _screen
    if verbose or _screen is not None or not _owns_the_screen():
        yield
        return
    with contextlib.ExitStack() as undo:
        reading, writing = os.pipe()
        with contextlib.suppress(OSError):
            fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        reader = threading.Thread(
            target=take_lines, args=(reading,), name="library output", daemon=True
        )
        # An engine process that outlives us keeps the pipe open: then the reader is left behind.
        reader.start()
        undo.callback(reader.join, 1.0)
        kept = os.dup(2)
        _screen = undo.enter_context(
            open(
                os.dup(kept),
                "w",
                encoding=sys.stderr.encoding,
                errors="backslashreplace",
                buffering=1,
            )
        )
        undo.callback(_leave_screen)
        for number, stream in ((1, sys.stdout), (2, sys.stderr)):
            stream.flush()
            undo.callback(_put_back, number, os.dup(number), stream)
            os.dup2(writing, number)
        os.close(kept)
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


def _leave_screen() -> None:
    global _screen
    _screen = None


def take_lines(descriptor: int, keep: Callable[[str], object] | None = None) -> None:
    """Log each line from a pipe until all writers have closed it; of a bar only its last state. ``keep`` is called with each."""
    waiting, decoder = "", codecs.getincrementaldecoder("utf-8")("replace")
    with open(descriptor, "rb", buffering=0) as pipe:
        while chunk := pipe.read(PIPE_BYTES):
            # A bar draws its states over one another: each ends in a carriage return, the last one in a line feed.
            *states, waiting = re.split(r"(?<=[\r\n])", waiting + decoder.decode(chunk))
            for state in states:
                text = CURSOR.sub("", state).strip()
                if text and (hear := _listener) is not None:
                    hear(text)
                if text and state.endswith("\n"):
                    written.info("%s", text)
                    if keep is not None:
                        keep(text)
            waiting = waiting[-LINE_CHARACTERS:]
    if text := CURSOR.sub("", waiting).strip():
        written.info("%s", text)


# --- standard output ------------------------------------------------------------------------------


def show(*lines: str, error: bool = False) -> None:
    """Print lines on standard output, or without secrets on standard error, safe for any terminal."""
    text = visible("\n".join(lines))
    print(redact(text) if error else text, file=sys.stderr if error else sys.stdout)


class CommandLine(argparse.ArgumentParser):
    """A command line whose errors repeat what was typed without secrets and safe for any terminal."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and ``message`` and exit with 2."""
        super().error(visible(redact(message)))


@contextlib.contextmanager
def reader_may_leave() -> Iterator[None]:
    """Print inside; a reader of our output that has left (head, a pager) ends the printing, quietly, and nothing else."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What Python flushes at its end has somewhere to go then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
