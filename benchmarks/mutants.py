"""Measure whether the tests notice small faults in the code they test.

    python benchmarks/mutants.py [PACKAGE/MODULE ...] [--count N] [--seed N] [--list] [--retry FILE]

Each mutant is one small change of a module (benchmarks/mutations.py). The test files of the module
are run on it, in a temporary copy of this folder; a mutant is *killed* when a test fails, and
*survives* when none does. Those that cannot be told from the original by any test are listed with
the reason in benchmarks/equivalent_mutants.csv and left out of the share.

A first run without a mutant notes which tests run which lines. A mutant gets the tests that run its
line, fastest first, and the others only when these pass. Every run is a fork of one process that has
the libraries imported and none of this folder's modules.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib
import json
import os
import resource
import select
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.mutations import Mutant, mutants, sample  # noqa: E402 - the folder has to be known first

EQUIVALENT: Final = ROOT / "benchmarks" / "equivalent_mutants.csv"
# Quick test files, beside tests/PACKAGE/test_MODULE.py, in which a module's meaning is asserted.
ALSO: Final[dict[str, tuple[str, ...]]] = {
    "database": ("storage/test_database", "storage/test_database_rows"),
    "evaluation/attribution": ("evaluation/test_why",),
    "evaluation/calibration": ("evaluation/test_calibrate_command",),
    "evaluation/metrics": ("evaluation/test_scorecard",),
    "evaluation/mixed_prompts": ("evaluation/test_why",),
    "evaluation/outcomes": ("evaluation/test_outcome_files",),
    "evaluation/run_differences": ("runs/test_manifest",),
    "evaluation/scorecard": ("reporting/test_analysis", "evaluation/test_backtest"),
    "questions/files": ("questions/test_platforms", "questions/test_examples"),
    "questions/question": ("runs/test_admission",),
    "scoring/reasoning_notes": ("scoring/test_reasoning",),
    "scoring/number_trie": ("scoring/test_scorer", "scoring/test_odd_tokenizers"),
    "scoring/pooling": ("scoring/test_voices",),
    "scoring/prompt_fitting": ("scoring/test_agent_stub", "scoring/test_prompt_encoding"),
    "scoring/quoting": ("scoring/test_prompts",),
    "scoring/scorer": ("scoring/test_agent_stub",),
    "storage/migrations": ("storage/test_database",),
    "storage/records": ("storage/test_database", "storage/test_database_rows"),
    "storage/rows": ("storage/test_database_rows", "reporting/test_histories"),
}
# Packages whose tests start engines or systems are left out.
PACKAGES: Final = (
    "evaluation", "evidence", "preflight", "questions", "reporting", "runs", "scoring", "storage",
    "terminal",
)  # fmt: skip
# Seconds a mutant may take beyond three times its tests' own time, and bytes of memory.
PATIENCE: Final = 8.0
MEMORY_BYTES: Final = 8 << 30
# Imported by no test file above; a fork after their threads have started could hang.
NOT_BEFORE_A_FORK: Final = ("torch", "vllm", "transformers")
IGNORED: Final = shutil.ignore_patterns(".*", "venv", "__pycache__", "plots", "*.db", "*.log")


def files_of(module: str) -> tuple[str, ...]:
    """The test files of a module such as "scoring/scorer", below tests/ and without ".py"."""
    package, _, name = module.rpartition("/")
    mirrored = f"{package}/test_{name}"
    found = [mirrored] if (ROOT / "tests" / f"{mirrored}.py").exists() else []
    return (*found, *ALSO.get(module, ()))


def known_modules() -> list[str]:
    """Modules that have test files, by name."""
    files = [path for package in PACKAGES for path in (ROOT / package).glob("*.py")]
    names = {path.relative_to(ROOT).with_suffix("").as_posix() for path in files} | {*ALSO}
    return sorted(name for name in names if files_of(name))


# --- inside a fork --------------------------------------------------------------------------------


@dataclass
class Coverage:
    """Note which lines of one file each test runs, and how long it takes (a plugin)."""

    file: str
    lines: dict[str, list[int]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Trace one test with its fixtures."""
        seen: set[int] = set()

        def inside(frame: FrameType, _event: str, _argument: Any) -> Callable[..., Any]:
            seen.add(frame.f_lineno)
            return inside

        def called(frame: FrameType, _event: str, _argument: Any) -> Callable[..., Any] | None:
            return inside(frame, "", None) if frame.f_code.co_filename == self.file else None

        started = time.perf_counter()
        threading.settrace(called)
        sys.settrace(called)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)
            self.lines[item.nodeid] = sorted(seen)
            self.seconds[item.nodeid] = time.perf_counter() - started


