"""Cutting: nothing is lost, no passage is too long, neighbours overlap."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evidence.chunking import cut_passages, estimate_tokens
from evidence.sections import tidy


def estimated(text):
    return estimate_tokens([text])[0]


def words_counted(texts):
    """One token a word: sizes can be counted by hand."""
    return [len(text.split()) for text in texts]


def test_passages_overlap_and_stay_in_their_section():
    text = "A b c d. E f g h. I j k l. M n o p."
    cuts = cut_passages(
        [("One", text), ("Two", "Q r.")], size=10, overlap=4, count_tokens=words_counted
    )
    assert [(cut.section, cut.text, cut.tokens) for cut in cuts] == [
        ("One", "A b c d. E f g h.", 8),
        ("One", "E f g h. I j k l.", 8),
        ("One", "I j k l. M n o p.", 8),
        ("Two", "Q r.", 2),
    ]


def test_a_sentence_longer_than_a_passage_is_cut_between_words():
    cuts = cut_passages([("", "a b c d e f g h")], size=3, overlap=1, count_tokens=words_counted)
    assert [cut.text for cut in cuts] == ["a b c", "c d e", "e f g", "g h"]


def test_a_sentence_as_long_as_a_passage_stays_whole():
    cuts = cut_passages([("", "A b c d. E f g h.")], size=4, overlap=2, count_tokens=words_counted)
    assert [cut.text for cut in cuts] == ["A b c d.", "E f g h."]


def test_a_character_longer_than_a_passage_is_not_cut_for_ever():
    cuts = cut_passages(
        [("", "ab")], size=3, overlap=0, count_tokens=lambda texts: [5 * len(t) for t in texts]
    )
    assert [(cut.section, cut.text, cut.tokens) for cut in cuts] == [("", "a", 5), ("", "b", 5)]


def test_a_word_longer_than_a_passage_is_cut_within():
    cuts = cut_passages([("", "x" * 100)], size=3, overlap=0)
    assert "".join(cut.text for cut in cuts) == "x" * 100
    assert all(estimated(cut.text) <= 3 for cut in cuts)


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (10, 10), (10, -1)])
def test_impossible_sizes_are_refused(size, overlap):
    with pytest.raises(ValueError, match="expected 0 <= overlap < size"):
        cut_passages([("", "text")], size=size, overlap=overlap)


TEXTS = st.lists(
    st.one_of(
        st.text(alphabet="abcdeABC12.,;!?()-\"'_ \n", max_size=60),
        st.text(alphabet=st.characters(blacklist_categories=("Cs", "Cc")), max_size=40),
        st.sampled_from(["W" * 90, "東京は日本の首都。", "Zürich's 3.5 %", "\n\n", "No. 5 of 7. "]),
    ),
    max_size=8,
).map("".join)


@given(text=TEXTS, size=st.integers(1, 30), overlap=st.integers(0, 29))
@example(text="(__AA__ABCD__AA__)", size=2, overlap=0)
@example(text="1;1;1;1;1 1;1;1;0:0:0::0。1", size=24, overlap=0)
@example(text="111111000000000000000000¹", size=3, overlap=0)  # a word of two alphabets
def test_nothing_is_lost_and_no_passage_is_too_long(text, size, overlap):
    overlap = min(overlap, size - 1)
    cleaned = tidy(text)
    cuts = cut_passages([("S", cleaned)], size=size, overlap=overlap)
    for cut in cuts:
        assert cut.text
        assert cut.tokens <= size
        assert estimated(cut.text) <= size
    for word in filter(
        None, re.split(r"\s+|(?<=[。！？])", cleaned)
    ):  # such a mark ends a sentence without a space
        if estimated(word) <= size:  # a longer one is cut within
            assert any(word in cut.text for cut in cuts), word
    unbroken = cut_passages([("S", cleaned)], size=size, overlap=0)
    assert "".join("".join(cut.text.split()) for cut in unbroken) == "".join(cleaned.split())


@given(text=TEXTS, size=st.integers(2, 30), overlap=st.integers(0, 29))
def test_neighbours_share_at_most_the_overlap(text, size, overlap):
    overlap = min(overlap, size - 1)
    cuts = cut_passages([("", tidy(text))], size=size, overlap=overlap)
    alone = cut_passages([("", tidy(text))], size=size, overlap=0)
    assert sum(cut.tokens for cut in cuts) <= sum(cut.tokens for cut in alone) + overlap * max(
        0, len(cuts) - 1
    )


def test_token_estimates():
    texts = ["the cat", "internationalisation", "a_b, c", "東京都", "_" * 50]  # 20 letters
    assert estimate_tokens(texts) == [2, 4, 5, 3, 50]
