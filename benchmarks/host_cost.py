"""What a forecast costs the host beside what its prompt costs the model.

    python benchmarks/host_cost.py [--tokens 2000 8000] [--prompts 1000]
    python benchmarks/host_cost.py --skip simulation --blocks 32 64 128
    python benchmarks/host_cost.py --model PATH_OR_ID --load-format dummy     a GPU's own handling

The first table is processor time for one forecast, in milliseconds: one plain encoding of the
prompt's text; building the prompt; our scoring (requests, replies, distribution) of a model that
answers at once; vLLM's handling of the forecast's requests with the prompt in the prefix cache, in
our process (validation, sampling parameters, outputs) and in the engine's (hashes, scheduler,
batch, sampler; on a CPU with the arithmetic of a one-layer model in it). The model is random and
has the demonstration's tokenizer, which writes numbers digit by digit.

The second table runs the program's own pipeline, with real prompts, on a simulated engine of its
own processor: a step takes 10 ms + tokens / 40,000 s (an H100 with 14 billion parameters) and at
most 16,384 tokens, whole blocks of 16 are cached, and each request costs our process what was
measured for it. The clock counts our processor time and what we wait for the engine, so that other
work on the machine does not matter. Ideal is the plain prefill of the same prompts, in full steps
and without any host.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import config  # noqa: E402 - the folder of the modules has to be known first
from agents_vllm import Agent  # noqa: E402
from benchmarks.scoring import PASSAGE_TOKENS, TODAY, corpus_passages  # noqa: E402
from engine.environment import prepare_environment  # noqa: E402
from forecaster import QUESTIONS  # noqa: E402
from preflight.model_entries import ModelSpec  # noqa: E402
from runs import demo  # noqa: E402
from scoring.scorer import Request  # noqa: E402
from scoring.tasks import ForecastTask, Prompt  # noqa: E402

RATE = 40_000  # tokens a second
STEP_SECONDS = 0.010
STEP_TOKENS = 16_384
STEP_REQUESTS = 1024
BLOCK = 16
WINDOW = 16_384
# Prompts of the first table.
MEASURED = 8


def make_tasks(count: int, tokens: int) -> list[ForecastTask]:
    """Questions with evidence of their own, more than fills a prompt of so many tokens."""
    passages = corpus_passages()[:4000]
    share = 2 * (tokens // PASSAGE_TOKENS) + 4
    return [
        ForecastTask(
            QUESTIONS[i % len(QUESTIONS)],
            TODAY,
            tuple(
                replace(passage, text=f"Record {i}. {passage.text}")
                for passage in (passages[(i * share + n) % 4000] for n in range(share))
            ),
        )
        for i in range(count)
    ]


# --- a simulated engine ---------------------------------------------------------------------------


@dataclass
class Waiting:
    """A request in the simulated engine's queue."""

    name: str
    arrived: float
    wanted: Sequence[int]
    left: int
    cached: int


