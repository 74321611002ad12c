"""A Llama of a few thousand weights with random values, saved as Hugging Face saves a model, for tests of loading."""

from __future__ import annotations

import shutil
from pathlib import Path


def save_small_llama(
    folder: Path, *, tokenizer: Path | None = None, vocabulary: int = 320, shards: int = 2
) -> Path:
    """Save a two-layer Llama into ``folder`` as ``shards`` shards with an index; with the tokenizer of another folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(5)
    settings = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        dtype="float32",
    )
    model = LlamaForCausalLM(settings)
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    biggest = max(p.numel() * p.element_size() for p in model.parameters())
    model.save_pretrained(folder, max_shard_size=max(size // shards + 1, biggest + 1))
    if tokenizer is None:
        (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    else:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(tokenizer / name, folder / name)
    return folder
