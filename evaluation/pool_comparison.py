"""Pool the agents' stored distributions by every method, to compare the methods."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

import config
from evaluation.metrics import cluster_folds, inverse_score_weights
from evaluation.resolved import ENSEMBLE, Judged, Record
from scoring.distribution import Distribution
from scoring.pooling import POOL_METHODS, Voice, pool, voice_weights


def pooled(record: Record) -> dict[str, list[Judged]]:
    """Pool again the ensemble's latest forecasts of two agents or more.

    Returns:
        The same questions for each method of ``POOL_METHODS``, and for the linear pool with
        weights by past score, learnt on other clusters of questions.
    """
    base = [j for j in record.latest(ENSEMBLE) if len(_voices(record, j)) > 1]
    if not base:
        return {}
    result = {
        method: [replace(j, distribution=_pool(_voices(record, j), method)) for j in base]
        for method in POOL_METHODS
    }
    if weights := past_score_weights(record, base):
        result["weights by past score"] = [
            replace(j, distribution=_pool(_voices(record, j), "mean", w))
            for j, w in zip(base, weights, strict=True)
        ]
    return result


def _voices(record: Record, j: Judged) -> Mapping[str, Voice]:
    return record.voices.get((j.run_id, j.question_id), {})


def _pool(
    voices: Mapping[str, Voice], method: str, weights: Mapping[str, float] | None = None
) -> Distribution:
    """Pool agents as a run does, with each one's weight multiplied by ``weights``."""
    given = voice_weights([voice.captured for voice in voices.values()])
    if weights is not None:
        given = given * [weights[name] for name in voices]
    return pool([voice.distribution for voice in voices.values()], method, given)


def past_score_weights(record: Record, base: Sequence[Judged]) -> list[dict[str, float]] | None:
    """Weigh agents by inverse Brier score on other folds; None for few clusters."""
    clusters = [j.cluster for j in base]
    if len(set(clusters)) < config.CROSS_VALIDATION_FOLDS:
        return None
    voices = [_voices(record, j) for j in base]
    names = sorted({name for agents in voices for name in agents})
    scores = np.array(
        [
            [
                (agents[name].distribution.probability - j.outcome) ** 2
                if name in agents
                else math.nan
                for name in names
            ]
            for j, agents in zip(base, voices, strict=True)
        ]
    )
    folds = cluster_folds(clusters, config.CROSS_VALIDATION_FOLDS, seed=config.SEED)
    learnt = {fold: inverse_score_weights(scores[folds != fold]) for fold in np.unique(folds)}
    return [dict(zip(names, learnt[fold].tolist(), strict=True)) for fold in folds]
