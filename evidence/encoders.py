"""Load the embedding model and the cross-encoder of sentence-transformers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from evidence.failures import first_line

Vectors = npt.NDArray[np.float32]

# Weights in PyTorch's format are pickles, which may hold a program.
SAFETENSORS_ONLY: Final = {"use_safetensors": True}


class ModelError(Exception):
    """A model cannot be loaded or has failed; the message is one line."""


class Embedder:
    """A sentence-transformers model, loaded at construction.

    Args:
        path: Hugging Face id or folder.
        max_tokens: longer texts are cut off; never more than the model's own limit.
        batch_size: texts per forward pass.
        device: torch device; "cpu" leaves a GPU to the forecasting models.

    Raises:
        ModelError: the model or sentence-transformers is missing, or the files are damaged.
    """

    def __init__(
        self, path: str, *, max_tokens: int, batch_size: int = 32, device: str = "cpu"
    ) -> None:
        with _loading(f"embedding model {path!r}"):
            import torch
            from sentence_transformers import SentenceTransformer

            # What a checkpoint lacks (often the pooler, which nothing reads) is drawn at random:
            # alike in every process, or the weights would have another name in each and
            # everything be embedded again.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                self.model = SentenceTransformer(
                    _place(path), device=device, model_kwargs=SAFETENSORS_ONLY
                )
        self.model.max_seq_length = min(max_tokens, self.model.max_seq_length or max_tokens)
        self.batch_size = batch_size
        # The weights are the identity: a folder may be replaced, a path differ between machines.
        self.name = f"{Path(path).name}#{_weights_digest(self.model)}/{self.model.max_seq_length}"

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return unit vectors, float32 (n, dimension)."""
        vectors = self.model.encode(
            list(texts),
            batch_size=self.batch_size,
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        return np.asarray(vectors, dtype=np.float32)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Count each text's tokens, without special tokens."""
        if not texts:
            return []
        encoded = self.model.tokenizer(
            list(texts), add_special_tokens=False, truncation=False, padding=False, verbose=False,
            return_attention_mask=False, return_token_type_ids=False,
        )  # fmt: skip
        return [len(ids) for ids in encoded["input_ids"]]


class Reranker:
    """A sentence-transformers cross-encoder; arguments and errors as ``Embedder``.

    A checkpoint without a trained output layer, as an embedding model is, is refused: libraries
    fill in random weights, which would order passages by chance, another way in each process.
    """

    def __init__(
        self, path: str, *, max_tokens: int = 512, batch_size: int = 32, device: str = "cpu"
    ) -> None:
        self.title = f"cross-encoder {path!r}"
        with _loading(self.title):
            from sentence_transformers import CrossEncoder

            self.model = CrossEncoder(_place(path), device=device, model_kwargs=SAFETENSORS_ONLY)
            absent = _absent_weights(self.model)
        if absent:
            names = ", ".join(absent[:3])
            raise ModelError(f"{self.title} lacks the weights {names} (is it an embedding model?)")
        if self.model.num_labels != 1:
            raise ModelError(
                f"{self.title} has {self.model.num_labels} outputs, a reranker has one"
            )
        self.model.max_seq_length = min(max_tokens, self.model.max_seq_length or max_tokens)
        self.batch_size = batch_size

    def score(self, query: str, texts: Sequence[str]) -> Vectors:
        """Return the relevance of each text to the query, float32 (n,).

        Raises:
            ModelError: the model fails or gives no numbers.
        """
        try:
            found = self.model.predict(
                [(query, text) for text in texts],
                batch_size=self.batch_size,
                show_progress_bar=False,
            )
        except (RuntimeError, ValueError, IndexError) as error:  # torch: out of memory, shapes
            raise ModelError(f"{self.title} failed ({first_line(error)})") from error
        scores = np.asarray(found, dtype=np.float32).reshape(len(texts))
        if not np.isfinite(scores).all():
            raise ModelError(f"{self.title} failed (a score is not a finite number)")
        return scores


@contextmanager
def _loading(model: str) -> Iterator[None]:
    """Load without the libraries' progress bars; every error becomes a ModelError."""
    try:
        with suppress(ImportError):
            from transformers.utils import logging

            logging.disable_progress_bar()
            logging.set_verbosity_error()
        yield
    except Exception as error:  # hub, file and import errors of many kinds
        raise ModelError(f"{model} cannot be loaded ({first_line(error)})") from error


def _place(path: str) -> str:
    """Return a folder's path with "~" expanded, or a Hugging Face id as it is."""
    folder = Path(path).expanduser()
    return str(folder) if folder.is_dir() else path


def _absent_weights(model: Any) -> list[str]:
    """Name the tensors that a cross-encoder's checkpoint lacks."""
    from transformers import PreTrainedModel

    absent: set[str] = set()
    for module in model.modules():
        if isinstance(module, PreTrainedModel) and module.name_or_path:
            _, report = type(module).from_pretrained(
                module.name_or_path, output_loading_info=True, **SAFETENSORS_ONLY
            )
            absent |= set(report["missing_keys"])
    return sorted(absent)


def _weights_digest(model: Any) -> str:
    """Return 12 hexadecimal digits of the SHA-256 of all tensors, by name."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:12]
