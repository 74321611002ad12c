"""Scoring: exact sums against brute force, partial reading, and the certificate on random models."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import config
from scoring.distribution import total_variation
from scoring.scorer import (
    MAX_ROUNDS,
    Limits,
    Reply,
    Request,
    ScoringError,
    ScoringResult,
    forward_cost,
    score_batch,
)
from tests.support.fake_tokenizer import DIGITS, MERGES, PROMPT, THREE, WHOLE, scoring_of


class RandomModel:
    """A next-token distribution over the whole vocabulary, fixed by the seed and the tokens after the prompt."""

    def __init__(self, tokenizer, prompt, seed, sharpness=4.0):
        self.size, self.prompt, self.seed, self.sharpness = (
            len(tokenizer.texts),
            tuple(prompt),
            seed,
            sharpness,
        )
        self.calls = 0
        self.asked = []

    def logprobs(self, token_ids):
        assert token_ids[: len(self.prompt)] == self.prompt
        node = [int(t) for t in token_ids[len(self.prompt) :]]
        logits = np.random.default_rng([self.seed, len(node), *node]).normal(
            0, self.sharpness, self.size
        )
        return logits - np.logaddexp.reduce(logits)

    def __call__(self, requests):
        self.calls += 1
        self.asked += requests
        return [
            Reply({t: float(row[t]) for t in r.wanted}, 1)
            for r in requests
            for row in [self.logprobs(r.token_ids)]
        ]


def brute_force(model, scoring):
    """Weights by definition: path probability times one minus the mass of every token that begins with a digit."""
    digits = [
        i for text, i in scoring.tokenizer.tokenizer.get_vocab().items() if text[0] in "0123456789"
    ]
    weights = np.zeros(101)
    for n, path in enumerate(scoring.trie.paths):
        log = sum(model.logprobs(scoring.prompt + path[:i])[t] for i, t in enumerate(path))
        weights[n] = math.exp(log) * (
            1 - np.exp(model.logprobs(scoring.prompt + path)[digits]).sum()
        )
    return weights


# --- exactness ------------------------------------------------------------------------------------


def test_the_worked_example_of_the_module():
    """After the prompt "7" has 0.40; after it all digits together 0.70, "5" alone 0.60; after "75" nothing but the end."""
    seven, five, four = DIGITS.encode("754")
    rows = {
        (): {seven: 0.40},
        (seven,): {five: 0.60, four: 0.10},
        (seven, five): {},
        (seven, four): {},
    }

    def engine(requests):
        floor = -1e3
        return [
            Reply(
                {
                    t: math.log(p)
                    if (p := rows.get(r.token_ids[len(prompt) :], {}).get(t, 0))
                    else floor
                    for t in r.wanted
                }
            )
            for r in requests
        ]

    scoring = scoring_of(DIGITS)
    prompt = scoring.prompt
    (result,) = score_batch([scoring], engine, Limits(0))
    assert result.captured_mass == pytest.approx(0.40)
    p = result.distribution.probabilities * result.captured_mass
    assert p[7] == pytest.approx(0.40 * 0.30)
    assert p[75] == pytest.approx(0.40 * 0.60)
    assert p[74] == pytest.approx(0.40 * 0.10)


tokenizers = st.sampled_from([WHOLE, DIGITS, MERGES, THREE])
seeds = st.integers(0, 2**31)
sharpnesses = st.sampled_from([0.5, 2.0, 4.0, 8.0])


@settings(max_examples=40, deadline=None)
@given(tokenizers, seeds, sharpnesses)
def test_exhaustive_scoring_equals_brute_force(tokenizer, seed, sharpness):
    scoring = scoring_of(tokenizer)
    model = RandomModel(tokenizer, scoring.prompt, seed, sharpness)
    (result,) = score_batch([scoring], model, Limits(0))
    weights = brute_force(model, scoring)
    if isinstance(result, ScoringError):
        assert weights.sum() < 1e-11
        return
    np.testing.assert_allclose(
        result.distribution.probabilities, weights / weights.sum(), atol=1e-9
    )
    assert result.captured_mass == pytest.approx(weights.sum(), abs=1e-9)
    assert result.residual_mass <= 1e-9
    assert model.calls <= MAX_ROUNDS


@settings(max_examples=60, deadline=None)
@given(
    tokenizers,
    seeds,
    sharpnesses,
    st.sampled_from([0.001, 0.01, 0.1, 0.5]),
    st.sampled_from([None, 1, 4, 12]),
)
def test_the_error_is_never_above_the_certificate(tokenizer, seed, sharpness, tolerance, budget):
    scoring = scoring_of(tokenizer)
    model = RandomModel(tokenizer, scoring.prompt, seed, sharpness)
    (result,) = score_batch([scoring], model, Limits(tolerance, block_size=16, block_budget=budget))
    assert model.calls <= MAX_ROUNDS
    if isinstance(result, ScoringError):
        return
    weights = brute_force(model, scoring)
    exact = weights / weights.sum()
    error = 0.5 * np.abs(result.distribution.probabilities - exact).sum()
    assert error <= result.residual_mass + 1e-9
    assert 0 <= result.captured_mass <= 1 + 1e-9
    assert budget is None or scoring.spent <= budget * 16


@settings(max_examples=20, deadline=None)
@given(seeds, st.randoms(use_true_random=False))
def test_the_order_of_the_forecasts_does_not_matter(seed, shuffler):
    def score(order):
        scorings = {i: scoring_of(DIGITS, f"Question {i}\n") for i in order}
        models = {s.prompt: RandomModel(DIGITS, s.prompt, seed + i) for i, s in scorings.items()}

        def engine(requests):
            owner = [
                next(m for p, m in models.items() if r.token_ids[: len(p)] == p) for r in requests
            ]
            return [model([request])[0] for model, request in zip(owner, requests, strict=True)]

        results = score_batch(
            list(scorings.values()), engine, Limits(0.01, block_size=16, block_budget=12)
        )
        return dict(zip(order, results, strict=True))

    order = list(range(4))
    straight = score(order)
    shuffler.shuffle(order)
    for i, result in score(order).items():
        assert type(result) is type(straight[i])
        if isinstance(result, ScoringResult):
            assert total_variation(result.distribution, straight[i].distribution) == 0
            assert result.requests == straight[i].requests


# --- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda lp: dict.fromkeys(lp, math.nan), "nan"),
        (lambda lp: dict.fromkeys(lp, 0.5), "0.5"),
        (lambda lp: dict(list(lp.items())[1:]), "no log-probability"),
        (lambda lp: dict.fromkeys(lp, -10000.0), ""),
        (lambda lp: dict.fromkeys(lp, -math.inf), ""),
    ],
    ids=["nan", "positive", "missing", "no mass", "minus infinity"],
)
def test_a_broken_reply_fails_its_own_forecast_only(spoil, message):
    good, bad = scoring_of(DIGITS, "good\n"), scoring_of(DIGITS, "bad\n")
    models = [RandomModel(DIGITS, s.prompt, 5, 1.0) for s in (good, bad)]

    def engine(requests):
        replies = []
        for request in requests:
            broken = request.token_ids[: len(bad.prompt)] == bad.prompt
            (reply,) = models[broken]([request])
            replies.append(Reply(spoil(reply.logprobs)) if broken else reply)
        return replies

    results = score_batch([bad, good], engine, Limits(0.01))
    assert isinstance(results[0], ScoringError)
    assert message in str(results[0])
    assert isinstance(results[1], ScoringResult)


def test_rounding_above_zero_is_taken_for_zero():
    scoring = scoring_of(WHOLE)
    certain = scoring.trie.paths[42][0]

    def engine(requests):
        return [
            Reply(
                {
                    t: 0.005 if t == certain and r.token_ids == scoring.prompt else -50.0
                    for t in r.wanted
                }
            )
            for r in requests
        ]

    (result,) = score_batch([scoring], engine, Limits(0.01))
    assert result.distribution.mode == 42
    assert result.captured_mass <= 1


def test_an_engine_that_answers_too_little_fails_the_batch():
    with pytest.raises(ScoringError, match="0 of 1"):
        score_batch([scoring_of(DIGITS)], lambda requests: [], Limits(0.01))


def test_an_exception_of_the_engine_passes_through():
    def engine(requests):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        score_batch([scoring_of(DIGITS)], engine, Limits(0.01))


# --- cost -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "depth", "block", "cost"),
    [
        (160, 0, 16, 16),  # the last block must run for its logits
        (160, 1, 16, 1),
        (160, 2, 16, 2),
        (161, 1, 16, 2),
        (175, 1, 16, 16),
        (10, 1, 16, 11),  # no whole block to share
        (1, 0, 16, 1),
    ],
)
def test_forward_cost(prompt, depth, block, cost):
    assert forward_cost(prompt, depth, block) == cost


def test_scoring_again_asks_nothing():
    scoring = scoring_of(DIGITS)
    model = RandomModel(DIGITS, scoring.prompt, 11)
    (first,) = score_batch([scoring], model, Limits(0))
    calls = model.calls
    (second,) = score_batch([scoring], model, Limits(0))
    assert model.calls == calls
    assert total_variation(first.distribution, second.distribution) == 0


def test_an_engine_without_a_prefix_cache_has_no_budget():
    scoring = scoring_of(DIGITS)
    model = RandomModel(DIGITS, scoring.prompt, 3, 0.5)
    (result,) = score_batch([scoring], model, Limits(0.01, block_budget=0))
    assert result.residual_mass <= 0.01


def test_requests_name_the_whole_prompt():
    scoring = scoring_of(DIGITS)
    model = RandomModel(DIGITS, scoring.prompt, random.Random(1).randrange(99))
    score_batch([scoring], model, Limits(0))
    assert model.asked[0] == Request(scoring.prompt, scoring.trie.children[()])
    assert all(r.token_ids[: len(scoring.prompt)] == scoring.prompt for r in model.asked)


# --- partial reading, worked out by hand ----------------------------------------------------------


def read(scoring, node, rows, *, only=None):
    """Record one reply at a node: the probabilities of some tokens, none for the others that are asked for."""
    tokenizer = scoring.tokenizer.tokenizer
    path = tuple(tokenizer.encode(node))
    (wanted,) = scoring.tokenizer.wanted_ids(scoring.trie, path)
    wanted = wanted[:only]
    known = {tokenizer.vocabulary[text]: math.log(p) for text, p in rows.items()}
    scoring.record(path, Reply({t: known.get(t, -1e3) for t in wanted}, 1), wanted)


def test_an_unread_leaf_keeps_the_share_that_stops_and_an_unread_branch_nothing():
    scoring = scoring_of(DIGITS)
    read(scoring, "", {"7": 0.6, "5": 0.2})
    read(scoring, "7", {"5": 0.25})  # three quarters of "7" stop there
    result = scoring.result()
    weights = result.distribution.probabilities * result.captured_mass
    assert weights[7] == pytest.approx(0.45)
    assert weights[75] == pytest.approx(0.15 * 0.75)
    assert weights[5] == 0
    assert weights[50:60].sum() == 0
    assert result.captured_mass == pytest.approx(0.5625)
    # All of "5", and of "75" the larger of what stops and what goes on.
    assert result.residual_mass == pytest.approx((0.2 + 0.15 * 0.75) / 0.5625)
    assert (result.requests, result.forward_tokens) == (2, 2)


def test_where_most_goes_on_an_unread_leaf_is_unsure_by_what_goes_on():
    scoring = scoring_of(DIGITS)
    read(scoring, "", {"7": 0.9})
    read(scoring, "7", {"5": 0.6})
    result = scoring.result()
    assert result.captured_mass == pytest.approx(0.36 + 0.54 * 0.4)
    assert result.residual_mass == pytest.approx(0.54 * 0.6 / result.captured_mass)
    read(scoring, "75", {})
    assert scoring.result().captured_mass == pytest.approx(0.9)
    assert scoring.result().residual_mass == 0


def test_leaves_read_before_make_the_average_that_an_unread_one_keeps():
    scoring = scoring_of(WHOLE)
    read(scoring, "", {"10": 0.5, "20": 0.3, "30": 0.1})
    read(scoring, "10", {"0": 0.2})  # 0.4 of 0.5 stops
    read(scoring, "20", {"0": 0.5, "1": 0.5})  # nothing of 0.3 stops
    result = scoring.result()
    weights = result.distribution.probabilities * result.captured_mass
    assert weights[[10, 20, 30]] == pytest.approx([0.4, 0, 0.1 * 0.5])
    assert result.residual_mass == pytest.approx(0.1 * 0.5 / 0.45)


def test_before_a_leaf_is_read_the_numbers_are_taken_as_they_stand_and_nothing_is_certain():
    scoring = scoring_of(WHOLE)
    read(scoring, "", {"10": 0.5, "20": 0.3})
    result = scoring.result()
    assert result.captured_mass == pytest.approx(0.8)
    assert result.distribution.probabilities[10] == pytest.approx(0.625)
    assert result.residual_mass == pytest.approx(1)


def test_digit_tokens_not_asked_for_bound_the_stop_from_both_sides():
    scoring = scoring_of(THREE)
    read(scoring, "", {"7": 0.5})
    read(scoring, "7", {"5": 0.2, "%": 0.3, "\n": 0.2})
    result = scoring.result()
    assert result.captured_mass == pytest.approx(0.5 * 0.8)
    # Seen are 0.2 of digits and 0.5 of endings: 0.3 may be either.
    assert result.residual_mass == pytest.approx(0.5 * 0.3 / 0.4)
    assert scoring.digit_bounds((), {THREE.vocabulary["5"]: math.log(0.7), THREE.vocabulary["%"]: math.log(0.4)}) == (
        pytest.approx(0.7),
        pytest.approx(0.7),
    )  # fmt: skip


def test_digits_that_sum_to_more_than_one_by_rounding_leave_nothing():
    scoring = scoring_of(DIGITS)
    read(scoring, "", {"7": 0.5, "8": 0.5})
    read(scoring, "7", {"5": 0.504, "4": 0.5})
    read(scoring, "8", {})
    result = scoring.result()
    assert result.distribution.probabilities[7] == 0
    assert result.captured_mass <= 1
    assert result.residual_mass <= 1


def test_a_node_read_in_part_counts_as_unread():
    scoring = scoring_of(DIGITS)
    read(scoring, "", {"0": 0.9}, only=3)
    assert scoring.bounds().uncertainty == 1
    read(scoring, "", {"0": 0.9})
    assert scoring.bounds().uncertainty == pytest.approx(0.9)


def selected(masses, *limits, last=False):
    scoring = scoring_of(DIGITS)
    read(scoring, "", masses)
    nodes = scoring.select(Limits(*limits), last=last)
    return scoring, [DIGITS.decode(node) for node in nodes]


def test_the_heaviest_nodes_are_read_until_half_of_the_tolerance_is_left():
    masses = {"3": 0.14, "7": 0.51, "1": 0.05, "5": 0.3}
    # Without 7 and 5 there is 0.19 left, without 3 too 0.05.
    assert selected(masses, 0.2)[1] == ["7", "5", "3"]
    assert selected(masses, 0.39)[1] == ["7", "5"]
    assert selected(masses, 1e-9)[1] == ["7", "5", "3", "1"]


def test_in_the_last_round_the_whole_tolerance_counts_and_everything_below_is_read():
    masses = {"3": 0.14, "7": 0.51, "1": 0.05, "5": 0.3}
    _, nodes = selected(masses, 0.2, last=True)
    assert nodes == ["7", *(f"7{d}" for d in range(10)), "5", *(f"5{d}" for d in range(10))]
    assert len(selected(masses, 0, last=True)[1]) == 101
    assert len(selected(masses, 0)[1]) == 10


def test_leaves_alone_may_use_the_whole_tolerance():
    scoring = scoring_of(WHOLE)
    read(scoring, "", {"10": 0.6, "20": 0.25, "30": 0.15})
    nodes = scoring.select(Limits(0.2), last=False)
    assert [WHOLE.decode(node) for node in nodes] == ["10", "20"]


def test_the_budget_is_spent_to_the_last_token_and_no_further():
    masses = {"3": 0.14, "7": 0.51, "1": 0.05, "5": 0.3}
    for budget, expected in ((0, []), (1, ["7"]), (3, ["7", "5", "3"])):
        scoring, nodes = selected(masses, 1e-9, 1, budget)
        assert nodes == expected
        assert scoring.spent == budget
    scoring, nodes = selected(masses, 1e-9)
    assert len(nodes) == 4
    assert scoring.spent == 0


@pytest.mark.parametrize("tokenizer", [WHOLE, DIGITS, MERGES])
@pytest.mark.parametrize("sharpness", [0.5, 2.0, 6.0])
def test_at_the_default_settings_the_certificate_is_within_the_tolerance(tokenizer, sharpness):
    block = config.VLLM_CONFIG["block_size"]
    for seed in range(8):
        scoring = scoring_of(tokenizer, "x" * (4 * block - len(PROMPT)) + PROMPT)
        assert len(scoring.prompt) == 4 * block
        model = RandomModel(tokenizer, scoring.prompt, seed, sharpness)
        (result,) = score_batch(
            [scoring],
            model,
            Limits(config.SCORING_TOLERANCE, block, config.SCORING_BLOCK_BUDGET),
        )
        assert result.residual_mass <= config.SCORING_TOLERANCE
        assert result.requests == len(model.asked) <= 102
        below = [len(request.token_ids) - len(scoring.prompt) for request in model.asked[1:]]
        assert scoring.spent == sum(below)  # one token a level: the prompt's blocks are whole
        if sharpness == 6.0:
            assert result.requests < 40


def test_hardly_any_mass_is_scored_and_none_at_all_refused():
    for mass, scored in ((1e-11, True), (1e-13, False)):
        scoring = scoring_of(DIGITS)
        read(scoring, "", {"7": mass})
        read(scoring, "7", {})
        if scored:
            assert scoring.result().captured_mass == pytest.approx(mass)
        else:
            with pytest.raises(ScoringError, match="no probability on an integer"):
                scoring.result()


def test_a_log_probability_may_exceed_zero_by_a_hundredth():
    scoring = scoring_of(DIGITS)
    (wanted,) = scoring.tokenizer.wanted_ids(scoring.trie, ())
    scoring.record((), Reply(dict.fromkeys(wanted, 0.009)), wanted)
    with pytest.raises(ScoringError, match=r"log-probability 0\.011"):
        scoring.record((), Reply(dict.fromkeys(wanted, 0.011)), wanted)
