"""Recompute every pool from the stored distributions of the agents, to compare the methods."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

import config
from evaluation import metrics
from evaluation.resolved import ENSEMBLE, Judged, Record
from scoring.distribution import Distribution
from scoring.pooling import POOL_METHODS, pool, voice_weights


def pooled(record: Record) -> dict[str, list[Judged]]:
    """Every pool method on the ensemble's latest forecasts that had at least two agents, on the same questions for all.

    Besides ``distribution.POOL_METHODS``: the linear pool with weights from past scores, learnt on other clusters of questions.
    """
    base = [
        j
        for j in record.latest(ENSEMBLE)
        if len(record.agents.get((j.run_id, j.question_id), {})) > 1
    ]
    if not base:
        return {}
    parts = [record.agents[j.run_id, j.question_id] for j in base]
    result = {
        method: [
            replace(j, distribution=_pool(record, j, p, method))
            for j, p in zip(base, parts, strict=True)
        ]
        for method in POOL_METHODS
    }
    weights = _past_score_weights(base, parts)
    if weights is not None:
        result["weights by past score"] = [
            replace(j, distribution=_pool(record, j, p, "mean", w))
            for j, p, w in zip(base, parts, weights, strict=True)
        ]
    return result


def _pool(
    record: Record,
    j: Judged,
    parts: Mapping[str, Distribution],
    method: str,
    weights: Mapping[str, float] | None = None,
) -> Distribution:
    """Pool agents as a run does: a weak voice counts by its captured mass (scoring/pooling.py), times ``weights``."""
    masses = record.captured.get((j.run_id, j.question_id), {})
    given = voice_weights([masses.get(name, 1.0) for name in parts])
    if weights is not None:
        given = given * [weights[name] for name in parts]
    return pool(list(parts.values()), method, given)


def _past_score_weights(
    base: Sequence[Judged], parts: Sequence[Mapping[str, Distribution]]
) -> list[dict[str, float]] | None:
    """For each question the agents' inverse-Brier weights learnt on the other folds; None with fewer clusters than folds."""
    clusters = [j.cluster for j in base]
    if len(set(clusters)) < config.CROSS_VALIDATION_FOLDS:
        return None
    names = sorted({name for p in parts for name in p})
    scores = np.array(
        [
            [(p[name].probability - j.outcome) ** 2 if name in p else math.nan for name in names]
            for j, p in zip(base, parts, strict=True)
        ]
    )
    folds = metrics.cluster_folds(clusters, config.CROSS_VALIDATION_FOLDS, seed=config.SEED)
    learnt = {
        fold: metrics.inverse_score_weights(scores[folds != fold]) for fold in np.unique(folds)
    }
    return [dict(zip(names, learnt[fold].tolist(), strict=True)) for fold in folds]
