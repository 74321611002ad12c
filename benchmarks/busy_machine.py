"""What waiting threads cost an engine on a CPU that has other work. Real engine, packaged model.

    python benchmarks/busy_machine.py [--rounds 3] [--spinners 2] [--settings spinning passive …]

The same prompts are scored on one engine, quiet and beside processes that spin, for each setting of
OpenMP's waiting and of vLLM's binding. What matters are the ratios; compare rows, not machines.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

# Name -> environment variables. "bound" and "free" run the engine in child processes, where vLLM
# can bind threads to cores; the others run it in this one.
CHILD = {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
CORES = f"0-{(os.cpu_count() or 1) - 1}"
SETTINGS = {
    "spinning": {"GOMP_SPINCOUNT": "300000", "OMP_WAIT_POLICY": "undefined"},
    "short spin": {"GOMP_SPINCOUNT": "1000", "OMP_WAIT_POLICY": "undefined"},
    "passive": {"OMP_WAIT_POLICY": "passive"},
    "bound, spinning": {
        **CHILD,
        "VLLM_CPU_OMP_THREADS_BIND": CORES,
        "OMP_WAIT_POLICY": "undefined",
    },
    "bound, passive": {
        **CHILD,
        "VLLM_CPU_OMP_THREADS_BIND": CORES,
        "OMP_WAIT_POLICY": "passive",
    },
    "free, passive": {
        **CHILD,
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_WAIT_POLICY": "passive",
    },
}
PROMPTS = 4


def cpu_seconds() -> float:
    """Processor time of this process and of its running children."""
    import psutil

    this = resource.getrusage(resource.RUSAGE_SELF)
    total = this.ru_utime + this.ru_stime
    for child in psutil.Process().children(recursive=True):
        if "while True" not in " ".join(child.cmdline()):
            times = child.cpu_times()
            total += times.user + times.system
    return total


def measure(rounds: int, spinners: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds and processor seconds of each round, quiet and busy by turns."""
    os.environ.setdefault("FORECASTER_CACHE", str(Path("~/.cache/forecaster").expanduser()))
    from engine.environment import prepare_environment

    prepare_environment()
    import tempfile

    from agents_vllm import Agent
    from logger import configure_root_logger
    from questions.question import Question
    from runs import demo
    from scoring.tasks import ForecastTask

    found: dict[str, list[tuple[float, float]]] = {"quiet": [], "busy": []}
    words = "The commission said that the vote would be held on the date set by law. " * 60
    with tempfile.TemporaryDirectory() as folder:
        configure_root_logger(folder)  # vLLM's many lines go to a file
        with Agent(demo.model_spec(), vllm_config=demo.VLLM_CONFIG, tolerance=0) as agent:
            for number in range(-1, rounds):  # the first one warms up
                for state in found:
                    tasks = [
                        # Prompts that no round before has left in the prefix cache.
                        ForecastTask(
                            Question(f"Will {state} {number} {n} happen?", background=words),
                            "2026-11-24",
                        )
                        for n in range(PROMPTS)
                    ]
                    count = spinners if state == "busy" else 0
                    spinning = [
                        subprocess.Popen([sys.executable, "-c", "while True: pass"])
                        for _ in range(count)
                    ]
                    try:
                        wall, cpu = time.monotonic(), cpu_seconds()
                        if any(outcome.error for outcome in agent.score(tasks)):
                            raise SystemExit("benchmarks/busy_machine.py: a prompt was not scored")
                        spent = (time.monotonic() - wall, cpu_seconds() - cpu)
                    finally:
                        for process in spinning:
                            process.kill()
                            process.wait()
                    if number >= 0:
                        found[state].append(spent)
    return found


def main() -> None:
    """Run each setting in a process of its own and print a row for it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--spinners", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print("RESULT " + json.dumps(measure(arguments.rounds, arguments.spinners)))
        return
    print(f"{os.cpu_count()} cores, {arguments.spinners} spinning processes, medians of seconds")
    print(f"{'setting':<18}{'quiet':>8}{'cpu':>8}{'busy':>8}{'cpu':>8}{'busy/quiet':>12}")
    for name in arguments.settings:
        command = [sys.executable, __file__, "--measure"]
        command += ["--rounds", str(arguments.rounds), "--spinners", str(arguments.spinners)]
        done = subprocess.run(  # noqa: S603 - this file and its own arguments
            command, env={**os.environ, **SETTINGS[name]}, capture_output=True, text=True
        )
        line = next((x for x in done.stdout.splitlines() if x.startswith("RESULT ")), None)
        if line is None:
            print(f"{name:<18}failed: {done.stderr.strip().splitlines()[-1:]}")
            continue
        found = json.loads(line.removeprefix("RESULT "))
        row = [
            statistics.median(values)
            for state in ("quiet", "busy")
            for values in zip(*found[state], strict=True)
        ]
        cells = "".join(f"{value:>8.2f}" for value in row)
        print(f"{name:<18}{cells}{row[2] / row[0]:>12.1f}", flush=True)


if __name__ == "__main__":
    main()
