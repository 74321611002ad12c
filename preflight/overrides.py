"""Read settings from forecaster.toml, and from variables that win over it.

Their values replace those of config.py and obey the same rules (docs/settings.md).
"""

from __future__ import annotations

import argparse
import errno
import math
import os
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date, time
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from preflight.model_folders import existing
from preflight.rules import Judge, Keys, Rule, hint, rules_of, shown
from terminal.screen import CommandLine
from terminal.text import visible_line

FILE: Final = "forecaster.toml"
PREFIX: Final = "FORECASTER_"
FILE_VARIABLE: Final = "FORECASTER_SETTINGS"
# Variables of the program that are no settings.
OTHER_VARIABLES: Final = (FILE_VARIABLE, "FORECASTER_CACHE")
# Python's TOML reader takes a time that grows with the square of a line's length.
MAX_BYTES: Final = 65_536
MAX_LINE: Final = 4_000
# Tables and arrays within each other in one value.
MAX_DEPTH: Final = 20
# Problems that are listed.
MAX_PROBLEMS: Final = 20

# Where a setting that is not from config.py comes from, by name: "forecaster.toml, line 3".
origins: dict[str, str] = {}


class SettingsError(Exception):
    """A file or a variable cannot be used; the message is one line."""


class Reading:
    """Collect values from outside of config.py, their origins, and problems."""

    def __init__(self, config: ModuleType) -> None:
        self.rules = rules_of(config)
        self.values = {name: getattr(config, name) for name in self.rules}
        self.origins: dict[str, str] = {}
        self.problems: list[str] = []

    def take(self, name: str, value: Any, origin: str, *, trusted: bool) -> None:
        """Take one value; a dictionary with fixed keys is merged into the one there is.

        ``origin`` is a variable, or a file and a line. ``trusted`` says whether the user gave the
        value or named the file that holds it.
        """
        unfit = _unfit(name, value, self.rules, trusted=trusted)
        self.problems += [f"{origin}: {problem}" for problem in unfit]
        before, value = self.values[name], _adopted(value, self.rules[name])
        if isinstance(self.rules[name][0], Keys) and isinstance(value, dict):
            value = {**before, **value} if isinstance(before, Mapping) else value
        elif isinstance(before, tuple) and isinstance(value, list):
            value = tuple(value)
        self.values[name], self.origins[name] = value, origin

    def refuse(self, origin: str, name: str, prefix: str = "") -> None:
        """Note a name that is no setting, with the nearest one."""
        word = prefix + name
        word = word if word.isidentifier() and len(word) < 100 else shown(word)
        near = ""
        if len(self.problems) < MAX_PROBLEMS:
            near = hint(prefix + name.upper()[:100], [prefix + known for known in self.rules])
        remedy = "allowed: the names in config.py; correct or remove it"
        self.problems.append(f"{origin}{word} is no setting; {remedy}{near}")


def apply(config: ModuleType, argv: Sequence[str] = ()) -> list[str]:
    """Put the values of the settings file and of variables into ``config``.

    The file is looked for beside the ``--database`` of ``argv``. Each value that cannot be read is
    one line, and then nothing is changed. Rules are applied later, with those of config.py.
    """
    reading = Reading(config)
    try:
        _read_file(reading, _variable(FILE_VARIABLE), _folder(argv) / FILE)
    except SettingsError as error:
        reading.problems.append(str(error))
    _read_variables(reading)
    if found := reading.problems:
        more = len(found) - MAX_PROBLEMS
        return found[:MAX_PROBLEMS] + ([f"… and {more} more problems"] if more > 0 else [])
    for name in reading.origins:
        setattr(config, name, reading.values[name])
    origins.clear()
    origins.update(reading.origins)
    return []


def with_origin(problem: str) -> str:
    """Put where a setting comes from before a problem that begins with its name."""
    match = re.match(r"[A-Z0-9_]+", problem)
    origin = origins.get(match[0]) if match else None
    return f"{origin}: {problem}" if origin else problem


# --- the file -------------------------------------------------------------------------------------


def _folder(argv: Sequence[str]) -> Path:
    """Return the folder of the command line's ``--database``, else the working folder."""
    parser = CommandLine(add_help=False, exit_on_error=False)
    parser.add_argument("--database", default="")
    try:
        return Path(parser.parse_known_args(list(argv))[0].database).parent
    except argparse.ArgumentError:  # the command line itself says what is wrong with it
        return Path()


def _read_file(reading: Reading, named: str, default: Path) -> None:
    """Take the settings of the file that the user named, else of the default one."""
    path = existing(named) if named else default
    if path is None:
        raise SettingsError(
            f"{FILE_VARIABLE} is {shown(named)}; allowed: a file that exists; correct or unset it"
        )
    name = visible_line(str(path))
    text = _text(path, name)
    for key, value in _toml(text, name).items():
        # The first line that gives the name a value, or opens its table.
        start = rf"""^[ \t]*(?:\[\[?[ \t]*)?["']?{re.escape(key)}["']?[ \t]*[.=\]]"""
        match = re.search(start, text, re.MULTILINE)
        line = f", line {text.count(chr(10), 0, match.start()) + 1}" if match else ""
        if key in reading.rules:
            reading.take(key, value, f"{name}{line}", trusted=bool(named))
        else:
            reading.refuse(f"{name}{line}: ", key)