@dataclass
class Selection:
    """A pytest plugin that runs some tests only, in the order given."""

    names: Sequence[str]

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep what is named."""
        place = {name: number for number, name in enumerate(self.names)}
        items[:] = sorted((i for i in items if i.nodeid in place), key=lambda i: place[i.nodeid])


def run_pytest(copy: Path, files: Sequence[str], plugins: Sequence[Any]) -> int:
    """Run test files of the copy in this process; returns pytest's exit code."""
    os.chdir(copy)
    sys.path[:] = [
        entry
        for entry in sys.path
        if Path(entry or ".").resolve() not in (ROOT, ROOT / "benchmarks")
    ]
    for name in [name for name in sys.modules if name.split(".")[0] in ("benchmarks", "tests")]:
        del sys.modules[name]
    places = [f"tests/{name}.py" for name in files]
    quiet = [
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "--no-header",
        "-o",
        "addopts=",  # one process, every marker
        f"--basetemp={copy.parent / 'pytest'}",
    ]
    return int(pytest.main([*quiet, *places], plugins=list(plugins)))


# --- forks ----------------------------------------------------------------------------------------


def forked(work: Callable[[], int], log: Path, seconds: float) -> int | None:
    """Run ``work`` in a fork; returns its exit code, or None when it took too long."""
    process = os.fork()
    if process == 0:
        code = 99
        try:
            os.setsid()
            descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            for target in (1, 2):
                os.dup2(descriptor, target)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
            code = work()
        finally:
            os._exit(code)
    watched = os.pidfd_open(process)
    ended = select.select([watched], [], [], seconds)[0]
    os.close(watched)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)  # what the tests have started, too
    status = os.waitpid(process, 0)[1]
    return os.waitstatus_to_exitcode(status) if ended else None


@dataclass(frozen=True)
class Baseline:
    """What the tests of a module do without a mutant: seconds and lines run, by test."""

    files: tuple[str, ...]
    seconds: dict[str, float]
    lines: dict[str, frozenset[int]]

    def running(self, mutant: Mutant) -> list[str]:
        """The tests that run a mutant's lines, fastest first."""
        wanted = range(mutant.line, mutant.end + 1)
        return self.quickest(
            name for name, lines in self.lines.items() if not lines.isdisjoint(wanted)
        )

    def quickest(self, names: Iterable[str]) -> list[str]:
        """Tests in the order of their time."""
        return sorted(names, key=self.seconds.__getitem__)


class BrokenTestsError(Exception):
    """The tests fail without a mutant; with the end of what they print."""


class Bench:
    """A copy of this folder in which one module at a time is changed."""

    def __init__(self, folder: Path, patience: float) -> None:
        self.patience = patience
        self.copy = folder / "copy"
        self.log = folder / "log"
        shutil.copytree(ROOT, self.copy, ignore=IGNORED)

    def baseline(self, module: str) -> Baseline:
        """Run the module's tests as they are, and import here what they import.

        Raises:
            BrokenTestsError: they fail.
        """
        files = files_of(module)
        report = self.copy.parent / "report.json"

        def work() -> int:
            plugin = Coverage(str(self.copy / f"{module}.py"))
            code = run_pytest(self.copy, files, [plugin])
            outside = sorted(
                name for name, m in list(sys.modules.items()) if self._is_library(name, m)
            )
            report.write_text(json.dumps([plugin.seconds, plugin.lines, outside]))
            return code

        if forked(work, self.log, 600) != 0:
            self._give_up(files)
        seconds, lines, libraries = json.loads(report.read_text())
        for name in libraries:
            with contextlib.suppress(Exception):
                importlib.import_module(name)
        found = Baseline(
            files, seconds, {name: frozenset(numbers) for name, numbers in lines.items()}
        )
        # As with a mutant, but without one: what fails now would pass for noticing every mutant.
        if forked(partial(self._tested, found, found.quickest(seconds)), self.log, 600) != 0:
            self._give_up(files)
        return found

    def _give_up(self, files: Sequence[str]) -> None:
        raise BrokenTestsError(
            f"{', '.join(files)}: fails without a mutant\n{self.log.read_text()[-3000:]}"
        )

    def _is_library(self, name: str, module: Any) -> bool:
        file = getattr(module, "__file__", None) or ""
        own = file.startswith(str(self.copy)) or name == "__main__"
        return bool(file) and not own and name.split(".")[0] not in NOT_BEFORE_A_FORK

    def fate(self, mutant: Mutant, baseline: Baseline) -> str:
        """``killed``, ``timed out`` or ``survived``."""
        place = self.copy / f"{mutant.module}.py"
        original = place.read_text(encoding="utf-8")
        for stale in (place.parent / "__pycache__").glob(f"{place.stem}.*"):
            stale.unlink()
        place.write_text(mutant.source, encoding="utf-8")
        try:
            first = baseline.running(mutant)
            others = baseline.quickest(set(baseline.seconds) - set(first))
            for names in filter(None, (first, others)):
                limit = self.patience + 3 * sum(baseline.seconds[name] for name in names)
                code = forked(partial(self._tested, baseline, names), self.log, limit)
                if code != 0:
                    return "timed out" if code is None else "killed"
            return "survived"
        finally:
            place.write_text(original, encoding="utf-8")

    def _tested(self, baseline: Baseline, names: Sequence[str]) -> int:
        sys.dont_write_bytecode = True
        files = [
            file for file in baseline.files if any(n.startswith(f"tests/{file}.py") for n in names)
        ]
        return run_pytest(self.copy, files, [Selection(names)])


