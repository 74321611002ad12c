"""What libraries log and print goes to the log file."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from terminal.library_output import LIBRARIES, libraries_to_file

REPOSITORY = Path(__file__).resolve().parents[2]

NOISY = """
import logging, os, subprocess, sys
from logger import configure_root_logger
from terminal.library_output import libraries_to_file
from terminal.screen import console
configure_root_logger({folder!r}, verbose={verbose})
print("before")
try:
    with libraries_to_file(verbose={verbose}):
        print("print of a library")
        print("its warning", file=sys.stderr)
        os.write(2, b"C++ with hf_{secret}\\n")
        subprocess.run(["sh", "-c", "echo engine process; echo its trouble >&2; printf '50%%\\r100%%\\n'"], check=True)
        logging.getLogger("ensemble").info("ours")
        console().write("bar\\n")
        raise KeyError("ours too")
except KeyError:
    print("after", file=sys.stderr)
print("result")
"""


@pytest.mark.parametrize("verbose", [False, True])
def test_what_libraries_write_themselves_goes_to_the_file_unless_verbose(tmp_path, verbose):
    script = NOISY.format(folder=str(tmp_path), verbose=verbose, secret="A1" * 12)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    text = (tmp_path / "runpod_forecast_logs.log").read_text()
    noise = [
        "print of a library",
        "its warning",
        "C++ with ",
        "engine process",
        "its trouble",
        "100%",
    ]
    if verbose:
        assert all(one in done.stdout + done.stderr for one in noise)
        return
    assert done.stdout == "before\nresult\n"
    assert done.stderr == "ours\nbar\nafter\n"
    for one in noise:
        assert f"INFO libraries: {one}" in text
    assert "C++ with ***" in text
    assert "50%" not in text  # a bar's states are not lines


def test_output_that_is_not_the_process_own_is_left_alone(capsys):
    with libraries_to_file():
        print("to the test")
    assert capsys.readouterr().out == "to the test\n"


def test_every_named_library_is_a_logger_name():
    assert len(set(LIBRARIES)) == len(LIBRARIES)
    assert all(re.fullmatch(r"[\w.]+", name) for name in LIBRARIES)
