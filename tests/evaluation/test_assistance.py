"""The assisted pool: by hand, alone, bounded; weights learnt from the past only."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from database import Database
from evaluation.assistance import (
    DEFAULT_PRECISION,
    DEFAULTS,
    EPSILON,
    LEARNT,
    MIN_LEARNING_CLUSTERS,
    PastPools,
    PastVoices,
    Voice,
    VoiceWeights,
    assisted,
    learnt_weights,
    log_odds,
    voices,
)
from evaluation.base_rates import BaseRate
from evaluation.past_record import PastRecord
from questions.question import Question
from storage.records import Resolution
from tests.storage.test_three_numbers import VIEW
from tests.support.record_database import add_run, point

RATE = BaseRate(0.2, 3, 10, "will <name> win ?", "template", 0.5, 2.0, ("a",) * 10)
PROBABILITY = st.floats(0, 1)


def test_two_voices_by_hand() -> None:
    """Odds of 1/4 and 4 with shares 3/4 and 1/4: the root of 1/4, sharpened by 3/4 of a fifth."""
    pool = [Voice("models", 0.8, 1.0), Voice("market", 0.2, 3.0)]
    assert assisted(pool, 1.0) == pytest.approx(1 / 3)
    assert assisted(pool, 1.2) == pytest.approx(1 / (1 + 2**1.15))


def test_one_voice_stays_exactly_as_it_is() -> None:
    assert assisted([Voice("models", 0.0, 1.0)]) == 0.0
    assert assisted([Voice("models", 0.1234, 1.0), Voice("market", 0.9, 0.0)]) == 0.1234


def test_a_voice_of_next_to_no_weight_changes_next_to_nothing() -> None:
    pool = [Voice("models", 0.3, 1.0), Voice("base_rate", 0.9, 1e-9)]
    assert assisted(pool) == pytest.approx(0.3)


@pytest.mark.parametrize("wrong", [-0.1, 1.1, math.nan])
def test_a_voice_outside_0_to_1_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match=r"market is .*; allowed: 0-1"):
        assisted([Voice("models", 0.3, 1.0), Voice("market", wrong, 1.0)])
    with pytest.raises(ValueError, match="no voice"):
        assisted([Voice("market", 0.3, 0.0)])


@given(PROBABILITY, PROBABILITY, st.floats(0.01, 10))
def test_without_sharpening_the_pool_is_between_its_voices(p: float, q: float, w: float) -> None:
    pool = [Voice("models", p, 1.0), Voice("market", q, w)]
    low, high = np.clip(sorted((p, q)), EPSILON, 1 - EPSILON)
    assert low - 1e-12 <= assisted(pool, 1.0) <= high + 1e-12
    turned = [replace(v, probability=1 - v.probability) for v in pool]
    assert assisted(turned) == pytest.approx(1 - assisted(pool))


def test_voices_and_their_weights() -> None:
    (alone,) = voices(0.4)
    assert assisted([alone]) == 0.4
    hidden = voices(0.4, market=0.1, base_rate=RATE)
    assert [v.name for v in hidden] == ["models", "market"]
    assert [v.weight for v in hidden] == [DEFAULTS.models, DEFAULTS.market]
    assert voices(0.4, market=0.1, market_shown=True)[1].weight == DEFAULTS.market_shown
    _, rate = voices(0.4, base_rate=RATE)
    assert (rate.name, rate.probability) == ("base_rate", 0.2)
    share = 10 / (10 + DEFAULTS.base_rate_half)  # ten relatives
    assert rate.weight == pytest.approx(DEFAULTS.base_rate * share)
    assert len(voices(0.4, base_rate=replace(RATE, kind="source"))) == 1


def test_relatives_of_a_rate_held_near_one_half_hardly_count() -> None:
    """A strength of 10 instead of 2 keeps (10 + 2) / (10 + 10) of the distance: six of the ten."""
    _, rate = voices(0.4, base_rate=replace(RATE, strength=10.0))
    assert rate.weight == pytest.approx(6 / (6 + DEFAULTS.base_rate_half))
    assert rate.note == "3 of 10 relatives"


def test_beside_a_price_that_is_left_out_the_base_rate_has_its_voice() -> None:
    off = replace(DEFAULTS, market=0.0, market_shown=0.0)
    weights = {v.name: v.weight for v in voices(0.4, market=0.1, base_rate=RATE, weights=off)}
    assert weights == {
        "models": 1.0,
        "market": 0.0,
        "base_rate": DEFAULTS.base_rate_weight(RATE.count),
    }
    shown = voices(0.4, market=0.1, market_shown=True, base_rate=RATE, weights=off)
    assert assisted(shown) == 0.4


def test_the_weight_of_a_base_rate_grows_with_its_count() -> None:
    weights = [DEFAULTS.base_rate_weight(n) for n in (0, 1, 10, 100, 10_000)]
    assert weights == sorted(weights)
    assert weights[0] == 0
    assert weights[-1] < DEFAULTS.base_rate


def record(count: int, *, good_market: bool, resolved_on: str = "2026-01-10") -> list[PastVoices]:
    """Earlier forecasts where the market knows the chance and the models nothing, or reversed."""
    g = np.random.default_rng(5)
    chances = g.uniform(0.02, 0.98, count)
    outcomes = (g.random(count) < chances).astype(float)
    noise = g.uniform(0.02, 0.98, count)
    models, market = (noise, chances) if good_market else (chances, noise)
    return [
        PastVoices(f"c{i}", resolved_on, y, m, market=k)
        for i, (y, m, k) in enumerate(
            zip(outcomes.tolist(), models.tolist(), market.tolist(), strict=True)
        )
    ]


def test_weights_move_towards_what_was_right() -> None:
    good = learnt_weights(record(300, good_market=True), "2026-02-01")
    bad = learnt_weights(record(300, good_market=False), "2026-02-01")
    assert bad.market < DEFAULTS.market / 2 < DEFAULTS.market < good.market
    assert good.learnt_from == 300
    # Nothing was seen of these.
    assert good.market_shown == pytest.approx(DEFAULTS.market_shown)
    assert good.base_rate == pytest.approx(DEFAULTS.base_rate)


def mixed(count: int) -> list[PastVoices]:
    """Forecasts with price hidden, price shown, base rate; some clusters of three."""
    g = np.random.default_rng(7)
    rows = []
    for i in range(count):
        price = None if i % 3 == 2 else float(g.uniform(0.02, 0.98))
        row = PastVoices(
            f"c{i // 2 if i % 5 else i}", "2026-01-10",
            float(g.random() < 0.4), float(g.uniform(0.02, 0.98)), price, i % 3 == 1,
            float(g.uniform(0.02, 0.98)), int(g.integers(1, 90)),
        )  # fmt: skip
        rows.append(row)
    return rows


def pooled(row: PastVoices, weights: VoiceWeights) -> float:
    """The pool as a run makes it."""
    n = row.relatives
    rate = None if row.base_rate is None else replace(RATE, probability=row.base_rate, count=int(n))
    members = voices(
        row.models,
        market=row.market,
        market_shown=row.market_shown,
        base_rate=rate,
        weights=weights,
    )
    return assisted(members, weights.sharpening)


def test_weights_are_learnt_on_the_pools_that_runs_make() -> None:
    weights = VoiceWeights(market=2.5, market_shown=0.7, base_rate=0.8, sharpening=1.4)
    rows = mixed(40)
    found = PastPools(rows).log_odds(weights)
    assert found == pytest.approx([log_odds(pooled(row, weights)) for row in rows], abs=1e-6)


def test_learnt_weights_are_the_best_of_the_stated_objective() -> None:
    rows = mixed(150)
    sizes = {c: sum(r.cluster == c for r in rows) for c in {r.cluster for r in rows}}

    def objective(weights: VoiceWeights) -> float:
        total = 0.0
        for row in rows:
            p = pooled(row, weights)
            total -= math.log(p if row.outcome else 1 - p) / sizes[row.cluster]
        moved = [math.log(getattr(weights, k) / getattr(DEFAULTS, k)) for k in LEARNT]
        return total + DEFAULT_PRECISION / 2 * sum(x * x for x in moved)

    best = learnt_weights(rows, "2026-02-01")
    assert best.learnt_from == len(sizes)
    for name in LEARNT:
        value = getattr(best, name)
        other = [
            objective(VoiceWeights(**{**asdict(best), name: factor * value}))
            for factor in (0.97, 1.03)
        ]
        assert objective(best) < min(other)


def test_the_fewest_clusters_are_learnt_from() -> None:
    rows = record(MIN_LEARNING_CLUSTERS, good_market=False)
    assert MIN_LEARNING_CLUSTERS == 30
    assert learnt_weights(rows, "2026-02-01").learnt_from == 30


def test_few_forecasts_move_the_weights_little() -> None:
    few = learnt_weights(record(MIN_LEARNING_CLUSTERS, good_market=False), "2026-02-01")
    many = learnt_weights(record(600, good_market=False), "2026-02-01")
    assert many.market < few.market < DEFAULTS.market


def test_too_few_clusters_leave_the_defaults() -> None:
    rows = record(MIN_LEARNING_CLUSTERS - 1, good_market=False)
    assert learnt_weights(rows * 5, "2026-02-01") == DEFAULTS
    alone = [replace(row, market=None) for row in record(100, good_market=False)]
    assert learnt_weights(alone, "2026-02-01") == DEFAULTS


def test_the_future_teaches_nothing() -> None:
    """Outcomes of the day itself and later change no weight."""
    known = record(100, good_market=True)
    later = record(100, good_market=False, resolved_on="2026-02-01")
    assert learnt_weights(later + known, "2026-02-01") == learnt_weights(known, "2026-02-01")


def test_repeated_forecasts_of_a_cluster_count_once() -> None:
    known = record(60, good_market=False)
    once, often = (learnt_weights(rows, "2026-02-01") for rows in (known, known * 4))
    assert isinstance(once, VoiceWeights)
    for name in ("market", "sharpening"):
        assert getattr(often, name) == pytest.approx(getattr(once, name), rel=1e-3)


def test_relatives_of_earlier_forecasts_are_read_with_their_trust(tmp_path) -> None:
    """Of two relatives at a strength of 5, 2 x (2 + 2) / (2 + 5) count."""
    with Database(tmp_path / "d.db") as db:
        add_run(db, [Question("Will A?", id="a")], {"x": [point(60)]})
        db.final.save_outside_views(1, [VIEW])
        db.outcomes.add([Resolution("a", 1, "2999-02-01")])
        (row,) = PastRecord.read(db).voices
    assert row.base_rate == 0.4
    assert row.relatives == pytest.approx(8 / 7)
