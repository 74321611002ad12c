"""Refuse an old Python, missing packages and a broken config.py before all else.

The command lines import this module first; what is wrong is one line and exit code 2. It must
itself run on an old Python: no newer syntax, no packages.
"""

import importlib
import importlib.util
import os
import sys
import traceback

LEAST_PYTHON = (3, 11)
# Packages that every run needs.
NEEDED = ("numpy", "scipy", "matplotlib", "requests", "urllib3", "mwparserfromhell", "tqdm")


def problem():
    # type: () -> str
    """Say in one line why this Python cannot run the program, "" when it can."""
    if sys.version_info[:2] < LEAST_PYTHON:
        found = ".".join(map(str, sys.version_info[:2]))
        return f"Python 3.11 or newer is needed, this is Python {found} ({sys.executable})"
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        return (
            f"not installed for {sys.executable}: {', '.join(missing)}; activate the virtual"
            " environment (source .venv/bin/activate), or install the packages as the README says"
        )
    return settings_problem("config")


def settings_problem(name):
    # type: (str) -> str
    """Say in one line why a settings module cannot be imported, "" when it can."""
    try:
        importlib.import_module(name).__annotations__  # noqa: B018 - evaluated late by Python 3.14
        return ""
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever is in a file that is edited by hand, exit() too
        return import_failure(name, error)


def import_failure(name, error):
    # type: (str, BaseException) -> str
    """Describe a failed import in one line: line, error, remedy."""
    # Here: an old Python cannot read these modules.
    from terminal.redaction import redact
    from terminal.text import visible_line

    number = getattr(error, "lineno", None)  # of a SyntaxError
    if isinstance(error, ModuleNotFoundError) and error.name == name:
        return f"{name}.py is missing; restore it (git checkout {name}.py)"
    if isinstance(error, SyntaxError):
        what = error.msg
        if error.text and error.text.strip():
            what = f"{what}: {redact(error.text.strip())[:80]!r}"
    else:
        for frame in traceback.extract_tb(error.__traceback__):
            number = frame.lineno if frame.filename.endswith(f"{name}.py") else number
        what = visible_line(redact(f"{type(error).__name__}: {error}"))[:300]
    return f"{name}.py{f', line {number}' if number else ''}: {what}; correct it"


def option_problems(arguments):
    # type: (list[str]) -> list[str]
    """Say in one line that an option was given an empty value; nothing when none was.

    An unset shell variable is an empty value. No argument may be one, whatever the option, so that
    a new option needs no rule of its own.
    """
    option = "an argument"
    for argument in arguments:
        name, separator, value = argument.partition("=")
        if argument.startswith("-") and separator and not value.strip():
            option, argument = name, ""
        if not argument.strip():
            return [f"{option} is empty; give it a value or leave it out"]
        if argument.startswith("--") and argument.strip("- "):
            option = name
    return []


# Before NumPy and SciPy are imported: in fits of two to four numbers threads wait longer than they
# work (docs/evaluation.md), and sums would depend on the number of cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
found = problem()
if found:
    from_program = sys.argv[0].rpartition(chr(47))[2] or "forecaster.py"
    sys.stderr.write(f"{from_program}: {found}\n")
    sys.exit(2)
