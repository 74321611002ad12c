"""Every setting of Forecaster, as plain Python values to edit.

Only the standard library is imported here. What each setting may be, and what is said about a wrong
one, is in preflight/rules.py and preflight/settings.py.
"""

from __future__ import annotations

from typing import Any

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

# Weights on S3 are looked at before an engine starts. Seconds until a connection stands, seconds without a
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
# Seed of every random choice (reasoning samples, folds, simulated outcomes, order of a backtest).
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
# A 95 % interval is given from this many clusters of related questions on, and where no few clusters hold most questions:
# from this many degrees of freedom, counted as if the questions of a cluster were one. From there on intervals cover 93-97 %
# of simulated scores and differences; with 20 clusters some cover 92 %, with 10 some 84 % (docs/intervals.md).
MIN_INTERVAL_CLUSTERS = 30
MIN_INTERVAL_DF = 12
# Below this many questions a table shows no AUC and no decomposition, and says that its averages describe these questions
# only.
MIN_CLAIM_QUESTIONS = 30
# Simulated sets of outcomes behind "a calibrated forecaster would show": 1000 fix its 95 % bound to about 0.005.
CALIBRATION_SIMULATIONS = 1000
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
