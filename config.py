"""Every setting of Forecaster, as plain Python values to edit, and ``validate_config()``.

Only the standard library and modules that need no more are imported here, so that a wrong setting is reported in well under a
second, before torch or vLLM are touched. ``validate_config()`` lists every problem it finds, one
line each: the setting, its value, what is allowed, what to do.
"""

from __future__ import annotations

import difflib
import importlib.util
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from logger import redact
from web_addresses import web_address

# --- Models -----------------------------------------------------------------------------------------
# An entry is a path or a mapping with the keys of ``ModelSpec``. A path is a Hugging Face id
# ("Qwen/Qwen3-14B"), a local folder, or s3://bucket/prefix (then load_format must be
# "runai_streamer"). The defaults are three families that fit one 80 GB GPU one after another; an
# ensemble of different families errs less alike than three sizes of one.
FORECAST_MODEL_PATHS_VLLM: dict[str, Any] = {
    # Thinking is switched off where the template has a switch: scoring needs the number next.
    "qwen3-14b": {"path": "Qwen/Qwen3-14B", "chat_template_kwargs": {"enable_thinking": False}},
    "phi-4": "microsoft/phi-4",
    "mistral-nemo": "mistralai/Mistral-Nemo-Instruct-2407",
}
# The model used where only one is wanted; a key of FORECAST_MODEL_PATHS_VLLM.
DEFAULT_MODEL_VLLM = "qwen3-14b"
# Models of the legacy Hugging Face agent (agents.py), used to check the vLLM agent. Same form.
FORECAST_MODEL_PATHS: dict[str, Any] = {"smollm2-135m": "HuggingFaceTB/SmolLM2-135M-Instruct"}
DEFAULT_MODEL = "smollm2-135m"
# The model that writes reasoning before the number; a key of FORECAST_MODEL_PATHS_VLLM or a path.
DEFAULT_LOGIC_MODEL_PATH = "qwen3-14b"
# With --logic: reasonings per question and chunk of evidence. The forecast is the mean over them; three show whether they agree.
LOGIC_SAMPLES = 3
# Tokens one reasoning may have; what is longer is cut off and marked so.
LOGIC_MAX_TOKENS = 768
# Sampling temperature of the reasonings (0 makes them all alike). 0.7 is what makers of the default models advise.
LOGIC_TEMPERATURE = 0.7

# --- vLLM engine ------------------------------------------------------------------------------------
VLLM_CONFIG: dict[str, Any] = {
    # GPUs that share every layer (1 on a single GPU, 8 on a p4d/p5 node) and nodes or groups that
    # share the stack of layers.
    "tensor_parallel_size": 1,
    "pipeline_parallel_size": 1,
    # None lets vLLM choose; "mp" is one node, "ray" several (needs the package ray).
    "distributed_executor_backend": None,
    # Share of each GPU's memory for weights and KV cache (0-1). 0.90 leaves room for the CUDA context.
    "gpu_memory_utilization": 0.90,
    # GiB of main memory that KV cache blocks may be moved to (vLLM: kv_offloading_size). 0 = off.
    "swap_space_gb": 0,
    # Tokens of prompt and answer; None takes the model's own limit. 16k holds the default evidence
    # budget with room for reasoning and keeps the KV cache small enough for many questions.
    "max_model_len": 16384,
    # "auto", "safetensors", "runai_streamer" (S3 or fast local streaming), "dummy" (random weights,
    # for benchmarks only) … With each of them weights are read from safetensors only, never unpickled.
    "load_format": "auto",
    # Run:ai streamer: {"concurrency": 16, "memory_limit": 5368709120, "distributed": True}. Sharded formats: {"pattern": …}.
    "model_loader_extra_config": {},
    # "auto" follows the checkpoint; "float32" for exact comparisons on a CPU.
    "dtype": "auto",
    # Tokens per KV cache block. Prompts are padded to a multiple of it, which is what makes a scoring
    # request after the first cost one to three tokens. 16 is vLLM's own default on GPUs; its CPU
    # default of 128 would make blocks that are hardly ever shared.
    "block_size": 16,
    # True skips CUDA graph capture: slower decoding, faster start. Scoring decodes one token only.
    "enforce_eager": False,
}

