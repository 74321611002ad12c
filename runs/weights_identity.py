"""Identify a model's weights without loading them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final

import config
from evaluation.run_differences import UNKNOWN_WEIGHTS
from preflight.model_entries import HUGGING_FACE_ID
from preflight.model_folders import is_local

# Blocks read of each weights file, evenly spaced, and the size of each in bytes.
SAMPLED_BLOCKS: Final = 64
BLOCK_BYTES: Final = 65_536
# Larger files are weights under whatever name; smaller ones (config, tokenizer) are read whole.
WHOLE_FILE_BYTES: Final = 64_000_000


def weights_identity(path: str) -> str:
    """Return what can be known of a model's weights from its path.

    A local folder: ``folder sha256:…`` over name, size and content of each file; safetensors and
    other large files count with their header and ``SAMPLED_BLOCKS`` blocks (docs/runs.md says what
    that can miss). A Hugging Face id: ``revision …``, the commit in the local cache. An S3 address:
    ``objects sha256:…`` over name, size and ETag of each object. Otherwise ``UNKNOWN_WEIGHTS``.
    """
    if path.startswith("s3://"):
        return _objects(path)
    if is_local(path):
        try:
            return f"folder sha256:{_folder_digest(Path(path).expanduser())}"
        except OSError:
            return UNKNOWN_WEIGHTS
    if HUGGING_FACE_ID.fullmatch(path):
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(path, "config.json")
        if isinstance(found, str):
            return f"revision {Path(found).parent.name}"
    return UNKNOWN_WEIGHTS


def _objects(address: str) -> str:
    from preflight.store_errors import StoreError
    from preflight.stores import Limits, S3Store

    try:
        listing = json.dumps(S3Store(address, Limits.of(config)).listing(), sort_keys=True)
    except (ImportError, StoreError):
        return UNKNOWN_WEIGHTS
    return f"objects sha256:{hashlib.sha256(listing.encode()).hexdigest()[:32]}"


def _folder_digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if not file.is_file() or file.name.startswith("."):
            continue
        size = file.stat().st_size
        digest.update(f"{file.name}\0{size}\0".encode())
        with file.open("rb") as stream:
            if size <= WHOLE_FILE_BYTES and file.suffix != ".safetensors":
                digest.update(hashlib.file_digest(stream, "sha256").digest())
                continue
            # The first 8 bytes give the header's length: https://huggingface.co/docs/safetensors
            header = int.from_bytes(stream.read(8), "little")
            digest.update(stream.read(min(header, WHOLE_FILE_BYTES)))
            for number in range(SAMPLED_BLOCKS):
                stream.seek(max(0, size - BLOCK_BYTES) * number // (SAMPLED_BLOCKS - 1))
                digest.update(stream.read(BLOCK_BYTES))
    return digest.hexdigest()[:32]
