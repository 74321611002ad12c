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
    Reply,
    Request,
    ScoringError,
)
from tests.support.fake_tokenizer import (
    BYTES,
    DIGITS,
    MERGES,
    PARTIAL,
    PROMPT,
    THREE,
    WHOLE,
    FakeTokenizer,
    score,
    scoring_of,
)


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


def brute_force(model, scoring, tokenizer):
    """Weights by definition: every token of the vocabulary is followed or gives its mass to the number so far."""
    start = len(tokenizer.encode(PROMPT))
    numbers = {tuple(tokenizer.encode(PROMPT + str(n))[start:]): n for n in range(101)}
    zero = tuple(tokenizer.encode(PROMPT + "0")[start:])
    others = [tuple(tokenizer.encode(PROMPT + share)[start:]) for share in ("0.5", "0,5")]
    shares = {other[: len(zero) + 1] for other in others if other[: len(zero)] == zero}
    weights = np.zeros(101)

    def follow(node, mass):
        longer = {
            path[len(node)]
            for path in (*numbers, *shares)
            if len(path) > len(node) and path[: len(node)] == node
        }
        if not longer:
            if node in numbers:
                weights[numbers[node]] += mass
            return
        for token, p in enumerate(np.exp(model.logprobs(scoring.prompt + node))):
            if token in longer:
                follow((*node, token), mass * p)
            elif node in numbers:
                weights[numbers[node]] += mass * p

    follow((), 1.0)
    return weights


# --- exactness ------------------------------------------------------------------------------------


def test_the_worked_example_of_the_module():
    """Of "7" 0.40 and "0" 0.10; after "7" all digits together 0.70, "5" alone 0.60; after "0" half goes on with a point."""
    rows = {"": {"7": 0.40, "0": 0.10}, "7": {"5": 0.60, "4": 0.10}, "0": {".": 0.5}}

    def engine(requests):
        found = [
            {DIGITS.vocabulary[text]: math.log(p) for text, p in rows[node].items()}
            for node in (DIGITS.decode(r.token_ids)[len(PROMPT) :] for r in requests)
        ]
        return [
            Reply({t: row.get(t, -1e3) for t in r.wanted})
            for r, row in zip(requests, found, strict=True)
        ]

    result = score(scoring_of(DIGITS), engine, 0)
    assert result.captured_mass == pytest.approx(0.45)
    p = result.distribution.probabilities * result.captured_mass
    assert p[[0, 7, 74, 75]] == pytest.approx([0.10 * 0.5, 0.40 * 0.30, 0.40 * 0.10, 0.40 * 0.60])
    assert result.requests == 3  # the root, "7" and "0": no other has any mass
    assert result.residual_mass == 0


KINDS = [WHOLE, DIGITS, MERGES, PARTIAL, THREE, BYTES]
# Any merges of digits and points, as a tokenizer trained on little text would have.
merges = st.sets(st.from_regex(r"[0-9]{2,4}|[0-9][.,]|[.,][0-9]", fullmatch=True), max_size=12)
tokenizers = st.one_of(st.sampled_from(KINDS), merges.map(sorted).map(FakeTokenizer))
seeds = st.integers(0, 2**31)
sharpnesses = st.sampled_from([0.5, 2.0, 4.0, 8.0])


@settings(max_examples=60, deadline=None)
@given(tokenizers, seeds, sharpnesses)
def test_exhaustive_scoring_equals_brute_force(tokenizer, seed, sharpness):
    scoring = scoring_of(tokenizer)
    model = RandomModel(tokenizer, scoring.prompt, seed, sharpness)
    result = score(scoring, model, 0)
    weights = brute_force(model, scoring, tokenizer)
    if isinstance(result, ScoringError):
        assert weights.sum() < 1e-11
        return
    np.testing.assert_allclose(
        result.distribution.probabilities, weights / weights.sum(), atol=1e-9
    )
    assert result.captured_mass == pytest.approx(weights.sum(), abs=1e-9)
    assert result.residual_mass == 0
    assert model.calls <= 2


@settings(max_examples=100, deadline=None)
@given(tokenizers, seeds, sharpnesses, st.sampled_from([0.001, 0.01, 0.1, 0.5]))
def test_the_error_is_never_above_the_certificate(tokenizer, seed, sharpness, tolerance):
    scoring = scoring_of(tokenizer)
    model = RandomModel(tokenizer, scoring.prompt, seed, sharpness)
    result = score(scoring, model, tolerance)
    weights = brute_force(model, scoring, tokenizer)
    if isinstance(result, ScoringError):
        assert weights.sum() < 1e-11
        return
    exact = weights / weights.sum()
    error = 0.5 * np.abs(result.distribution.probabilities - exact).sum()
    assert error <= result.residual_mass + 1e-9
    assert result.residual_mass <= tolerance
    missed = result.captured_mass - weights.sum()
    assert -1e-9 <= missed <= result.residual_mass * result.captured_mass + 1e-9
    assert result.requests == len(model.asked) <= len(scoring.trie.asked)


