"""build_pod.sh: what it refuses, and what a dry run says it would do."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


def build_pod(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    base = {
        name: value
        for name, value in os.environ.items()
        if name not in {"HF_TOKEN", "CONFIRM_BUILDPOD", "VENV"}
    }
    return subprocess.run(
        ["bash", str(ROOT / "build_pod.sh"), *arguments],
        env={**base, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_confirmation_nothing_is_done():
    done = build_pod()
    assert done.returncode == 2
    assert "CONFIRM_BUILDPOD=1" in done.stderr
    assert done.stdout == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="needs a user other than root")
def test_confirmation_without_root_is_refused():
    done = build_pod(CONFIRM_BUILDPOD="1")
    assert done.returncode == 2
    assert "root" in done.stderr


def test_dry_run_prints_every_command_and_changes_nothing(tmp_path):
    venv = tmp_path / "venv"
    done = build_pod("--dry-run", VENV=str(venv))
    assert done.returncode == 0
    assert "+ env DEBIAN_FRONTEND=noninteractive apt-get install" in done.stdout
    assert f"+ {venv}/bin/pip install -r requirements.txt" in done.stdout
    assert "HF_TOKEN is not set" in done.stdout
    assert not venv.exists()


def test_cpu_installs_the_lock_without_its_dependencies():
    lines = build_pod("--dry-run", "--cpu").stdout.splitlines()
    installs = [line for line in lines if "pip install" in line]
    assert [line.split()[-1] for line in installs] == [
        "requirements-cpu-torch.txt",
        "requirements-cpu.txt",
    ]
    assert all("--no-deps" in line for line in installs)


def test_configured_models_are_downloaded_and_the_token_is_never_shown():
    done = build_pod("--dry-run", HF_TOKEN="hf_abcdefghijklmnop")
    assert "hf download --quiet microsoft/phi-4" in done.stdout
    assert "hf_abcdefghijklmnop" not in done.stdout + done.stderr


def test_models_can_be_named_or_skipped():
    named = build_pod("--dry-run", "owner/model", HF_TOKEN="hf_abcdefghijklmnop").stdout
    assert "hf download --quiet owner/model" in named
    assert "phi-4" not in named
    assert (
        "hf download"
        not in build_pod("--dry-run", "--no-models", HF_TOKEN="hf_abcdefghijklmnop").stdout
    )


def test_unknown_option_is_one_line():
    done = build_pod("--wrong")
    assert done.returncode == 2
    assert done.stderr.strip() == "build_pod.sh: unknown option --wrong; see --help"
