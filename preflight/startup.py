"""Refuse an old Python, missing packages and empty options before all else.

The command lines import this module first. It must itself run on an old Python: no newer syntax,
no packages.
"""

import importlib.util
import sys

# Importable name and the name to install, of what every run needs.
LEAST_PYTHON = (3, 11)
NEEDED = {
    "numpy": "numpy",
    "scipy": "scipy",
    "matplotlib": "matplotlib",
    "requests": "requests",
    "urllib3": "urllib3",
    "mwparserfromhell": "mwparserfromhell",
    "tqdm": "tqdm",
}


def problem():
    # type: () -> str
    """Say in one line why this Python cannot run the program, "" when it can."""
    if sys.version_info[:2] < LEAST_PYTHON:
        found = ".".join(map(str, sys.version_info[:2]))
        return f"Python 3.11 or newer is needed, this is Python {found} ({sys.executable})"
    missing = [name for module, name in NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        return (
            f"not installed for {sys.executable}: {', '.join(missing)}; activate the virtual"
            " environment (source .venv/bin/activate), or install the packages as the README says"
        )
    return ""


def empty_option(arguments):
    # type: (list[str]) -> str
    """Name the option that was given an empty value, "" for none.

    An unset shell variable is an empty value. No argument may be one, whatever the option, so that
    a new option needs no rule of its own.
    """
    option = "an argument"
    for argument in arguments:
        name, separator, value = argument.partition("=")
        if argument.startswith("-") and separator and not value.strip():
            return name
        if argument.startswith("-") and argument.strip("- "):
            option = name if argument.startswith("--") else option
        elif not argument.strip():
            return option
    return ""


def option_problems(arguments):
    # type: (list[str]) -> list[str]
    """Say in one line that an option was given an empty value; nothing when none was."""
    option = empty_option(arguments)
    return [f"{option} is empty; give it a value or leave it out"] if option else []


if problem():
    sys.stderr.write(f"{sys.argv[0].rpartition(chr(47))[2]}: {problem()}\n")
    sys.exit(2)