@settings(max_examples=100, deadline=None)
@given(tokenizers, seeds, sharpnesses, st.data())
def test_the_certificate_holds_whatever_was_read(tokenizer, seed, sharpness, data):
    """Not only for the nodes that are chosen: after any part of the trie, from its root down."""
    scoring = scoring_of(tokenizer)
    model = RandomModel(tokenizer, scoring.prompt, seed, sharpness)
    nodes = sorted(scoring.trie.asked, key=len)
    for node in nodes[: data.draw(st.integers(1, len(nodes)))]:
        (reply,) = model([Request(scoring.prompt + node, scoring.trie.asked[node])])
        scoring.record(node, reply)
    weights = brute_force(model, scoring, tokenizer)
    if weights.sum() < 1e-11:
        return
    result = scoring.result()
    exact = weights / weights.sum()
    error = 0.5 * np.abs(result.distribution.probabilities - exact).sum()
    assert error <= result.residual_mass + 1e-9


@settings(max_examples=60, deadline=None)
@given(seeds, sharpnesses, st.sampled_from([0, 0.01]))
def test_a_prompt_costs_at_most_twelve_requests_digit_by_digit_and_two_with_one_token(
    seed, sharpness, tolerance
):
    for tokenizer, most in ((DIGITS, 12), (WHOLE, 2), (THREE, 2)):
        scoring = scoring_of(tokenizer)
        model = RandomModel(tokenizer, scoring.prompt, seed, sharpness)
        score(scoring, model, tolerance)
        assert len(model.asked) <= most
        assert all(len(request.wanted) <= 128 for request in model.asked)  # as many as vLLM takes


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
def test_a_broken_reply_is_an_error(spoil, message):
    scoring = scoring_of(DIGITS)
    model = RandomModel(DIGITS, scoring.prompt, 5, 1.0)
    result = score(scoring, lambda asked: [Reply(spoil(r.logprobs)) for r in model(asked)], 0.01)
    assert isinstance(result, ScoringError)
    assert message in str(result)


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

    result = score(scoring, engine, 0.01)
    assert result.distribution.mode == 42
    assert result.captured_mass <= 1


# --- cost -----------------------------------------------------------------------------------------


def test_scoring_again_asks_nothing():
    scoring = scoring_of(DIGITS)
    model = RandomModel(DIGITS, scoring.prompt, 11)
    first = score(scoring, model, 0)
    calls = model.calls
    second = score(scoring, model, 0)
    assert model.calls == calls
    assert total_variation(first.distribution, second.distribution) == 0


def test_requests_name_the_whole_prompt():
    scoring = scoring_of(DIGITS)
    model = RandomModel(DIGITS, scoring.prompt, random.Random(1).randrange(99))
    score(scoring, model, 0)
    assert model.asked[0] == Request(scoring.prompt, scoring.trie.asked[()])
    assert all(r.token_ids[: len(scoring.prompt)] == scoring.prompt for r in model.asked)


# --- partial reading, worked out by hand ----------------------------------------------------------


def read(scoring, tokenizer, node, rows):
    """Record one reply at a node: the probabilities of some tokens, none for the others that are asked for."""
    path = tuple(tokenizer.encode(node))
    known = {tokenizer.vocabulary[text]: math.log(p) for text, p in rows.items()}
    scoring.record(path, Reply({t: known.get(t, -1e3) for t in scoring.trie.asked[path]}, 1))


def test_a_leaf_has_all_its_mass_and_an_unread_branch_spreads_its_own():
    scoring = scoring_of(DIGITS)
    read(scoring, DIGITS, "", {"7": 0.6, "5": 0.22})
    read(scoring, DIGITS, "7", {"5": 0.25})  # three quarters of "7" end there
    result = scoring.result()
    weights = result.distribution.probabilities * result.captured_mass
    assert weights[[7, 75]] == pytest.approx([0.45, 0.15])
    assert weights[[5, *range(50, 60)]] == pytest.approx(0.02)
    assert result.captured_mass == pytest.approx(0.82)
    assert result.residual_mass == pytest.approx(0.22 / 0.82)
    assert (result.requests, result.forward_tokens) == (2, 2)


def test_a_point_behind_zero_is_no_integer_and_one_behind_seven_is():
    scoring = scoring_of(WHOLE)
    read(scoring, WHOLE, "", {"0": 0.5, "7": 0.3})
    assert scoring.result().residual_mass == pytest.approx(0.5 / 0.8)
    read(scoring, WHOLE, "0", {".": 0.7, ",": 0.1})
    result = scoring.result()
    assert result.captured_mass == pytest.approx(0.1 + 0.3)
    assert result.distribution.probabilities[[0, 7]] == pytest.approx([0.25, 0.75])
    assert result.residual_mass == 0