# Weights on S3 are looked at before an engine starts (checkpoint.py). Seconds until a connection stands, seconds without a
# byte of an answer, and tries of one request: a silent endpoint is given up after about 3 x 10 s.
S3_CONNECT_TIMEOUT_SECONDS = 5
S3_READ_TIMEOUT_SECONDS = 10
S3_MAX_ATTEMPTS = 3
# Seconds for the whole look at one checkpoint, local or S3: a listing and one small read for each shard. 160 shards take
# a few seconds.
CHECKPOINT_TIMEOUT_SECONDS = 120
# A load is ended after so many seconds in which the engine's processes neither moved a MiB nor used a twentieth of a core (a
# server that has fallen silent; a wait for other nodes counts as well, so with "ray" only the second limit holds), and after
# so many in all. The largest models take some minutes from S3, and some more to be compiled.
LOAD_STALL_SECONDS = 180
LOAD_TIMEOUT_SECONDS = 3600

# --- Scoring ----------------------------------------------------------------------------------------
# Total-variation error (0-1) at which scoring stops asking for more log-probabilities; what is left
# is stored as residual_mass. 0 is exhaustive. 0.01 is below what one reworded sentence of the
# prompt changes, and costs about a tenth of the exhaustive requests on a peaked distribution.
SCORING_TOLERANCE = 0.01
# Forward tokens a forecast may cost beyond its prompt, in cache blocks. 12 blocks = the root's ten
# children and their second digits when every one recomputes a whole block.
SCORING_BLOCK_BUDGET = 12
# Trie nodes whose log-probabilities are kept per forecast (LRU). 102 nodes, the root and one for
# each of 0-100, are the least; where a tokenizer's trie has more, all of them are kept.
MAX_LOGPROB_CACHE = 256
# A forecast whose answer was a number 0-100 with less than this probability is marked
# low-confidence: the model wanted to say something else.
MIN_CAPTURED_MASS = 0.5
# Prompts scored together. Their forecasts are stored when the last of them is done, so this is what a killed run loses at
# most. 16 prompts with evidence fill a GPU (their prefill is 60,000 tokens, some seconds; vLLM takes 8,192 to 16,384 a step);
# more at a time save nothing (README, "Interrupted runs").
SCORING_WAVE = 16
# Reasonings written together, likewise. Here size does save time: 256 is what vLLM decodes side by side by default.
LOGIC_WAVE = 256
# Seed of every random choice (reasoning samples, bootstrap).
SEED = 20261123

# --- Ensemble ---------------------------------------------------------------------------------------
# "mean", "entropy" (weights = bits of information each agent commits to), "median", "geometric", "extremised". On resolved
# questions none beats the plain mean (README, benchmarks/pools.py), and the mean's certificate is proven.
POOL_METHOD = "mean"

# --- Paths ------------------------------------------------------------------------------------------
DATABASE_PATH = "database.db"
PLOTS_DIR = "plots"
# Folder of the models --demo prepares.
CACHE_DIR = "~/.cache/forecaster"

# --- Prompts and evidence budget --------------------------------------------------------------------
# Tokens of evidence in one prompt (counted with the forecast model's tokenizer). About ten passages.
CONTEXT_TOKENS = 3000
# Prompts per question, each with its share of the passages; their forecasts are pooled.
EVIDENCE_CHUNKS = 1

