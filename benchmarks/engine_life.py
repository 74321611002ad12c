"""What is left of engines that come and go in one process: load, score, shut down, again and again. Real engine, random model.

    python benchmarks/engine_life.py [--cycles 10]            the engine in this process, as a CPU runs local weights
    python benchmarks/engine_life.py --children               in child processes, as a GPU runs all and a CPU runs s3://

After each cycle: resident memory of this process in MiB, its open descriptors and threads, its child processes (one is Python's
resource tracker, which ends with it), and the files in /dev/shm that the engine had mapped and that are still there. The first
cycle imports vLLM and torch; what matters is the difference between the third and the last.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import psutil  # noqa: E402 - the folder of the modules has to be known first

from agents_vllm import Agent  # noqa: E402
from engine.environment import MULTIPROCESSING  # noqa: E402
from engine.processes import SHARED, shared_memory  # noqa: E402
from forecaster import QUESTIONS  # noqa: E402
from logger import configure_root_logger  # noqa: E402
from preflight.model_entries import ModelSpec  # noqa: E402
from scoring.tasks import ForecastTask  # noqa: E402
from tests.support.tiny_models import merged_tokenizer, save_model  # noqa: E402

TASKS = [ForecastTask(question, "2026-11-24") for question in QUESTIONS]


def cycle(model: Path) -> set[str]:
    """One engine's life; returns the names of the shared memory it used."""
    with Agent(ModelSpec("tiny", str(model)), vllm_config={"max_model_len": 1024}) as agent:
        if any(outcome.error is not None for outcome in agent.score(TASKS)):
            raise SystemExit("benchmarks/engine_life.py: a prompt was not scored")
        return set().union(*(shared_memory(process.pid) for process in agent._processes.running()))


def main() -> None:
    """Print one line a cycle."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cycles", type=int, default=10)
    parser.add_argument("--children", action="store_true", help="run the engine in child processes")
    arguments = parser.parse_args()
    os.environ[MULTIPROCESSING] = str(int(arguments.children))
    print(
        f"{'cycle':>5}  {'seconds':>7}  {'MiB':>6}  {'descriptors':>11}  {'threads':>7}  {'children':>8}  {'shared':>6}"
    )
    used: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        configure_root_logger(folder)  # vLLM's many lines go to a file
        save_model(Path(folder), merged_tokenizer(), tie_word_embeddings=False)
        for number in range(1, arguments.cycles + 1):
            started = time.monotonic()
            used |= cycle(Path(folder))
            gc.collect()
            this = psutil.Process()
            left = sum((SHARED / name).exists() for name in used)
            print(
                f"{number:>5}  {time.monotonic() - started:>7.1f}  {this.memory_info().rss / 2**20:>6.0f}  {this.num_fds():>11}"
                f"  {this.num_threads():>7}  {len(this.children(recursive=True)):>8}  {left:>6}",
                flush=True,
            )


if __name__ == "__main__":
    main()