# --- table ----------------------------------------------------------------------------------------


def equivalents(file: Path = EQUIVALENT) -> dict[tuple[str, str, str], str]:
    """Why a mutant cannot be told from the original, by module, line and change."""
    with file.open(encoding="utf-8", newline="") as stream:
        return {
            (row["module"], row["line"], row["change"]): row["reason"]
            for row in csv.DictReader(stream)
        }


def table(fates: dict[str, Counter[str]]) -> list[str]:
    """Make a line a module: mutants by result, and the share that was noticed."""
    columns = ("mutants", "equivalent", "killed", "timed out", "survived", "share")
    lines = ["| module | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    for module, count in fates.items():
        judged = count.total() - count["equivalent"]
        share = f"{100 * (judged - count['survived']) / judged:.0f} %" if judged else "–"
        numbers = [count.total(), *(count[name] for name in columns[1:-1]), share]
        lines.append(f"| {module} | " + " | ".join(map(str, numbers)) + " |")
    return lines


def measure(
    modules: Sequence[str], count: int, seed: int, patience: float, wanted: str | None = None
) -> list[str]:
    """Try mutants of some modules: the table, then one line for each survivor.

    ``wanted`` is what an earlier call printed: only its survivors are tried again.
    """
    known = equivalents()
    fates: dict[str, Counter[str]] = {}
    survivors = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        bench = Bench(Path(folder), patience)
        for module in modules:
            try:
                baseline = bench.baseline(module)
            except BrokenTestsError as error:
                survivors.append(f"{module}.py was not measured: {str(error).splitlines()[0]}")
                print(error, file=sys.stderr)
                continue
            fates[module] = Counter()
            chosen = sample(mutants(bench.copy / f"{module}.py", module), count, seed)
            if wanted is not None:
                chosen = [mutant for mutant in chosen if f"  {mutant.change}\n" in wanted]
            for number, mutant in enumerate(chosen, start=1):
                fate = "equivalent" if mutant.key in known else bench.fate(mutant, baseline)
                fates[module][fate] += 1
                if sys.stderr.isatty():
                    print(f"{module} {number} of {len(chosen)}", end="\r", file=sys.stderr)
                if fate == "survived":
                    survivors.append(f"{module}.py:{mutant.line}  {mutant.change}")
                    print(survivors[-1], file=sys.stderr)
    return [*table(fates), "", *(survivors or ["No survivors."])]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="mutants.py", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "modules", nargs="*", metavar="MODULE", help='such as "scoring/scorer"; default: all'
    )
    parser.add_argument(
        "--count", type=int, default=60, help="mutants a module (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the draw (default: %(default)s)")
    parser.add_argument(
        "--patience",
        type=float,
        default=PATIENCE,
        help="seconds beyond the tests' (default: %(default)s)",
    )
    parser.add_argument(
        "--list", action="store_true", help="print the mutants drawn, and run nothing"
    )
    parser.add_argument(
        "--retry", metavar="FILE", help="try the survivors in an earlier output again"
    )
    arguments = parser.parse_args(argv)
    wanted = Path(arguments.retry).read_text(encoding="utf-8") if arguments.retry else None
    known = known_modules()
    if unknown := sorted({*arguments.modules} - {*known}):
        parser.error(f"no test files of {', '.join(unknown)}; known: {', '.join(known)}")
    modules = arguments.modules or known
    if arguments.list:
        for module in modules:
            found = mutants(ROOT / f"{module}.py", module)
            for mutant in sample(found, arguments.count, arguments.seed):
                print(f"{module}.py:{mutant.line}  {mutant.change}")
        return 0
    print("\n".join(measure(modules, arguments.count, arguments.seed, arguments.patience, wanted)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
