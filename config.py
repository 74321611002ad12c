"""Hold every setting of Forecaster: value, rule and reason.

Your own values belong in forecaster.toml or in FORECASTER_ variables, where an update of this
file does not touch them (docs/settings.md, which also has the measurements behind some defaults).
"""

import sys
from typing import Annotated, Any

from preflight.rules import (
    ANY_TEXT,
    API_ADDRESS,
    BLOCK_SIZE,
    BOOL,
    CONTACT,
    DICTIONARY,
    DTYPE,
    LOAD_FORMAT,
    MODEL_PATH,
    MODELS,
    POSITIVE,
    RISING_DAYS,
    TEXT,
    WEIGHT,
    WINDOW,
    ConfigError,
    KeyOf,
    Limit,
    at_least,
    keys,
    number,
    one_of,
    share,
)

# --- Models ---------------------------------------------------------------------------------------
# An entry is a path or a mapping with the keys of ``ModelSpec``. A path is a Hugging Face id, a
# local folder, a server's address, or s3://bucket/prefix (load_format "runai_streamer"). The
# defaults, each for one 80 GB GPU, are three families: they err less alike than sizes of one.
FORECAST_MODEL_PATHS_VLLM: Annotated[dict[str, Any], MODELS] = {
    # Thinking is switched off where the template has a switch: scoring needs the number next.
    "qwen3-14b": {"path": "Qwen/Qwen3-14B", "chat_template_kwargs": {"enable_thinking": False}},
    "phi-4": "microsoft/phi-4",
    "mistral-nemo": "mistralai/Mistral-Nemo-Instruct-2407",
}
# Open-weight models that think before they answer; asked only when --models names them. Licences,
# cut-offs and sources: docs/reasoning.md. A text as "think" is a switch for the system prompt;
# forecasting fine-tunes learnt to answer with a share of 1, so their prefix says percent.
_PERCENT = {"think": True, "answer_prefix": "Probability in percent:"}
OPEN_FORECASTERS: Annotated[dict[str, Any], MODELS] = {
    "future-as-label-32b": {"path": "LightningRodLabs/future-as-label-paper-step160"} | _PERCENT,
    "openforecaster-8b": {"path": "nikhilchandak/OpenForecaster-8B"} | _PERCENT,
    "gpt-oss-20b": {"path": "openai/gpt-oss-20b", "think": True},
    "gpt-oss-120b": {"path": "openai/gpt-oss-120b", "think": True},
    "qwen3-14b-thinking": {"path": "Qwen/Qwen3-14B", "think": True},
    "qwen3-4b-thinking-2507": {"path": "Qwen/Qwen3-4B-Thinking-2507", "think": True},
    "qwen3-30b-thinking-2507": {"path": "Qwen/Qwen3-30B-A3B-Thinking-2507", "think": True},
    "qwq-32b": {"path": "Qwen/QwQ-32B", "think": True},
    "r1-distill-qwen-14b": {"path": "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B", "think": True},
    "r1-distill-llama-8b": {"path": "deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "think": True},
    "nemotron-nano-9b-v2": {"path": "nvidia/NVIDIA-Nemotron-Nano-9B-v2", "think": True},
    "nemotron-nano-8b-v1": {
        "path": "nvidia/Llama-3.1-Nemotron-Nano-8B-v1", "think": "detailed thinking on"
    },
}  # fmt: skip
# The model of ``agents_vllm.Agent()`` where none is given.
DEFAULT_MODEL_VLLM: Annotated[str, KeyOf("FORECAST_MODEL_PATHS_VLLM")] = "qwen3-14b"
# Models of the legacy agent on transformers (agents.py), the oracle of the tests; same form.
FORECAST_MODEL_PATHS: Annotated[dict[str, Any], MODELS] = {
    "smollm2-135m": "HuggingFaceTB/SmolLM2-135M-Instruct"
}
# The model of ``agents.Agent()`` where none is given.
DEFAULT_MODEL: Annotated[str, KeyOf("FORECAST_MODEL_PATHS")] = "smollm2-135m"
# With --logic, the model that reasons before the number: a key of FORECAST_MODEL_PATHS_VLLM or a
# path.
DEFAULT_LOGIC_MODEL_PATH: Annotated[str, TEXT] = "qwen3-14b"
# Reasonings per question and chunk of evidence. The forecast is the mean over them; three show
# whether they agree.
LOGIC_SAMPLES: Annotated[int, at_least(1)] = 3
# Tokens of one reasoning; a longer one is cut off and marked.
LOGIC_MAX_TOKENS: Annotated[int, at_least(16)] = 768
# Sampling temperature of the reasonings; 0 makes them all alike. Makers of the default models
# advise 0.7.
LOGIC_TEMPERATURE: Annotated[
    float, number(0, 2, "a number from 0 to 2", "0.7 is a usual value")
] = 0.7
# Thoughts per question, chunk of evidence and set of notes of a model with ``think``. The forecast
# is the mean of the distributions read after each; three show whether they agree.
THINK_SAMPLES: Annotated[int, at_least(1)] = 3
# Tokens of one thought. A longer one is closed there as the model would close it, and marked; a
# shorter one than the minimum may not end. 4096 leaves 12,000 of the default window to the prompt.
THINK_MAX_TOKENS: Annotated[int, at_least(16)] = 4096
THINK_MIN_TOKENS: Annotated[
    int, at_least(0), Limit("at most", "THINK_MAX_TOKENS", "0 lets a thought end where it likes")
] = 0
# Sampling of thoughts: what the makers of Qwen3, QwQ, the R1 distills and Nemotron advise; greedy
# thoughts tend to loop. gpt-oss is meant to be sampled at 1.0 and 1.0.
THINK_TEMPERATURE: Annotated[
    float, number(0, 2, "a number from 0 to 2", "0.6 is a usual value")
] = 0.6
THINK_TOP_P: Annotated[float, share("0.95 is a usual value", zero=False)] = 0.95

# --- vLLM engine ----------------------------------------------------------------------------------
VLLM_CONFIG: Annotated[
    dict[str, Any],
    keys(
        tensor_parallel_size=at_least(1),
        pipeline_parallel_size=at_least(1),
        distributed_executor_backend=one_of(None, "mp", "ray"),
        gpu_memory_utilization=share("0.90 suits a GPU used by nothing else", zero=False),
        swap_space_gb=number(0, None, "GiB, 0 or more", "0 switches it off"),
        max_model_len=WINDOW,
        load_format=LOAD_FORMAT,
        model_loader_extra_config=DICTIONARY,
        dtype=DTYPE,
        block_size=BLOCK_SIZE,
        enforce_eager=BOOL,
    ),
] = {
    # GPUs that share every layer: 1 on a single GPU, 8 on a p4d/p5 node.
    "tensor_parallel_size": 1,
    # Nodes, or groups of GPUs, that share the stack of layers.
    "pipeline_parallel_size": 1,
    # None lets vLLM choose; "mp" is one node, "ray" several (needs the package ray).
    "distributed_executor_backend": None,
    # Share of each GPU's memory for weights and KV cache; the rest is for the CUDA context.
    "gpu_memory_utilization": 0.90,
    # GiB of main memory for KV cache blocks that leave the GPU.
    "swap_space_gb": 0,
    # Tokens of prompt and answer; None takes the model's own limit. 16k holds the default evidence
    # and reasoning, and leaves KV cache for many questions at once.
    "max_model_len": 16384,
    # "runai_streamer" streams from S3 or a fast disk; "dummy" makes random weights, for benchmarks.
    # Weights are read from safetensors only, never unpickled.
    "load_format": "auto",
    # Run:ai streamer: {"concurrency": 16, "memory_limit": 5368709120, "distributed": True};
    # sharded formats: {"pattern": …}.
    "model_loader_extra_config": {},
    # "auto" follows the checkpoint, on a CPU the processor as well (docs/engines.md); "float32" for
    # exact comparisons on a CPU.
    "dtype": "auto",
    # Tokens per KV cache block. Prompts share whole blocks, so each later request for a forecast
    # computes up to one block again, and that costs more than the handling of small blocks
    # (docs/engines.md). A CPU takes 32 at least.
    "block_size": 16,
    # True skips CUDA graph capture: slower decoding, faster start. Scoring decodes one token only.
    "enforce_eager": False,
}

# --- Checkpoints and loading ----------------------------------------------------------------------
# Seconds to connect to S3, seconds without a byte, and tries of one request: a silent endpoint is
# given up after about 3 x 10 s.
S3_CONNECT_TIMEOUT_SECONDS: Annotated[float, POSITIVE] = 5
S3_READ_TIMEOUT_SECONDS: Annotated[float, POSITIVE] = 10
S3_MAX_ATTEMPTS: Annotated[int, at_least(1)] = 3
# Seconds to inspect one checkpoint: a listing and a small read per shard, a few seconds for 160.
CHECKPOINT_TIMEOUT_SECONDS: Annotated[float, POSITIVE] = 120
# A load is ended after so many seconds in which the engine's processes neither moved a MiB nor used
# a twentieth of a core. Waiting for other nodes looks the same, so "ray" obeys only the next limit.
LOAD_STALL_SECONDS: Annotated[float, POSITIVE] = 180
# Seconds of a whole load. The largest models take minutes from S3, and more to compile.
LOAD_TIMEOUT_SECONDS: Annotated[float, POSITIVE] = 3600

# --- Model servers --------------------------------------------------------------------------------
# For entries whose path is an address: tries of one request, the longest Retry-After in seconds
# that is waited for, and seconds without a byte (a batch of long prompts takes minutes).
SERVER_MAX_ATTEMPTS: Annotated[int, at_least(1)] = 4
SERVER_MAX_WAIT_SECONDS: Annotated[float, POSITIVE] = 60
SERVER_READ_TIMEOUT_SECONDS: Annotated[float, POSITIVE] = 600
# Largest residual_mass (0-1) of a forecast from a server that only tells its likeliest tokens; a
# wider one is refused. docs/servers.md has the widths measured.
SERVER_MAX_RESIDUAL: Annotated[float, share()] = 0.05

# --- Scoring --------------------------------------------------------------------------------------
# Total-variation error (0-1) at which scoring asks for no more; 0 is exhaustive. 0.01 is less than
# one reworded sentence changes. What is left is the residual_mass.
SCORING_TOLERANCE: Annotated[float, share()] = 0.01
# Trie nodes whose log-probabilities are kept for a forecast while its model is loaded, in case its
# prompt is asked again; a larger trie is read anew. The smallest has 102: the root and one for each
# number.
MAX_LOGPROB_CACHE: Annotated[int, at_least(102)] = 256
# A forecast with less probability on the numbers 0-100 is marked low-confidence: the model wanted
# to say something else.
MIN_CAPTURED_MASS: Annotated[float, share()] = 0.5
# Prompts in the engine at once, so what a killed run loses at most. 64 keep a large GPU busy with
# short prompts; long ones are fewer, by the engine's queue and its KV cache (docs/engines.md).
SCORING_WAVE: Annotated[int, at_least(1)] = 64
# Reasonings or thoughts written together; vLLM decodes 256 side by side by default.
LOGIC_WAVE: Annotated[int, at_least(1)] = 256
# Seed of every random choice: reasoning samples, folds, simulated outcomes, order of a backtest.
SEED: Annotated[int, at_least(0)] = 20261123
# "entropy" weighs by the bits of information each agent commits to. None beats the plain mean on
# resolved questions (benchmarks/pools.py), and the mean's certificate is proven.
POOL_METHOD: Annotated[str, one_of("mean", "entropy", "median", "geometric", "extremised")] = "mean"
# --- Assistance -----------------------------------------------------------------------------------
# Whether the models are shown a question's market price; with it off and MARKET_WEIGHT = 0 they are
# independent of the market (docs/quality.md).
SHOW_MARKET: Annotated[bool, BOOL] = True
# Weight of the price beside the models' 1; None takes what the record taught, else the benchmark's.
MARKET_WEIGHT: Annotated[float | None, WEIGHT] = None
# Whether the models are shown how many related questions ended yes.
SHOW_BASE_RATE: Annotated[bool, BOOL] = True
# Weight of a base rate of very many related questions; of few it counts less.
BASE_RATE_WEIGHT: Annotated[float | None, WEIGHT] = None
# Wordings of the request that are averaged; the second asks for no. Each costs the same.
SCORING_WORDINGS: Annotated[int, at_least(1, 4, "3 has the negation and another wording")] = 1

# --- Paths ----------------------------------------------------------------------------------------
DATABASE_PATH: Annotated[str, TEXT] = "database.db"
PLOTS_DIR: Annotated[str, TEXT] = "plots"
# Folder of the models --demo prepares; the variable FORECASTER_CACHE wins over it.
CACHE_DIR: Annotated[str, TEXT] = "~/.cache/forecaster"

# --- Evidence in a prompt -------------------------------------------------------------------------
# Tokens of evidence in one prompt, by the forecast model's tokenizer: about ten passages.
CONTEXT_TOKENS: Annotated[int, at_least(0)] = 3000
# Prompts per question, each with its share of the passages; their forecasts are pooled.
EVIDENCE_CHUNKS: Annotated[int, at_least(1)] = 1

# --- Wiki -----------------------------------------------------------------------------------------
# The Action API of any MediaWiki; "" searches none (stored texts and documents only).
WIKIPEDIA_API_URL: Annotated[str, API_ADDRESS] = "https://en.wikipedia.org/w/api.php"
# Your mail address or page. Wikimedia asks for it in the User-Agent and allows 200 requests a
# minute with it, 10 without.
WIKIPEDIA_CONTACT: Annotated[str, CONTACT] = ""
# Seconds between two requests; None follows these limits (0.3 with a contact, 6 without).
WIKIPEDIA_MIN_INTERVAL_SECONDS: Annotated[
    float | None,
    number(0, None, "seconds, 0 or more, or None", "None follows Wikimedia's limits", none=True),
] = None
# Seconds without a byte before a request is given up, and seconds for one whole answer.
WIKIPEDIA_READ_TIMEOUT_SECONDS: Annotated[float, POSITIVE] = 20
WIKIPEDIA_TOTAL_TIMEOUT_SECONDS: Annotated[float, POSITIVE] = 60
# Bytes of one answer, decompressed. The longest Wikipedia articles have 0.6 MB of wikitext.
WIKIPEDIA_MAX_BYTES: Annotated[int, at_least(10_000)] = 8_000_000
# Database lag in seconds above which the wiki should refuse us; 5 is Wikimedia's advice.
WIKIPEDIA_MAXLAG_SECONDS: Annotated[int, at_least(1)] = 5
# Tries of one request, and the longest Retry-After in seconds that is waited for.
WIKIPEDIA_MAX_ATTEMPTS: Annotated[int, at_least(1)] = 4
WIKIPEDIA_MAX_WAIT_SECONDS: Annotated[float, POSITIVE] = 60
# Requests in a row that fail all their tries before the run goes on without the wiki.
WIKIPEDIA_OFFLINE_AFTER: Annotated[int, at_least(1)] = 2
# Searches per question, results read per search, and articles fetched per question. Eight articles
# are about 300 passages, far more than a prompt holds; the ranking chooses.
WIKIPEDIA_SEARCHES: Annotated[int, at_least(1)] = 4
WIKIPEDIA_SEARCH_RESULTS: Annotated[int, at_least(1, 50, "6 is usual")] = 6
WIKIPEDIA_ARTICLES: Annotated[int, at_least(1)] = 8
# Hours during which a stored article counts as current; then a small request asks for changes.
FRESHNESS_HOURS: Annotated[
    float, number(0, None, "hours, 0 or more", "0 asks the wiki every time")
] = 24

# --- Passages and ranking -------------------------------------------------------------------------
# Size and overlap of passages in tokens of the embedding model. With title and section, 200 stay
# within MiniLM's 256. A change affects only revisions stored from then on.
PASSAGE_TOKENS: Annotated[
    int,
    at_least(20),
    Limit("at most", "MAX_EMBEDDING_SIZE", "the rest would not be embedded; lower it"),
] = 200
PASSAGE_OVERLAP_TOKENS: Annotated[
    int, at_least(0), Limit("less than", "PASSAGE_TOKENS", "a fifth of it is usual")
] = 40
# sentence-transformers model: Hugging Face id or folder. 23M parameters, fast on a CPU.
EMBEDDING_MODEL_PATH: Annotated[str, TEXT, MODEL_PATH] = "sentence-transformers/all-MiniLM-L6-v2"
# Tokens of a text that are embedded, title and section included; a longer one is cut off.
MAX_EMBEDDING_SIZE: Annotated[int, at_least(16)] = 256
# Passages up to which all are embedded; in a larger store only those that share words with a
# question, which finds less. 20,000 take 8 minutes on two CPU cores, seconds on a GPU.
EMBED_ALL_UP_TO_PASSAGES: Annotated[int, at_least(0)] = 20_000
# Texts embedded at once, and where. "cpu" leaves the whole GPU to vLLM.
EMBEDDING_BATCH_SIZE: Annotated[int, at_least(1)] = 32
EMBEDDING_DEVICE: Annotated[str, TEXT] = "cpu"
# Cross-encoder that reorders the best candidates: Hugging Face id or folder, "" for none. One that
# cannot be loaded is one warning, and the first ranking's order stays.
CROSS_ENCODER_MODEL_PATH: Annotated[str, ANY_TEXT, MODEL_PATH] = ""
RERANK_CANDIDATES: Annotated[int, at_least(1)] = 50
# First ranking: cosine, words, or both by reciprocal rank. The embedding alone finds most
# (benchmarks/retrieval_quality.py); "hybrid" is better where questions repeat the texts' terms.
RANKING: Annotated[str, one_of("embedding", "bm25", "hybrid")] = "embedding"
# Passages given to a question, best first, and how many of them one article may fill.
PASSAGES_PER_QUESTION: Annotated[int, at_least(1)] = 20
PASSAGES_PER_ARTICLE: Annotated[int, at_least(1)] = 6
# Least cosine with the question, 0 for none: 0.2 loses 1 of 161 right passages and 79 % of others.
MIN_PASSAGE_SIMILARITY: Annotated[float, share("0.2 is usual")] = 0.2
# Share of the shorter passage's four-word runs in another that makes it a near-duplicate.
NEAR_DUPLICATE_SHARE: Annotated[float, share("0.6 is usual", zero=False)] = 0.6

# --- Analysis -------------------------------------------------------------------------------------
# Questions with figures of their own in one call; a figure takes about 0.15 s.
MAX_PLOTTED_QUESTIONS: Annotated[int, at_least(1)] = 200
# Clusters of related questions, and degrees of freedom, from which a 95 % interval is given. With
# fewer, intervals cover too little (docs/intervals.md).
MIN_INTERVAL_CLUSTERS: Annotated[int, at_least(2)] = 30
MIN_INTERVAL_DF: Annotated[float, number(1, None, "a number, 1 or more", "12 is usual")] = 12
# Questions from which a table shows AUC and decomposition, and claims more than these questions.
MIN_CLAIM_QUESTIONS: Annotated[int, at_least(1)] = 30
# Simulated sets of outcomes of a calibrated forecaster; 1000 fix the 95 % bound to about 0.005.
CALIBRATION_SIMULATIONS: Annotated[int, at_least(100)] = 1000
# Upper ends of the horizons scored apart, in days from forecast to resolution.
HORIZON_DAYS: Annotated[tuple[int, ...], RISING_DAYS] = (7, 30, 90, 365)
# Resolved questions, clusters, and questions of each outcome that a calibration needs. A curve of
# two parameters settles at a few hundred points (Niculescu-Mizil & Caruana 2005).
CALIBRATION_MIN_QUESTIONS: Annotated[int, at_least(10)] = 100
CALIBRATION_MIN_CLUSTERS: Annotated[int, at_least(2)] = 50
CALIBRATION_MIN_EACH_OUTCOME: Annotated[int, at_least(1)] = 20
# Folds of the cross-validation by cluster, for calibrations and learnt pool weights.
CROSS_VALIDATION_FOLDS: Annotated[int, at_least(2)] = 5


def validate_config() -> None:
    """Judge every setting, without importing anything heavy.

    Raises:
        ConfigError: with one line for each problem.
    """
    from preflight.settings import setting_problems

    if problems := setting_problems(sys.modules[__name__]):
        raise ConfigError(problems)