def _text(path: Path, name: str) -> str:
    """Return what a settings file holds, "" where there is none.

    Raises:
        SettingsError: it cannot be read, is no text, or is far too long for settings.
    """
    try:
        if not path.is_file() and path.exists():  # a pipe would be waited for
            raise SettingsError(f"{name} is no file; move it away, or correct the path")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES or max(map(len, content.split(b"\n"))) > MAX_LINE:
            raise SettingsError(
                f"{name} is too long for settings; allowed: {MAX_BYTES} bytes, {MAX_LINE} in a"
                " line; correct or remove it"
            )
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{name} is no UTF-8 text; save it as UTF-8") from error
    except ValueError:  # a NUL in --database
        return ""
    except OSError as error:
        # What is wrong with the folder is reported with the database.
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
            return ""
        reason = error.strerror
        raise SettingsError(f"{name} cannot be read ({reason}); correct its rights") from error


def _toml(text: str, name: str) -> dict[str, Any]:
    """Parse TOML; raises ``SettingsError`` with ``name`` and the line."""
    try:
        return tomllib.loads(f"{text}\n")
    except RecursionError as error:
        raise SettingsError(f"{name} is nested too deeply; correct or remove it") from error
    except ValueError as error:
        what, _, place = str(error).partition(" (at ")
        line = re.match(r"line \d+", place)
        where = f"{name}, {line[0]}" if line else name
        raise SettingsError(f"{where}: {visible_line(what)[:200]}; correct it") from error


# --- variables ------------------------------------------------------------------------------------


def _variable(variable: str) -> str:
    """Return a variable's value, "" where it is not set.

    Raises:
        SettingsError: it is empty, no UTF-8 text, or far too long for a setting.
    """
    value = os.environ.get(variable)
    if value is not None and not value.strip():
        remedy = "give it a value ('\"\"' is an empty text) or unset it"
        raise SettingsError(f"{variable} is empty; {remedy}")
    if value and (not value.isprintable() or len(value) > MAX_LINE):
        allowed = f"at most {MAX_LINE} printable characters"
        raise SettingsError(f"{variable} is {shown(value)}; allowed: {allowed}; correct it")
    return value or ""


def _read_variables(reading: Reading) -> None:
    """Take the settings of ``FORECASTER_`` variables."""
    for variable in sorted(os.environ):
        name = variable.removeprefix(PREFIX)
        if not variable.startswith(PREFIX) or variable in OTHER_VARIABLES:
            continue
        if name not in reading.rules:
            reading.refuse("", name, PREFIX)
            continue
        try:
            value: Any = (text := _variable(variable))
            value = tomllib.loads(f"value = {text}")["value"]
        except SettingsError as error:
            reading.problems.append(str(error))
            continue
        except (ValueError, RecursionError):
            pass  # plain text; the rule says whether that is allowed
        if isinstance(reading.values[name], str) and not isinstance(value, str):
            value = text
        reading.take(name, value, variable, trusted=True)


# --- values ---------------------------------------------------------------------------------------


def _unfit(name: str, value: Any, settings: Collection[str], *, trusted: bool) -> Iterator[str]:
    """Describe what no setting may hold, however deep in it."""
    waiting: list[tuple[str, Any, int]] = [("", value, 0)]
    while waiting:
        key, item, depth = waiting.pop()
        if depth > MAX_DEPTH:
            yield f"{name} is nested more than {MAX_DEPTH} deep; allowed: less; correct it"
            return
        if key in settings:
            yield f"{key} is inside of {name}; write it above the first [table]"
        elif key == "trust_remote_code" and item is True and not trusted:
            yield (
                f"{name} has trust_remote_code = true; allowed: in config.py or in a file that"
                f" {FILE_VARIABLE} names, for it runs a model's own code; set it there"
            )
        elif isinstance(item, date | time) or (isinstance(item, float) and not math.isfinite(item)):
            yield (
                f"{name} holds {item}; allowed: texts, finite numbers, true, false, arrays and"
                " tables; write a date in quotes"
            )
        elif isinstance(item, str) and "\0" in item:
            yield f"{name} holds a NUL character; allowed: other characters; remove it"
        elif isinstance(item, dict):
            waiting += [(inner, part, depth + 1) for inner, part in item.items()]
        elif isinstance(item, list):
            waiting += [("", part, depth + 1) for part in item]


def _adopted(value: Any, rules: Sequence[Judge]) -> Any:
    """Return a TOML value as config.py would have it: "none" is None where allowed."""
    for rule in rules:
        if isinstance(rule, Keys) and isinstance(value, dict):
            known = rule.rules
            return {k: _adopted(v, (known[k],)) if k in known else v for k, v in value.items()}
        if isinstance(rule, Rule) and value == "none" and not rule.check(value):
            return None if rule.check(None) else value
    return value
