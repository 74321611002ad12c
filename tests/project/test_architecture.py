"""The architecture holds: layers, cycles, leaks and sizes, read from the source (docs/development.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

TOP_LEVEL = {
    "forecaster.py", "ensemble.py", "agents_vllm.py", "agents.py", "semanticretriever.py", "database.py",
    "config.py", "logger.py", "analysis.py", "build_pod.sh", "requirements.txt", "requirements-cpu.txt",
    "requirements-cpu-torch.txt", "pyproject.toml", "README.md", "AWS.md", "LICENSE", ".gitignore",
    "tests", "benchmarks", "docs", ".ci",
}  # fmt: skip

# Lowest first. A module imports only from lower layers or from its own package.
LAYERS = (
    {"terminal"},
    {"preflight"},
    {"config"},
    {"questions"},
    {"scoring"},
    {"storage"},
    {"database", "logger"},
    {"evidence", "evaluation", "engine"},
    {"semanticretriever", "reporting", "agents_vllm", "agents"},
    {"runs"},
    {"ensemble", "analysis"},
    {"forecaster"},
)
LEVEL = {name: number for number, names in enumerate(LAYERS) for name in names}
PACKAGES = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}

# What may be imported where only.
ONLY_IN = {
    "sqlite3": {"storage"},
    "matplotlib": {"reporting"},
    "jinja2": {"reporting", "scoring"},  # chat templates raise its errors
    "vllm": {"engine", "agents_vllm"},
}

MAX_FILE, MAX_STORY, MAX_CLASS, MAX_FUNCTION, MAX_LINE, MAX_FIRST_LINE = 350, 320, 250, 50, 100, 80


def product() -> list[Path]:
    """Every Python file of the program itself."""
    return sorted(
        [*ROOT.glob("*.py"), *(p for name in PACKAGES for p in (ROOT / name).rglob("*.py"))]
    )


def home(path: Path) -> str:
    """The package or story module a file belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Dotted names a file imports, at its head or inside functions, with their lines."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            for alias in node.names:
                yield f"{node.module}.{alias.name}", node.lineno


def own_module(name: str) -> str | None:
    """The module of ours that a dotted import names: ``package.module`` or a story module."""
    first, *rest = name.split(".")
    if first in PACKAGES:
        return f"{first}.{rest[0]}" if rest and (ROOT / first / f"{rest[0]}.py").exists() else first
    return first if first in LEVEL else None


def definitions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node


def test_the_top_level_is_the_story():
    import subprocess

    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("no git checkout")
    found = {name.split("/")[0] for name in listed.stdout.split("\0") if name}
    assert found == TOP_LEVEL | PACKAGES
    assert len(PACKAGES) <= 10
    assert set(LEVEL) == PACKAGES | {p.stem for p in ROOT.glob("*.py")}


def test_imports_go_down():
    upward = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in product()
        for name, line in imported(path)
        if own_module(name)
        and (there := name.split(".")[0]) != home(path)
        and LEVEL[there] >= LEVEL[home(path)]
    ]
    assert upward == []


def test_no_module_imports_itself_in_a_circle():
    graph = {
        str(path.relative_to(ROOT)).removesuffix(".py").replace("/", "."): {
            module for name, _ in imported(path) if (module := own_module(name))
        }
        for path in product()
    }
    done: set[str] = set()

    def visit(module: str, above: tuple[str, ...]) -> None:
        assert module not in above, " -> ".join([*above[above.index(module) :], module])
        if module in graph and module not in done:
            for other in graph[module]:
                visit(other, (*above, module))
            done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_stays_where_it_belongs(library):
    leaks = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in product()
        for name, line in imported(path)
        if name.split(".")[0] == library and home(path) not in ONLY_IN[library]
    ]
    assert leaks == []


def test_every_package_says_in_one_sentence_what_it_is():
    for name in PACKAGES:
        module = tree(ROOT / name / "__init__.py")
        assert len(module.body) == 1, name  # nothing else: importing one module loads no other
        assert "\n" not in (ast.get_docstring(module) or "\n"), name


def test_files_classes_and_functions_are_small():
    large = []
    for path in product():
        name = path.relative_to(ROOT)
        lines = path.read_text(encoding="utf-8").splitlines()
        limit = MAX_STORY if path.parent == ROOT else MAX_FILE
        if len(lines) > limit:
            large.append(f"{name}: {len(lines)} lines")
        large += [
            f"{name}:{number}: {len(line)} columns"
            for number, line in enumerate(lines, 1)
            if len(line) > MAX_LINE
        ]
        for node in definitions(path):
            size = (node.end_lineno or node.lineno) - node.lineno + 1
            if size > (MAX_CLASS if isinstance(node, ast.ClassDef) else MAX_FUNCTION):
                large.append(f"{name}: {node.name}: {size} lines")
    assert large == []


def test_first_lines_of_docstrings_are_short():
    long = []
    for path in product():
        for node in [tree(path), *definitions(path)]:
            first = (ast.get_docstring(node) or "").split("\n")[0]
            if len(first) > MAX_FIRST_LINE:
                long.append(f"{path.relative_to(ROOT)}: {first}")
    assert long == []
