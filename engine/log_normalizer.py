"""Make log-probabilities of full float32 accuracy in vLLM's CPU engine.

torch's ``log_softmax`` on a CPU adds up a vocabulary's exponentials in one float32 sum: over
150,000 tokens the result is off by up to 1e-5, the same for every token of a row but different from
row to row, which a product of probabilities along a path does not forgive. ``logsumexp`` sums
pairwise and stays within rounding.

The engine imports this module by its name, in its own process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from vllm.v1.sample.logits_processor import LogitsProcessor

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.v1.sample.logits_processor import BatchUpdate


class LogNormalizer(LogitsProcessor):
    """Subtract each row's log-sum-exp; used with ``logprobs_mode="processed_logits"``.

    Neither greedy choice nor sampling changes: a row is shifted by a constant.
    """

    def __init__(self, vllm_config: VllmConfig, device: torch.device, is_pin_memory: bool) -> None:
        pass

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Return log-probabilities: float32 [requests, vocabulary] in, the same shape out."""
        return logits - torch.logsumexp(logits, dim=-1, keepdim=True)

    def is_argmax_invariant(self) -> bool:
        """Return False, although it is: vLLM skips the others for greedy requests."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Ignore it: nothing depends on the batch."""

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Accept any request."""
