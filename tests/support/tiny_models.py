"""Tiny tokenizers and random models: one token per integer as in Llama 3, and GPT-2-like merges."""

from __future__ import annotations

from forecaster import QUESTIONS

END = "<|endoftext|>"
WINDOW = 1024
# A Llama of 2 layers, its random weights large enough that its answers are far from uniform.
TINY = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": WINDOW,
    "initializer_range": 0.3,
}


def byte_level(model):
    from tokenizers import Tokenizer, decoders, pre_tokenizers

    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def merged_tokenizer():
    """Byte-level BPE trained on the questions and on some numbers: some integers are one token, others two, as in GPT-2."""
    from tokenizers import models, pre_tokenizers, trainers

    tokenizer = byte_level(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    frequent = [str(n) for n in range(0, 101, 7)] + [f" {n}" for n in range(0, 101, 10)]
    tokenizer.train_from_iterator([*(q.text for q in QUESTIONS), *frequent * 50], trainer)
    return tokenizer


def single_token_tokenizer():
    """The byte alphabet, and merges that give each of 0-100 and no other number a token, as in Llama 3."""
    from tokenizers import models, pre_tokenizers

    vocabulary = {END: 0}
    for character in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[character] = len(vocabulary)
    merges = [(str(n)[:-1], str(n)[-1]) for n in range(10, 101)]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    tokenizer = byte_level(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.add_special_tokens([END])
    return tokenizer


def save_model(folder, tokenizer, *, max_shard_size="50GB", **shape):
    """Write a random Llama with this tokenizer; ``shape`` overrides the tiny one."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(7)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END)
    settings = LlamaConfig(
        vocab_size=len(wrapped), bos_token_id=0, eos_token_id=0, **{**TINY, **shape}
    )
    LlamaForCausalLM(settings).save_pretrained(folder, max_shard_size=max_shard_size)
    wrapped.save_pretrained(folder)