class SimulatedEngine:
    """The part of ``vllm.LLM`` that the agent uses, on a model that only takes time.

    The engine works while our process does; nothing sleeps, both times are added up.

    Args:
        tokenizer: the model's.
        own_seconds: what a request costs the calling process.
        rate: tokens a second.
    """

    def __init__(self, tokenizer: Any, own_seconds: float, rate: float = RATE) -> None:
        self.tokenizer, self.own_seconds, self.rate = tokenizer, own_seconds, rate
        self.llm_engine = self
        self.engine_core = SimpleNamespace(shutdown=lambda timeout: None)
        self.vllm_config = SimpleNamespace(
            model_config=SimpleNamespace(max_model_len=WINDOW),
            cache_config=SimpleNamespace(
                block_size=BLOCK, enable_prefix_caching=True, num_gpu_blocks=250_000 // BLOCK
            ),
            scheduler_config=SimpleNamespace(max_num_batched_tokens=STEP_TOKENS),
        )
        self.requests = self.tokens = self.steps = 0
        self.busy = 0.0
        # Processor time of this simulation, which our clock leaves out.
        self.simulating = 0.0
        # Seconds of our clock that are not processor time: for the engine, for vLLM in our process.
        self._waited = 0.0
        self._free = 0.0
        self._known: set[int] = set()
        self._waiting: list[Waiting] = []

    def now(self) -> float:
        """Return our clock."""
        return time.process_time() - self.simulating + self._waited

    def get_tokenizer(self) -> Any:
        """Return the tokenizer."""
        return self.tokenizer

    def add_request(self, name: str, prompt: dict[str, Any], sampling: dict[str, Any]) -> None:
        """Take a request into the queue."""
        started = time.process_time()
        ids = prompt["prompt_token_ids"]
        cached = self._cached(ids)
        self.requests += 1
        self.tokens += len(ids) - cached
        self._waited += self.own_seconds
        self.simulating += time.process_time() - started
        wanted = sampling["logprob_token_ids"]
        self._waiting.append(Waiting(name, self.now(), wanted, len(ids) - cached, cached))

    def step(self) -> list[Any]:
        """Wait for a step that answers something."""
        started = time.process_time()
        ended: list[Waiting] = []
        while not ended:
            ended = self._step()
        outputs = [self._output(one) for one in ended]
        self.simulating += time.process_time() - started
        self._waited += max(0.0, self._free - self.now())
        return outputs

    def abort_request(self, names: Sequence[str]) -> None:
        """Nothing is left when a benchmark ends."""

    def _cached(self, ids: list[int]) -> int:
        """Tokens of whole blocks that an earlier request has computed, or will in this order."""
        blocks = (len(ids) - 1) // BLOCK
        for whole in (blocks, blocks - 1):
            if hash(tuple(ids[: whole * BLOCK])) in self._known:
                return whole * BLOCK
        self._known.add(hash(tuple(ids[: len(ids) // BLOCK * BLOCK])))
        return 0

    def _output(self, one: Waiting) -> Any:
        # Every token is equally likely: nothing can be left unread.
        row = {token: SimpleNamespace(logprob=-math.log(40)) for token in one.wanted}
        return SimpleNamespace(
            request_id=one.name,
            finished=True,
            outputs=[SimpleNamespace(logprobs=[row], token_ids=[0])],
            num_cached_tokens=one.cached,
        )

    def _step(self) -> list[Waiting]:
        """Compute one step, first come first served, prompts in parts; returns what ended."""
        start = max(self._free, self._waiting[0].arrived)
        space = STEP_TOKENS
        ended = []
        for one in self._waiting[:STEP_REQUESTS]:
            if one.arrived > start or space == 0:
                break
            part = min(space, one.left)
            one.left -= part
            space -= part
            if one.left == 0:
                ended.append(one)
        seconds = STEP_SECONDS + (STEP_TOKENS - space) / self.rate
        self._free = start + seconds
        self.busy += seconds
        self.steps += 1
        self._waiting = [one for one in self._waiting if one.left]
        return ended


@contextmanager
def simulated(spec: ModelSpec, tokenizer: Any, own_seconds: float, rate: float) -> Iterator[Agent]:
    """Yield the program's own agent on a simulated engine."""
    factory = partial(SimulatedEngine, tokenizer, own_seconds, rate)
    with Agent(spec, vllm_config={}, llm_factory=lambda **_: factory()) as agent:
        yield agent


# --- processor time of one forecast ---------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """Processor seconds of one forecast."""

    tokens: float
    encoding: float
    building: float
    product: float
    requests: float


def measure(spec: ModelSpec, tokenizer: Any, tokens: int) -> tuple[Cost, list[Prompt]]:
    """Measure everything but vLLM on prompts of about so many tokens."""
    config.CONTEXT_TOKENS = tokens - 100  # with the rest about so many
    with simulated(spec, tokenizer, 0.0, math.inf) as agent:
        tasks = make_tasks(MEASURED + 1, tokens)
        agent.build_prompt(tasks.pop())  # what is worked out once for a tokenizer
        started = time.process_time()
        prompts = [agent.build_prompt(task) for task in tasks]
        building = time.process_time() - started
        started = time.process_time()
        for prompt in prompts:
            tokenizer.encode(prompt.text)
        encoding = time.process_time() - started
        built = iter(prompts)
        setattr(agent, "build_prompt", lambda _: next(built))  # noqa: B010 - mypy
        started = time.process_time()
        outcomes = list(agent.score(tasks))
        product = time.process_time() - started - agent.llm.simulating
        requests = agent.llm.requests
    for outcome in outcomes:
        if outcome.error is not None:
            raise SystemExit(f"benchmarks/host_cost.py: {outcome.error}")
    length = sum(len(prompt.token_ids) for prompt in prompts)
    parts = (length, encoding, building, product, requests)
    return Cost(*(part / MEASURED for part in parts)), prompts


def handling(agent: Agent, prompts: Sequence[Prompt]) -> tuple[float, float]:
    """Processor seconds of vLLM for one request in cache: in our process, in the engine's."""
    import psutil

    wanted = agent.build_prompt(make_tasks(1, 2000)[0]).trie.asked[()]
    agent.next_token_logprobs([Request(prompt.token_ids, wanted) for prompt in prompts])
    requests = [
        Request((*prompt.token_ids, token), wanted) for prompt in prompts for token in wanted
    ]
    core = agent.llm.llm_engine.engine_core
    inside = Meter()
    if hasattr(core, "engine_core"):  # in this process
        for name in ("add_request", "get_output", "abort_requests"):
            setattr(core, name, inside.timed(getattr(core, name)))
    children = psutil.Process().children(recursive=True)
    before = sum(sum(child.cpu_times()[:2]) for child in children)
    started = time.process_time()
    for request in requests:
        agent.submit(request)
    left = len(requests)
    while left:
        left -= len(agent.collect())
    total = time.process_time() - started
    theirs = sum(sum(child.cpu_times()[:2]) for child in children) - before
    count = len(requests)
    return (total - inside.seconds) / count, (inside.seconds + theirs) / count


class Meter:
    """Adds up processor time of calls."""

    seconds = 0.0

    def timed(self, act: Callable[..., Any]) -> Callable[..., Any]:
        """Return the same function, its time added up."""

        def measured(*arguments: Any) -> Any:
            started = time.process_time()
            try:
                return act(*arguments)
            finally:
                self.seconds += time.process_time() - started

        return measured


def one_layer_model(folder: Path) -> ModelSpec:
    """Save a random model of one layer with the demonstration's tokenizer."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(demo.model_spec().path)
    tokenizer.save_pretrained(folder)
    shape = {"hidden_size": 64, "intermediate_size": 64, "head_dim": 64}
    settings = LlamaConfig(
        vocab_size=len(tokenizer),
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=WINDOW,
        tie_word_embeddings=True,
        **shape,
    )
    LlamaForCausalLM(settings).save_pretrained(folder)
    return ModelSpec("one-layer", str(folder), answer_prefix="Probability:")


# --- tables ---------------------------------------------------------------------------------------


def simulate(spec: ModelSpec, tokenizer: Any, tokens: int, count: int, own_seconds: float) -> str:
    """Run the pipeline on the simulated engine; a row of the second table."""
    config.CONTEXT_TOKENS = tokens - 100  # with the rest about so many
    tasks = make_tasks(count, tokens)
    with simulated(spec, tokenizer, own_seconds, RATE) as agent:
        engine = agent.llm
        started = engine.now()
        length = 0
        for outcome in agent.score(tasks):
            if outcome.prompt is None or outcome.error is not None:
                raise SystemExit(f"benchmarks/host_cost.py: {outcome.error}")
            length += len(outcome.prompt.token_ids)
        seconds = engine.now() - started
    ideal = length / RATE + STEP_SECONDS * math.ceil(length / STEP_TOKENS)
    idle = (seconds - engine.busy) / (length / RATE)
    cells = (
        f"{length / count:,.0f}", f"{count:,}", f"{engine.requests / count:.1f}",
        f"{engine.tokens / length:.3f}", f"{ideal:.1f}", f"{seconds:.1f}",
        f"**{seconds / ideal:.3f}**", f"{idle:.1%}",
    )  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def hashing(tokens: int) -> list[str]:
    """Return a table of vLLM's time to hash one prompt, in milliseconds."""
    from vllm.utils.hashing import get_hash_fn_by_name
    from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash

    algorithms = ["sha256", "sha256_cbor"]
    if importlib.util.find_spec("xxhash"):
        algorithms += ["xxhash", "xxhash_cbor"]
    ids = list(range(tokens + 1))
    request = SimpleNamespace(
        num_tokens=len(ids), all_token_ids=ids, block_hashes=[], mm_features=None,
        lora_request=None, cache_salt=None, prompt_embeds=None,
    )  # fmt: skip
    lines = [
        f"\nhashing {tokens:,} tokens; milliseconds",
        f"| block | {' | '.join(algorithms)} |",
        "|---" * (len(algorithms) + 1) + "|",
    ]
    for block in (16, 32, 64, 128):
        cells = [str(block)]
        for algorithm in algorithms:
            function = get_hash_fn_by_name(algorithm)
            init_none_hash(function)
            hasher = get_request_block_hasher(block, function)
            times = []
            for _ in range(30):
                started = time.process_time()
                hasher(request)
                times.append(time.process_time() - started)
            cells.append(f"{1000 * min(times):.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def row(cost: Cost, own: float, engine: float) -> str:
    """Return a row of the first table; milliseconds."""
    prefill = cost.tokens / RATE
    total = cost.building + cost.product + cost.requests * (own + engine)
    parts = (
        cost.encoding,
        cost.building,
        cost.product,
        cost.requests * own,
        cost.requests * engine,
        total,
        prefill,
    )
    cells = [f"{1000 * part:.1f}" for part in parts]
    ratio = f"{cost.building / cost.encoding:.2f}"
    return f"| {cost.tokens:,.0f} | {cost.requests:.0f} | " + " | ".join(
        [cells[0], f"{cells[1]} ({ratio})", *cells[2:]]
    ) + f" | {total / prefill:.2f} |"  # fmt: skip


COSTS = (
    "| tokens | requests | encode | build (/ encode) | product | vLLM here | vLLM's engine | total"
    " | prefill | total / prefill |\n" + "|---" * 10 + "|"
)
SIMULATIONS = (
    "| tokens | prompts | requests | tokens run / tokens | ideal s | took s | took / ideal"
    " | host alone / prefill |\n" + "|---" * 8 + "|"
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What a forecast costs the host.")
    parser.add_argument("--tokens", type=int, nargs="+", default=[2000, 8000])
    parser.add_argument("--prompts", type=int, default=1000, help="prompts of the simulation")
    parser.add_argument("--model", help="folder or id (default: a random model of one layer)")
    parser.add_argument("--load-format", default="auto", help='"dummy" needs no weights')
    parser.add_argument("--blocks", type=int, nargs="+", default=[32], help="block sizes of vLLM")
    parser.add_argument(
        "--here", type=float, nargs="+", help="vLLM here, ms a request, where the engine is skipped"
    )
    parser.add_argument("--skip", nargs="*", default=[], choices=["engine", "simulation"])
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # waiting threads are not asked for
    prepare_environment()
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as folder:
        spec = (
            ModelSpec("benchmarked", arguments.model)
            if arguments.model
            else one_layer_model(Path(folder))
        )
        tokenizer = AutoTokenizer.from_pretrained(spec.path)
        costs = {tokens: measure(spec, tokenizer, tokens) for tokens in arguments.tokens}
        here = arguments.here or [0.0] * len(costs)
        own = {tokens: one / 1000 for tokens, one in zip(costs, here, strict=True)}
        for block in arguments.blocks if "engine" not in arguments.skip else []:
            settings = {
                "max_model_len": WINDOW,
                "block_size": block,
                "load_format": arguments.load_format,
            }
            with Agent(spec, vllm_config=settings) as agent:
                print(f"\nblocks of {agent.block_size}; milliseconds\n{COSTS}")
                for tokens, (cost, prompts) in costs.items():
                    own[tokens], engine = min(handling(agent, prompts) for _ in range(3))
                    print(row(cost, own[tokens], engine), flush=True)
        if "engine" not in arguments.skip:
            print("\n".join(hashing(max(arguments.tokens))))
        if "simulation" not in arguments.skip:
            print(f"\n{SIMULATIONS}")
            for tokens in arguments.tokens:
                line = simulate(spec, tokenizer, tokens, arguments.prompts, own[tokens])
                print(line, flush=True)


if __name__ == "__main__":
    main()