# --- Retrieval --------------------------------------------------------------------------------------
# The Action API of the wiki that is searched; any MediaWiki works. "" searches no wiki (stored texts and documents only).
WIKIPEDIA_API_URL = "https://en.wikipedia.org/w/api.php"
# A mail address or page of whoever runs this program. Wikimedia asks for it in the User-Agent and allows 200 requests a
# minute with it, 10 without.
WIKIPEDIA_CONTACT = ""
# Seconds between two requests; None follows the limits above (0.3 with a contact, 6 without).
WIKIPEDIA_MIN_INTERVAL_SECONDS: float | None = None
# Seconds without a byte from the wiki before a request is given up, and the limit for one whole answer.
WIKIPEDIA_READ_TIMEOUT_SECONDS = 20
WIKIPEDIA_TOTAL_TIMEOUT_SECONDS = 60
# Largest answer read, in bytes after decompression. The longest Wikipedia articles have 0.6 MB of wikitext.
WIKIPEDIA_MAX_BYTES = 8_000_000
# Database lag (seconds) above which the wiki should refuse us and serve people first; 5 is Wikimedia's advice.
WIKIPEDIA_MAXLAG_SECONDS = 5
# Tries of one request, and the longest Retry-After (seconds) that is waited for: a longer one means "not today".
WIKIPEDIA_MAX_ATTEMPTS = 4
WIKIPEDIA_MAX_WAIT_SECONDS = 60
# Requests in a row that fail all their tries before the run goes on without the wiki.
WIKIPEDIA_OFFLINE_AFTER = 2
# Searches per question, results read per search, and articles fetched per question. Eight articles are about 300
# passages, far more than a prompt holds; the ranking chooses.
WIKIPEDIA_SEARCHES = 4
WIKIPEDIA_SEARCH_RESULTS = 6
WIKIPEDIA_ARTICLES = 8
# Hours during which a stored article counts as current; after them a small request tells whether it has changed. The same
# holds for articles that another question left in the store, once they would give evidence.
FRESHNESS_HOURS = 24
# Most viewed articles of the last day fetched into the store before the questions; 0 switches this off.
TOP_ARTICLES = 0
PAGEVIEWS_API_URL = "https://wikimedia.org/api/rest_v1"
# Size of a passage and of what neighbours share, in tokens of the embedding model. 200 + title and section stay within
# the 256 tokens MiniLM was trained on; an overlap of a fifth keeps a fact and its context together in one of them. A
# change holds for revisions stored from then on: passages that stood in a prompt must stay what they were.
PASSAGE_TOKENS = 200
PASSAGE_OVERLAP_TOKENS = 40
# sentence-transformers model: Hugging Face id or folder. 23M parameters, fast on a CPU.
EMBEDDING_MODEL_PATH = "sentence-transformers/all-MiniLM-L6-v2"
# Tokens of a text that are embedded (title and section included); what is longer is cut off.
MAX_EMBEDDING_SIZE = 256
# Passages up to which everything is embedded. In a larger store only passages that share words with a question are, when
# it is first asked: 20,000 take about 8 minutes on two CPU cores and seconds on a GPU. Beyond it less is found (README: 0.60
# of the answers among the best 20 instead of 0.83), so raise it where there is time.
EMBED_ALL_UP_TO_PASSAGES = 20_000
# Texts embedded at once, and where. "cpu" leaves the whole GPU to vLLM.
EMBEDDING_BATCH_SIZE = 32
EMBEDDING_DEVICE = "cpu"
# Cross-encoder that reorders the best candidates: Hugging Face id or folder, "" for none. One that cannot be loaded is one
# warning, and the first ranking's order stays.
CROSS_ENCODER_MODEL_PATH = ""
RERANK_CANDIDATES = 50
# First-stage ranking: "embedding" (cosine), "bm25" (words), "hybrid" (both, by reciprocal rank). On 140 questions over the World
# Factbook the embedding alone finds more than either (README, benchmarks/retrieval_quality.py); where questions repeat the
# names and terms of the texts, "hybrid" puts the right passage first a little more often.
RANKING = "embedding"
# Passages given to a question, best first, and how many of them one article may fill.
PASSAGES_PER_QUESTION = 20
PASSAGES_PER_ARTICLE = 6
# Share (0-1) of the shorter passage's four-word runs found in another, from which on it is a near-duplicate.
NEAR_DUPLICATE_SHARE = 0.6

# --- Analysis ---------------------------------------------------------------------------------------
# Questions that get their own figures in one call. A figure takes about 0.3 s; a backtest has a thousand questions.
MAX_PLOTTED_QUESTIONS = 200
# Resamples of the cluster bootstrap behind every 95 % interval. 2000 fix its ends to about a twentieth of its width.
BOOTSTRAP_SAMPLES = 2000
# Upper ends, in days from forecast to resolution, of the horizons that are scored apart; what lies beyond is one more.
HORIZON_DAYS = (7, 30, 90, 365)
# A calibration is refused below this many resolved questions, clusters of related questions, and questions of each
# outcome. A two-parameter curve through fewer points is mostly noise (Niculescu-Mizil & Caruana 2005 see Platt
# scaling settle at a few hundred).
CALIBRATION_MIN_QUESTIONS = 100
CALIBRATION_MIN_CLUSTERS = 50
CALIBRATION_MIN_EACH_OUTCOME = 20
# Folds of the cross-validation by cluster, for calibrations and for pool weights learnt from past scores.
CROSS_VALIDATION_FOLDS = 5


