"""``Agent`` on Hugging Face transformers: the legacy interface, plain and slow.

Kept as the oracle: float32 teacher forcing of every node of the number trie, with the whole
vocabulary's softmax in float64, and none of the bounds, budgets and shortcuts of
``scoring/scorer.py``. The vLLM agent is tested against ``Agent.exact_distribution``.
"""

from __future__ import annotations

import copy
import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import config
from preflight.model_entries import ModelSpec, model_spec
from preflight.model_folders import is_local
from scoring.agent import BaseAgent
from scoring.distribution import SUPPORT_SIZE, Distribution
from scoring.number_trie import TokenPath
from scoring.scorer import Reply, Request
from scoring.tasks import AgentError, ForecastTask

# Nodes run side by side: each needs its own copy of the prompt's keys and values.
BATCH = 16


class Agent(BaseAgent):
    """A forecast model on transformers, on the CPU, in float32.

    Args:
        spec: the model, a local folder or a Hugging Face id; default ``config.DEFAULT_MODEL``.
        tolerance: replaces ``config.SCORING_TOLERANCE``.
        model, tokenizer: use these in place of loading ``spec.path``; for tests.
    """

    # It answers one request after the other: no prompt waits for those behind it.
    step_tokens = 1

    def __init__(
        self,
        spec: ModelSpec | None = None,
        *,
        tolerance: float | None = None,
        model: Any = None,
        tokenizer: Any = None,
    ) -> None:
        if spec is None:
            table = config.FORECAST_MODEL_PATHS
            spec = model_spec(config.DEFAULT_MODEL, table, "FORECAST_MODEL_PATHS")
        super().__init__(spec, tolerance=tolerance)
        self.model = model
        self.tokenizer = tokenizer

    def load(self) -> None:
        """Load tokenizer and weights; raises ``AgentError``."""
        if self.model is None:
            path = (
                str(Path(self.spec.path).expanduser())
                if is_local(self.spec.path)
                else self.spec.path
            )
            try:
                import torch
                from transformers import AutoModelForCausalLM, AutoTokenizer

                self.tokenizer = AutoTokenizer.from_pretrained(
                    path, trust_remote_code=self.spec.trust_remote_code
                )
                self.model = AutoModelForCausalLM.from_pretrained(
                    path,
                    dtype=torch.float32,
                    trust_remote_code=self.spec.trust_remote_code,
                    use_safetensors=True,
                )
            except (ImportError, OSError, ValueError) as error:
                raise AgentError(
                    f"{self.name} ({self.spec.path}) did not load: {str(error).splitlines()[0]}"
                ) from error
        self.model.eval()
        window = getattr(self.model.config, "max_position_embeddings", 0)
        self.max_model_len = min(filter(None, (self.spec.max_model_len, window)), default=0)

    def shutdown(self) -> None:
        """Drop the model; may be called more than once."""
        self.model = None
        self._scorings.clear()
        gc.collect()

    def next_token_logprobs(self, requests: Sequence[Request]) -> list[Reply]:
        """Answer requests one by one."""
        replies = []
        for request in requests:
            row = self.rows(self.prefill(request.token_ids), [()])[()]
            replies.append(
                Reply(
                    {token: float(row[token]) for token in request.wanted}, len(request.token_ids)
                )
            )
        return replies

    def exact_distribution(self, task: ForecastTask) -> tuple[Distribution, float]:
        """Return the distribution by definition, and its captured mass.

        P(n) is the product of the path's token probabilities times one minus the mass of the tokens
        that lead on from it to a longer path, or to a share of one; then normalised.
        """
        prompt = self.build_prompt(task)
        rows = self.rows(self.prefill(prompt.token_ids), list(prompt.trie.asked))
        weights = np.zeros(SUPPORT_SIZE)
        for n, path in enumerate(prompt.trie.paths):
            log_path = sum(float(rows[path[:depth]][token]) for depth, token in enumerate(path))
            onward = list(prompt.trie.asked.get(path, ()))
            weights[n] = np.exp(log_path) * (
                1.0 - np.exp(rows[path][onward]).sum() if onward else 1.0
            )
        return Distribution.from_weights(weights), float(weights.sum())

    def prefill(self, prompt: TokenPath) -> Any:
        """Run a prompt; returns the model's output with its keys and values."""
        import torch

        with torch.inference_mode():
            return self.model(input_ids=torch.tensor([prompt]), use_cache=True, logits_to_keep=1)

    def rows(self, prefilled: Any, nodes: Sequence[TokenPath]) -> dict[TokenPath, np.ndarray]:
        """Return float64 log-probabilities of all tokens after a prompt and each node."""
        import torch

        rows: dict[TokenPath, np.ndarray] = {}
        by_depth: dict[int, list[TokenPath]] = {}
        for node in nodes:
            by_depth.setdefault(len(node), []).append(node)
        with torch.inference_mode():
            for depth, same in by_depth.items():
                for batch in (same[start : start + BATCH] for start in range(0, len(same), BATCH)):
                    output = prefilled
                    if depth:
                        cache = copy.deepcopy(prefilled.past_key_values)
                        cache.batch_repeat_interleave(len(batch))
                        output = self.model(
                            input_ids=torch.tensor(batch), past_key_values=cache, logits_to_keep=1
                        )
                    logprobs = torch.log_softmax(output.logits[:, -1].double(), dim=-1).numpy()
                    rows.update(zip(batch, logprobs, strict=True))
        return rows