def test_probabilities_that_exceed_one_by_rounding_are_scaled():
    scoring = scoring_of(DIGITS)
    read(scoring, DIGITS, "", {"7": 0.5, "8": 0.5})
    read(scoring, DIGITS, "7", {"5": 0.504, "4": 0.504})
    read(scoring, DIGITS, "8", {})
    result = scoring.result()
    assert result.distribution.probabilities[[7, 74, 75, 8]] == pytest.approx([0, 0.25, 0.25, 0.5])
    assert result.captured_mass == pytest.approx(1)
    assert result.residual_mass == 0


def selected(masses, tolerance, tokenizer=DIGITS):
    scoring = scoring_of(tokenizer)
    read(scoring, tokenizer, "", masses)
    return [tokenizer.decode(node) for node in scoring.select(tolerance)]


def test_the_heaviest_nodes_are_read_until_the_rest_is_within_the_tolerance():
    masses = {"3": 0.14, "7": 0.51, "4": 0.05, "5": 0.3}
    # Without 7 and 5 there is 0.19 left, without 3 too 0.05.
    assert sorted(selected(masses, 0.2)) == ["5", "7"]
    assert sorted(selected(masses, 0.18)) == ["3", "5", "7"]
    assert sorted(selected(masses, 1e-9)) == ["3", "4", "5", "7"]
    assert sorted(selected(masses, 0)) == ["3", "4", "5", "7"]
    assert selected(masses, 1) == []


def test_ten_is_read_with_one_and_zero_where_it_matters():
    assert sorted(selected({"1": 0.9, "0": 0.1}, 0.2)) == ["1", "10"]
    assert sorted(selected({"1": 0.9, "0": 0.1}, 0.01)) == ["0", "1", "10"]
    assert selected({"40": 0.5, "50": 0.5}, 0, WHOLE) == []
    assert selected({"0": 0.02, "50": 0.98}, 0.01, WHOLE) == ["0"]


def test_where_most_of_zero_is_a_share_of_one_the_rest_is_read_more_closely():
    """With 0.9 of 1 refused, what was a hundredth of the whole is a tenth of what is left."""
    scoring = scoring_of(DIGITS)
    model = RandomModel(DIGITS, scoring.prompt, 1)
    rows = {(): {"0": 0.95, "7": 0.045, "3": 0.005}, tuple(DIGITS.encode("0")): {".": 0.99}}

    def engine(requests):
        replies = []
        for request in requests:
            node = request.token_ids[len(scoring.prompt) :]
            known = {DIGITS.vocabulary[t]: math.log(p) for t, p in rows.get(node, {}).items()}
            replies.append(Reply({t: known.get(t, -1e3) for t in request.wanted}))
        model.calls += 1
        return replies

    result = score(scoring, engine, 0.01)
    assert result.residual_mass <= 0.01
    assert model.calls == 3
    assert result.requests == 4
    assert result.captured_mass == pytest.approx(0.0595)


def test_a_vocabulary_with_a_thousand_digit_tokens_captures_what_it_should():
    """As Llama 3's: "750" is a token of its own, and no integer from 0 to 100."""
    for seed in range(20):
        scoring = scoring_of(THREE)
        model = RandomModel(THREE, scoring.prompt, seed, 1.0)
        result = score(scoring, model, config.SCORING_TOLERANCE)
        row = np.exp(model.logprobs(scoring.prompt))
        integers = sum(row[THREE.vocabulary[str(n)]] for n in range(101))
        assert result.captured_mass == pytest.approx(integers, rel=config.SCORING_TOLERANCE)


def test_hardly_any_mass_is_scored_and_none_at_all_refused():
    for mass, scored in ((1e-11, True), (1e-13, False)):
        scoring = scoring_of(DIGITS)
        read(scoring, DIGITS, "", {"7": mass})
        read(scoring, DIGITS, "7", {})
        if scored:
            assert scoring.result().captured_mass == pytest.approx(mass)
        else:
            with pytest.raises(ScoringError, match="no probability on an integer"):
                scoring.result()


def test_a_log_probability_may_exceed_zero_by_a_hundredth():
    scoring = scoring_of(DIGITS)
    wanted = scoring.trie.asked[()]
    alone = dict.fromkeys(wanted, -math.inf)
    scoring.record((), Reply(alone | {wanted[0]: 0.009}))
    assert sum(scoring.probabilities[()].values()) == pytest.approx(1)
    with pytest.raises(ScoringError, match=r"log-probability 0\.011"):
        scoring.record((), Reply(alone | {wanted[0]: 0.011}))


def test_tokens_that_are_certain_each_are_refused():
    scoring = scoring_of(DIGITS)
    wanted = scoring.trie.asked[()]
    with pytest.raises(ScoringError, match="probabilities that add up to 10"):
        scoring.record((), Reply(dict.fromkeys(wanted, 0.0)))
