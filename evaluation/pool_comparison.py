"""Pool the agents' stored distributions by every method, to compare the methods."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

import config
from database import Database
from evaluation.metrics import cluster_folds, inverse_score_weights
from evaluation.resolved import ENSEMBLE, Judged, Record, read_voices
from scoring.pooling import POOL_METHODS, Voice, pool, voice_weights

Voices = Mapping[str, Voice]


def pooled(record: Record, database: Database) -> dict[str, list[Judged]]:
    """Pool again the ensemble's latest forecasts of two agents or more.

    Returns:
        The same questions for each method of ``POOL_METHODS``, and for the linear pool with
        weights by past score, learnt on other clusters of questions.
    """
    latest = record.latest(ENSEMBLE)
    found = read_voices(database, [(j.run_id, j.question_id) for j in latest])
    base = [(j, found.get((j.run_id, j.question_id), {})) for j in latest]
    base = [(j, voices) for j, voices in base if len(voices) > 1]
    if not base:
        return {}
    result = {
        method: [replace(j, probability=_pool(voices, method)) for j, voices in base]
        for method in POOL_METHODS
    }
    if weights := past_score_weights(base):
        result["weights by past score"] = [
            replace(j, probability=_pool(voices, "mean", w))
            for (j, voices), w in zip(base, weights, strict=True)
        ]
    return result


def _pool(voices: Voices, method: str, weights: Mapping[str, float] | None = None) -> float:
    """Pool agents as a run does, each one's weight times ``weights``; 0-1."""
    given = voice_weights([voice.captured for voice in voices.values()])
    if weights is not None:
        given = given * [weights[name] for name in voices]
    found = pool([voice.distribution for voice in voices.values()], method, given)
    return min(1.0, max(0.0, found.probability))


def past_score_weights(base: Sequence[tuple[Judged, Voices]]) -> list[dict[str, float]] | None:
    """Weigh agents by inverse Brier score on other folds; None for few clusters."""
    clusters = [j.cluster for j, _ in base]
    if len(set(clusters)) < config.CROSS_VALIDATION_FOLDS:
        return None
    names = sorted({name for _, agents in base for name in agents})
    scores = np.array(
        [
            [
                (agents[name].distribution.probability - j.outcome) ** 2
                if name in agents
                else math.nan
                for name in names
            ]
            for j, agents in base
        ]
    )
    folds = cluster_folds(clusters, config.CROSS_VALIDATION_FOLDS, seed=config.SEED)
    learnt = {fold: inverse_score_weights(scores[folds != fold]) for fold in np.unique(folds)}
    return [dict(zip(names, learnt[fold].tolist(), strict=True)) for fold in folds]