class ConfigError(Exception):
    """One or more settings are wrong; ``problems`` has one line for each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True)
class ModelSpec:
    """One model of the ensemble.

    Args:
        name: how it is called in tables and in the database.
        path: Hugging Face id, local folder or ``s3://bucket/prefix``.
        chat_template_kwargs: passed to the chat template, for example ``{"enable_thinking": False}``.
        answer_prefix: text put after the template's generation prompt, before the number.
        max_model_len: tokens; overrides ``VLLM_CONFIG["max_model_len"]``.
        trust_remote_code: run Python code that the model repository ships. Off unless set here.
    """

    name: str
    path: str
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    answer_prefix: str = ""
    max_model_len: int | None = None
    trust_remote_code: bool = False


HUGGING_FACE_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")
S3_ADDRESS: Final = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/\S+")
LOAD_FORMATS: Final = (
    "auto",
    "safetensors",
    "runai_streamer",
    "runai_streamer_sharded",
    "dummy",
    "sharded_state",
)
DTYPES: Final = ("auto", "float32", "bfloat16", "float16", "half", "float")
POOLS: Final = ("mean", "entropy", "median", "geometric", "extremised")


def model_spec(name: str, entries: Mapping[str, Any] | None = None) -> ModelSpec:
    """The ``ModelSpec`` behind a configured name, or behind a path given in its place.

    Raises:
        ConfigError: neither a configured name nor something that looks like a model path.
    """
    entries = FORECAST_MODEL_PATHS_VLLM if entries is None else entries
    if name not in entries:
        if is_local(name) or HUGGING_FACE_ID.fullmatch(name) or name.startswith("s3://"):
            # An opened folder or address is named by its last part: the tables stay readable.
            entries = {name: name}
            problems = list(_model_problems("--models", entries))
            if problems:
                raise ConfigError(problems)
            return ModelSpec(name=name.rstrip("/").rsplit("/", 1)[-1], path=name)
        raise ConfigError([f"unknown model {name!r}; configured: {', '.join(entries)}{_hint(name, entries)}"])
    entry = entries[name]
    return ModelSpec(name=name, path=entry) if isinstance(entry, str) else ModelSpec(name=name, **entry)


def is_local(path: str) -> bool:
    """Whether a model path means a folder of this machine (it exists, or is written like one)."""
    return path.startswith(("/", "./", "../", "~")) or _folder(path) is not None


def _hint(word: str, allowed: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(allowed), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False  # a whole number beyond every float


def _shown(value: Any) -> str:
    """A value as it stands in a message: on one line, without secrets, and not endless."""
    try:
        text = redact(repr(value))
    except (ValueError, RecursionError):  # Python writes no whole number of more than 4300 digits
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= 200 else f"{text[:200]}…"


def _folder(path: str) -> Path | None:
    """A path as a folder of this machine, ``~`` resolved; None where it is none."""
    try:
        folder = Path(path).expanduser()
        return folder if folder.is_dir() else None
    except (OSError, RuntimeError, ValueError):  # too long a name, no such user, a NUL
        return None


@dataclass(frozen=True)
class Rule:
    """What one setting may be: a test, what is allowed in words, and what to do about a wrong value."""

    check: Callable[[Any], bool]
    allowed: str
    advice: str


def _at_least(minimum: int) -> Rule:
    return Rule(
        lambda v: _is_int(v) and v >= minimum, f"a whole number, {minimum} or more", "set it to such a number"
    )


def _one_of(*values: Any) -> Rule:
    shown = ", ".join(map(repr, values))
    return Rule(
        lambda v: any(v is x or (type(v) is type(x) and v == x) for x in values),
        f"one of {shown}",
        "choose one of them",
    )


def _is_address(value: Any) -> bool:
    """Whether a value is an http address; a user and a password may stand in it, percent-encoded."""
    try:
        return isinstance(value, str) and bool(web_address(value))
    except ValueError:
        return False


def _share(*, above: float = 0.0) -> Rule:
    return Rule(
        lambda v: _is_number(v) and above <= v <= 1 and (v > 0 or above <= 0),
        "a number from 0 to 1",
        "give a share, not a percentage",
    )


_TEXT = Rule(
    lambda v: isinstance(v, str) and bool(v.strip()), "a text that is not empty", "write it in quotes"
)
_POSITIVE = Rule(lambda v: _is_number(v) and v > 0, "a number above 0", "set it to such a number")
_BOOL = Rule(lambda v: isinstance(v, bool), "True or False", "write one of them, without quotes")

SETTING_RULES: Final[dict[str, Rule]] = {
    "SCORING_TOLERANCE": _share(),
    "SCORING_BLOCK_BUDGET": _at_least(1),
    "MAX_LOGPROB_CACHE": _at_least(102),
    "MIN_CAPTURED_MASS": _share(),
    "SCORING_WAVE": _at_least(1),
    "LOGIC_WAVE": _at_least(1),
    "SEED": _at_least(0),
    "POOL_METHOD": _one_of(*POOLS),
    "DATABASE_PATH": _TEXT,
    "PLOTS_DIR": _TEXT,
    "CACHE_DIR": _TEXT,
    "CONTEXT_TOKENS": _at_least(0),
    "EVIDENCE_CHUNKS": _at_least(1),
    "DEFAULT_LOGIC_MODEL_PATH": _TEXT,
    "LOGIC_SAMPLES": _at_least(1),
    "LOGIC_MAX_TOKENS": _at_least(16),
    "LOGIC_TEMPERATURE": Rule(
        lambda value: _is_number(value) and 0 <= value <= 2, "a number from 0 to 2", "0.7 is a usual value"
    ),
    # Analysis
    "MAX_PLOTTED_QUESTIONS": _at_least(1),
    "BOOTSTRAP_SAMPLES": _at_least(100),
    "HORIZON_DAYS": Rule(
        lambda v: (
            isinstance(v, tuple | list)
            and all(map(_is_int, v))
            and list(v) == sorted({d for d in v if d > 0})
        ),
        "rising whole numbers of days",
        "(7, 30, 90, 365) is usual",
    ),
    "CALIBRATION_MIN_QUESTIONS": _at_least(10),
    "CALIBRATION_MIN_CLUSTERS": _at_least(2),
    "CALIBRATION_MIN_EACH_OUTCOME": _at_least(1),
    "CROSS_VALIDATION_FOLDS": _at_least(2),
    # Checkpoints and loading
    "S3_CONNECT_TIMEOUT_SECONDS": _POSITIVE,
    "S3_READ_TIMEOUT_SECONDS": _POSITIVE,
    "S3_MAX_ATTEMPTS": _at_least(1),
    "CHECKPOINT_TIMEOUT_SECONDS": _POSITIVE,
    "LOAD_STALL_SECONDS": _POSITIVE,
    "LOAD_TIMEOUT_SECONDS": _POSITIVE,
    # Retrieval
    "WIKIPEDIA_API_URL": Rule(
        lambda v: v == "" or (_is_address(v) and re.fullmatch(r"[^?#]+/api\.php", v) is not None),
        'the address of an api.php, or "" for none',
        "https://en.wikipedia.org/w/api.php is Wikipedia's; in a password write @ as %40 and / as %2F",
    ),
    "WIKIPEDIA_CONTACT": Rule(
        lambda v: isinstance(v, str) and v.isprintable() and v.isascii(),
        'a mail address or a page in plain ASCII, or ""',
        "give your own, Wikimedia asks for it",
    ),
    "WIKIPEDIA_MIN_INTERVAL_SECONDS": Rule(
        lambda v: v is None or (_is_number(v) and v >= 0),
        "seconds, 0 or more, or None",
        "None follows Wikimedia's limits",
    ),
    "WIKIPEDIA_READ_TIMEOUT_SECONDS": _POSITIVE,
    "WIKIPEDIA_TOTAL_TIMEOUT_SECONDS": _POSITIVE,
    "WIKIPEDIA_MAX_BYTES": _at_least(10_000),
    "WIKIPEDIA_MAXLAG_SECONDS": _at_least(1),
    "WIKIPEDIA_MAX_ATTEMPTS": _at_least(1),
    "WIKIPEDIA_MAX_WAIT_SECONDS": _POSITIVE,
    "WIKIPEDIA_OFFLINE_AFTER": _at_least(1),
    "WIKIPEDIA_SEARCHES": _at_least(1),
    "WIKIPEDIA_SEARCH_RESULTS": Rule(
        lambda v: _is_int(v) and 1 <= v <= 50, "a whole number from 1 to 50", "6 is usual"
    ),
    "WIKIPEDIA_ARTICLES": _at_least(1),
    "FRESHNESS_HOURS": Rule(
        lambda v: _is_number(v) and v >= 0, "hours, 0 or more", "0 asks the wiki every time"
    ),
    "TOP_ARTICLES": Rule(
        lambda v: _is_int(v) and 0 <= v <= 1000, "a whole number from 0 to 1000", "0 switches it off"
    ),
    "PAGEVIEWS_API_URL": Rule(
        _is_address,
        "an http address",
        "https://wikimedia.org/api/rest_v1 is Wikimedia's",
    ),
    "PASSAGE_TOKENS": _at_least(20),
    "PASSAGE_OVERLAP_TOKENS": _at_least(0),
    "EMBEDDING_MODEL_PATH": _TEXT,
    "MAX_EMBEDDING_SIZE": _at_least(16),
    "EMBED_ALL_UP_TO_PASSAGES": _at_least(0),
    "EMBEDDING_BATCH_SIZE": _at_least(1),
    "EMBEDDING_DEVICE": _TEXT,
    "CROSS_ENCODER_MODEL_PATH": Rule(
        lambda v: isinstance(v, str), 'a Hugging Face id, a folder or ""', "write it in quotes"
    ),
    "RERANK_CANDIDATES": _at_least(1),
    "RANKING": _one_of("embedding", "bm25", "hybrid"),
    "PASSAGES_PER_QUESTION": _at_least(1),
    "PASSAGES_PER_ARTICLE": _at_least(1),
    "NEAR_DUPLICATE_SHARE": Rule(
        lambda v: _is_number(v) and 0 < v <= 1, "a number above 0, at most 1", "0.6 is usual"
    ),
}

VLLM_RULES: Final[dict[str, Rule]] = {
    "tensor_parallel_size": _at_least(1),
    "pipeline_parallel_size": _at_least(1),
    "distributed_executor_backend": _one_of(None, "mp", "ray"),
    "gpu_memory_utilization": Rule(
        lambda v: _is_number(v) and 0 < v <= 1,
        "a number above 0, at most 1",
        "0.90 suits a GPU used by nothing else",
    ),
    "swap_space_gb": Rule(lambda v: _is_number(v) and v >= 0, "GiB, 0 or more", "0 switches it off"),
    "max_model_len": Rule(
        lambda v: v is None or (_is_int(v) and v >= 256),
        "tokens, 256 or more, or None",
        "None takes the model's own",
    ),
    "load_format": _one_of(*LOAD_FORMATS),
    "model_loader_extra_config": Rule(lambda v: isinstance(v, dict), "a dictionary", "write {} for none"),
    "dtype": _one_of(*DTYPES),
    "block_size": Rule(
        # vLLM's attention kernels on GPUs take multiples of 16 (v1/attention/backends, get_supported_kernel_block_sizes).
        lambda v: v is None or (_is_int(v) and v >= 16 and v & (v - 1) == 0),
        "a power of two, 16 or more, or None",
        "16 suits GPUs and CPUs",
    ),
    "enforce_eager": _BOOL,
}

# What each load format takes as model_loader_extra_config; the others take nothing here.
STREAMER_RULES: Final[dict[str, Rule]] = {
    "concurrency": _at_least(1),
    "memory_limit": _at_least(-1),
    "distributed": _BOOL,
}
SHARDED_RULES: Final[dict[str, Rule]] = {"pattern": _TEXT}
LOADER_RULES: Final[dict[str, dict[str, Rule]]] = {
    "runai_streamer": STREAMER_RULES,
    "runai_streamer_sharded": SHARDED_RULES,
    "sharded_state": SHARDED_RULES,
}

SPEC_RULES: Final[dict[str, Rule]] = {
    "path": _TEXT,
    "chat_template_kwargs": Rule(lambda v: isinstance(v, dict), "a dictionary", "write {} for none"),
    "answer_prefix": Rule(
        lambda v: isinstance(v, str) and not v.endswith(" "),
        "a text that does not end in a space",
        "drop the space",
    ),
    "max_model_len": VLLM_RULES["max_model_len"],
    "trust_remote_code": _BOOL,
}


def _judge(name: str, value: Any, rule: Rule) -> Iterator[str]:
    if not rule.check(value):
        yield f"{name} is {_shown(value)}; allowed: {rule.allowed}; {rule.advice}"


def _judge_keys(name: str, values: Mapping[Any, Any], rules: Mapping[str, Rule]) -> Iterator[str]:
    for key, value in values.items():
        if key in rules:
            yield from _judge(f"{name}[{key!r}]", value, rules[key])
        else:
            known = f"{', '.join(rules)}{_hint(key, rules) if isinstance(key, str) else ''}"
            yield f"{name} has the unknown key {_shown(key)}; allowed: {known}"


def _model_problems(
    setting: str, entries: Mapping[Any, Any], load_format: str | None = None
) -> Iterator[str]:
    for name, entry in entries.items():
        label = f"{setting}[{_shown(name)}]"
        if not isinstance(name, str) or not name.strip() or not name.isprintable():
            yield f"{label} has a key that is no name; allowed: a printable text; correct it"
        if isinstance(entry, Mapping):
            yield from _judge_keys(label, entry, SPEC_RULES)
            path = entry.get("path")
            if path is None:
                yield f"{label} has no 'path'; allowed: a Hugging Face id, a folder or s3://bucket/prefix; add it"
        else:
            path = entry
            if not isinstance(entry, str):
                yield f"{label} is {_shown(entry)}; allowed: a path or a mapping with the keys {', '.join(SPEC_RULES)}; write one"
        if isinstance(path, str) and path.strip():
            yield from _path_problems(label, path, load_format)


def _path_problems(label: str, path: str, load_format: str | None) -> Iterator[str]:
    if path.startswith("s3://"):
        if not S3_ADDRESS.fullmatch(path):
            yield f"{label} is {_shown(path)}; allowed: s3://bucket/prefix with a valid bucket name; correct the address"
        if load_format not in (None, "runai_streamer"):
            yield (
                f"{label} is {_shown(path)} but VLLM_CONFIG['load_format'] is {_shown(load_format)};"
                " allowed: 'runai_streamer' for s3:// models;"
                " set it"
            )
        yield from _package_problems(f"{label} is {_shown(path)}", "runai_model_streamer_s3", "boto3")
    elif is_local(path):
        folder = _folder(path)
        if folder is None:
            yield f"{label} is {_shown(path)}; allowed: a model folder that exists; there is no folder of that name; correct it"
        elif not (folder / "config.json").is_file():
            yield f"{label} is {_shown(path)}; allowed: a model folder; config.json is missing in it; download the model again"
    elif not HUGGING_FACE_ID.fullmatch(path):
        yield (
            f"{label} is {_shown(path)}; allowed: a Hugging Face id (owner/name), an"
            " existing folder or s3://bucket/prefix; correct it"
        )


def _vllm_problems(vllm_config: Any) -> Iterator[str]:
    if not isinstance(vllm_config, Mapping):
        yield f"VLLM_CONFIG is {_shown(vllm_config)}; allowed: a dictionary; write {{}} for vLLM's defaults"
        return
    yield from _judge_keys("VLLM_CONFIG", vllm_config, VLLM_RULES)
    loader = vllm_config.get("model_loader_extra_config") or {}
    load_format = vllm_config.get("load_format", "auto")
    if not isinstance(load_format, str) or load_format not in LOAD_FORMATS:
        load_format = None  # said already
    if isinstance(loader, Mapping) and loader and load_format in LOADER_RULES:
        yield from _judge_keys("VLLM_CONFIG['model_loader_extra_config']", loader, LOADER_RULES[load_format])
    elif isinstance(loader, Mapping) and loader and load_format is not None:
        yield (
            f"VLLM_CONFIG['model_loader_extra_config'] is {_shown(loader)} but load_format is {_shown(load_format)};"
            " allowed: only with"
            " 'runai_streamer'; write {} or change load_format"
        )
    if load_format in ("runai_streamer", "runai_streamer_sharded"):
        yield from _package_problems(f"VLLM_CONFIG['load_format'] is {load_format!r}", "runai_model_streamer")
    backend = vllm_config.get("distributed_executor_backend")
    if backend == "ray" and importlib.util.find_spec("ray") is None:
        yield (
            "VLLM_CONFIG['distributed_executor_backend'] is 'ray' but the package ray is missing; allowed: 'mp' on one node;"
            " pip install ray"
        )


def _package_problems(setting: str, *modules: str) -> Iterator[str]:
    """The parts of the Run:ai streamer that a setting needs and that are not installed."""
    if missing := [name for name in modules if importlib.util.find_spec(name) is None]:
        yield (
            f"{setting} but the package {missing[0].replace('_', '-')} is missing; allowed: only with it;"
            " pip install 'runai-model-streamer[s3]'"
        )


def _retrieval_problems(values: Mapping[str, Any]) -> Iterator[str]:
    size, overlap, embedded = (
        values[name] for name in ("PASSAGE_TOKENS", "PASSAGE_OVERLAP_TOKENS", "MAX_EMBEDDING_SIZE")
    )
    if _is_int(size) and _is_int(overlap) and overlap >= size > 0:
        yield f"PASSAGE_OVERLAP_TOKENS is {overlap!r}; allowed: less than PASSAGE_TOKENS ({size}); a fifth of it is usual"
    if _is_int(size) and _is_int(embedded) and size > embedded:
        yield (
            f"PASSAGE_TOKENS is {size!r}; allowed: at most MAX_EMBEDDING_SIZE"
            f" ({embedded}); the rest would not be embedded; lower it"
        )
    for name in ("EMBEDDING_MODEL_PATH", "CROSS_ENCODER_MODEL_PATH"):
        path = values[name]
        if not isinstance(path, str) or not path.strip():
            continue
        if (is_local(path) or path.count("/") > 1) and _folder(path) is None:
            yield (
                f"{name} is {_shown(path)}; allowed: a Hugging Face id or a folder that exists; there is no folder of that name;"
                " correct the path"
            )


def config_problems(settings: Mapping[str, Any] | None = None) -> list[str]:
    """Every problem in ``settings`` (default: this module's values), one line each; empty when all is well."""
    values = globals() if settings is None else {**globals(), **settings}
    vllm_config = values["VLLM_CONFIG"]
    load_format = vllm_config.get("load_format", "auto") if isinstance(vllm_config, Mapping) else None
    problems: list[str] = []
    for name, rule in SETTING_RULES.items():
        problems += _judge(name, values[name], rule)
    problems += _retrieval_problems(values)
    problems += _vllm_problems(vllm_config)
    for setting, default, form in (
        ("FORECAST_MODEL_PATHS_VLLM", "DEFAULT_MODEL_VLLM", load_format),
        ("FORECAST_MODEL_PATHS", "DEFAULT_MODEL", None),
    ):
        entries = values[setting]
        if not isinstance(entries, Mapping) or not entries:
            problems.append(
                f"{setting} is {_shown(entries)}; allowed: a dictionary with at least one model; add one"
            )
            continue
        problems += _model_problems(setting, entries, form)
        chosen = values[default]
        keys = [name for name in entries if isinstance(name, str) and name.isprintable()]
        if chosen not in keys:
            problems.append(
                f"{default} is {_shown(chosen)}; allowed: a key of {setting} ({', '.join(keys)[:1000]});"
                f" choose one{_hint(chosen, keys) if isinstance(chosen, str) else ''}"
            )
    return problems


def validate_config(settings: Mapping[str, Any] | None = None) -> None:
    """Judge every setting without importing anything heavy.

    Args:
        settings: values that replace this module's, by name; for tests and for the command line.

    Raises:
        ConfigError: with every problem found, not only the first.
    """
    problems = config_problems(settings)
    if problems:
        raise ConfigError(problems)
