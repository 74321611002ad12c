"""``pip install .``: two commands that work away from the repository, with their schema and page."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.needed import needs

ROOT = Path(__file__).parents[2]
# Not pip: to look for it makes setuptools' hook leave distutils alone in this process, and vLLM needs
# the hook (_distutils_hack, spec_for_pip).
pytestmark = needs({"setuptools": "setuptools"})


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Where the wheel built from the repository's own files is installed."""
    folder = tmp_path_factory.mktemp("install")
    kept = shutil.ignore_patterns(".*", "tests", "benchmarks", "__pycache__", "plots", "*.db")
    shutil.copytree(ROOT, folder / "source", ignore=kept)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    # Without the network: the environment has what builds it.
    build = ["wheel", "--no-deps", "--no-build-isolation", "-w", str(folder), "./source"]
    subprocess.run([*pip, *build], cwd=folder, check=True)
    (wheel,) = folder.glob("*.whl")
    target = folder / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", target, wheel], check=True)
    return target


def run(installed, folder, command, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(installed), "LOG_DIR": str(folder)}
    program = [sys.executable, str(installed / "bin" / command), *arguments]
    return subprocess.run(
        program, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("command", ["forecaster", "forecaster-analysis"])
def test_each_command_explains_itself(installed, tmp_path, command):
    done = run(installed, tmp_path, command, "--help")
    assert done.returncode == 0, done.stderr
    assert "--database" in done.stdout


def test_the_commands_bring_their_schema_and_settings(installed, tmp_path):
    made = "from database import Database; Database('new.db').close()"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    subprocess.run([sys.executable, "-c", made], cwd=tmp_path, env=environment, check=True)
    done = run(installed, tmp_path, "forecaster-analysis", "--list", "runs", "--database", "new.db")
    assert done.returncode == 0, done.stderr
    refused = run(installed, tmp_path, "forecaster", "--models", "nobody")
    assert refused.returncode == 2
    assert "unknown model 'nobody'" in refused.stderr


def test_the_page_and_the_table_of_cut_offs_are_there(installed):
    assert (installed / "reporting" / "report.html").is_file()
    assert (installed / "evaluation" / "training_cutoffs.csv").is_file()
