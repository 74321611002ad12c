"""What is printed is safe for a terminal, errors without secrets; a reader may leave."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from terminal.screen import CommandLine, console, console_moved, show

REPOSITORY = Path(__file__).resolve().parents[2]


def test_results_go_to_standard_output_and_errors_without_secrets_to_standard_error(capsys):
    show("a \x1b[2Jresult", "second line")
    show("https://ann:s3cr3t@mirror.example failed", error=True)
    printed = capsys.readouterr()
    assert printed.out == "a \\x1b[2Jresult\nsecond line\n"
    assert printed.err == "https://***@mirror.example failed\n"


def test_a_command_line_repeats_what_was_typed_without_its_secrets(capsys):
    with pytest.raises(SystemExit) as stopped:
        CommandLine(prog="x").parse_args(["https://ann:s3cr3t@mirror.example\x1b[2J"])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert "s3cr3t" not in error
    assert "https://***@mirror.example\\x1b[2J" in error


def test_the_console_is_moved_and_put_back(tmp_path):
    with (tmp_path / "screen").open("w") as stream:
        with console_moved(stream):
            assert console() is stream
        assert console() is sys.stderr


def test_a_reader_that_leaves_ends_the_printing_and_nothing_else():
    script = (
        "import sys\n"
        "from terminal.screen import reader_may_leave, show\n"
        "with reader_may_leave():\n"
        "    for number in range(100_000): show(str(number))\n"
        "print('went on', file=sys.stderr)\n"
    )
    command = f'"{sys.executable}" -c "$1" | head -1'
    done = subprocess.run(
        ["sh", "-c", command, "sh", script],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("0\n", "went on\n")
