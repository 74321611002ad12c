"""Write to the screen: results on standard output, the rest on standard error."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn, TextIO

from terminal.redaction import redact
from terminal.text import visible

# The real standard error while libraries' output is diverted (``console_moved``), else None.
_console: TextIO | None = None


def console() -> TextIO:
    """Return the stream for the user's lines and bars: the real standard error."""
    return _console or sys.stderr


@contextlib.contextmanager
def console_moved(stream: TextIO) -> Iterator[None]:
    """Let ``console()`` be another stream meanwhile."""
    global _console
    _console = stream
    try:
        yield
    finally:
        _console = None


def say_at_once(text: str) -> None:
    """Write to the console from a signal handler, past half-written streams."""
    os.write(2 if _console is None else _console.fileno(), text.encode())


def show(*lines: str, error: bool = False) -> None:
    """Print lines, safe for any terminal: results as they are, errors without secrets."""
    text = visible("\n".join(lines))
    print(redact(text) if error else text, file=sys.stderr if error else sys.stdout)


def show_json(document: Any) -> None:
    """Print one JSON document, a list one item a line; what is not finite is null."""
    value = _finite(document)
    if not isinstance(value, list):
        show(json.dumps(value, indent=1, allow_nan=False))
    elif items := [json.dumps(item, allow_nan=False) for item in value]:
        show("[", ",\n".join(items), "]")
    else:
        show("[]")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# Options of a command line: name, help, and how each is parsed.
Options = tuple[tuple[str, str, Mapping[str, Any]], ...]
FLAG: Final[Mapping[str, Any]] = {"action": "store_true"}


def add_options(group: Any, options: Options) -> None:
    """Add options to a group of a parser."""
    for name, text, keywords in options:
        group.add_argument(name, help=text, **keywords)


class CommandLine(argparse.ArgumentParser):
    """Parse a command line; errors repeat what was typed without its secrets."""

    def add_version(self) -> None:
        """Add ``--version``."""
        self.add_argument("--version", action=_Version, help="print what is installed here")

    def error(self, message: str) -> NoReturn:
        """Print the usage and ``message`` and exit with 2."""
        super().error(visible(redact(message)))


class _Version(argparse.Action):
    """Print the commit that is checked out, and end."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        """Print the program's name, its commit and Python's version; exit with 0."""
        import subprocess

        command = ["git", "-C", str(Path(__file__).parent), "log", "-1", "--format=%h of %cs"]
        try:
            found = subprocess.run(  # noqa: S603 - fixed words: nothing of the user's is run
                command, capture_output=True, text=True, check=False
            ).stdout
        except OSError:
            found = ""
        commit = f"commit {found.strip()}" if found.strip() else "no git checkout"
        version = ".".join(map(str, sys.version_info[:3]))
        show(f"{parser.prog}: Forecaster, {commit}; Python {version}")
        parser.exit(0)


@contextlib.contextmanager
def reader_may_leave() -> Iterator[None]:
    """Ignore a broken pipe while printing (``… | head``)."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more at its end: let that go to nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
