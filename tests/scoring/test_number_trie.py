"""Number tries and the tokens a request names, on tokenizers of different kinds."""

from __future__ import annotations

import pytest

from scoring.number_trie import (
    MAX_TOKEN_IDS,
    NumberTokenizer,
    TokenizationError,
    common_prefix,
    trie_from_encodings,
)
from tests.support.fake_tokenizer import (
    DIGITS,
    MERGES,
    PROMPT,
    SPACED,
    THREE,
    WHOLE,
    FakeTokenizer,
    scoring_of,
)


@pytest.mark.parametrize(
    ("tokenizer", "lengths"),
    [
        (WHOLE, {1: 101}),
        (THREE, {1: 101}),
        (DIGITS, {1: 10, 2: 90, 3: 1}),
        (MERGES, {1: 17, 2: 84}),
    ],
)
def test_paths_are_what_the_tokenizer_writes(tokenizer, lengths):
    scoring = scoring_of(tokenizer)
    assert scoring.prompt == tuple(tokenizer.encode(PROMPT))
    assert [tokenizer.decode(path) for path in scoring.trie.paths] == [str(n) for n in range(101)]
    found = [len(path) for path in scoring.trie.paths]
    assert {size: found.count(size) for size in set(found)} == lengths
    assert scoring.trie.single_token == (set(lengths) == {1})


def test_a_space_that_belongs_to_the_number_is_part_of_its_first_token():
    scoring = scoring_of(SPACED, "Answer:", " ")
    assert scoring.prompt == tuple(SPACED.encode("Answer:"))
    assert SPACED.decode(scoring.trie.paths[75]) == " 75"
    assert len(scoring.trie.children[()]) == 10


def test_a_space_that_is_a_token_of_its_own_is_shared_and_ends_the_prompt():
    scoring = scoring_of(DIGITS, "Answer:", " ")
    assert DIGITS.decode(scoring.prompt) == "Answer: "
    assert DIGITS.decode(scoring.trie.paths[75]) == "75"


def test_numbers_without_a_spelling_of_their_own_are_refused():
    with pytest.raises(TokenizationError, match="with the same tokens"):
        trie_from_encodings([[1, 2 + n % 100] for n in range(101)])


def test_a_path_that_reads_back_as_another_text_is_refused():
    class Wrong(FakeTokenizer):
        def decode(self, token_ids):
            return super().decode(token_ids).replace("7", "8")

    with pytest.raises(TokenizationError, match="read back as"):
        NumberTokenizer(Wrong()).trie("Answer:\n")


def test_children_and_nodes_below():
    trie = scoring_of(DIGITS).trie
    one, seven, zero = DIGITS.encode("170")
    assert len(trie.below((one,))) == 11  # 10 … 19 and 100
    assert len(trie.below((seven,))) == 10
    assert trie.children[(one, zero)] == (zero,)
    assert trie.children[(zero,)] == ()
    assert len(trie.below(())) == 101


# --- what is asked --------------------------------------------------------------------------------


@pytest.mark.parametrize("tokenizer", [WHOLE, DIGITS, MERGES, THREE])
@pytest.mark.parametrize("exhaustive", [False, True])
def test_no_request_names_more_ids_than_the_engine_takes(tokenizer, exhaustive):
    scoring = scoring_of(tokenizer)
    for node in scoring.trie.children:
        for ids in scoring.tokenizer.wanted_ids(scoring.trie, node, exhaustive=exhaustive):
            assert 0 < len(ids) <= MAX_TOKEN_IDS
            assert len(set(ids)) == len(ids)


def test_exhaustive_requests_cover_every_digit_token_and_default_ones_the_endings():
    scoring = scoring_of(THREE)
    node = scoring.trie.paths[7]
    every = scoring.tokenizer.wanted_ids(scoring.trie, node, exhaustive=True)
    assert {t for ids in every for t in ids} == set(scoring.tokenizer.digit_ids)
    assert len(scoring.tokenizer.digit_ids) == 1000
    (ids,) = scoring.tokenizer.wanted_ids(scoring.trie, node)
    assert THREE.vocabulary["%"] in ids
    assert THREE.vocabulary["\n"] in ids
    assert set(ids) >= {THREE.vocabulary[str(d)] for d in range(10)}


# --- tokenizers ---------------------------------------------------------------------------------


def test_a_begin_of_text_stands_where_it_is_asked_for_only():
    class Begun(FakeTokenizer):
        def encode(self, text, *, add_special_tokens=False):
            return [*([self.vocabulary["~"]] if add_special_tokens else []), *super().encode(text)]

    numbers, plain = NumberTokenizer(Begun()), tuple(DIGITS.encode(PROMPT))
    assert numbers.place(PROMPT)[0] == plain
    assert numbers.place(PROMPT, add_special_tokens=True)[0] == (DIGITS.vocabulary["~"], *plain)
    assert tuple(numbers.encode(PROMPT)) == plain


def test_an_end_of_text_behind_every_text_is_no_part_of_a_number():
    class Ended(FakeTokenizer):
        def encode(self, text, *, add_special_tokens=False):
            return [*super().encode(text), self.vocabulary["~"]]

    prompt, trie = NumberTokenizer(Ended()).place(PROMPT)
    plain = NumberTokenizer(DIGITS).place(PROMPT)
    assert (prompt, trie.paths) == (plain[0], plain[1].paths)


def test_the_common_prefix_is_what_all_sequences_begin_with():
    assert common_prefix([[1, 2, 3, 9], [1, 2, 4], [1, 2, 3, 8]]) == (1, 2)
    assert common_prefix([[1, 2, 3], [1, 2]]) == (1, 2)
    assert common_prefix([[1], [2]]) == ()
    assert common_prefix([[1, 2]]) == (1, 2)


def test_digit_tokens_are_those_that_begin_with_an_ascii_digit_shortest_first():
    class Bytes(FakeTokenizer):
        def get_vocab(self):
            return {
                b"5": 7,
                b"12": 3,
                b"a5": 4,
                "²": 5,
                "<0x35>": 6,
                "<0x355>": 1,
                "<0x3A>": 8,
                "x0x3>": 9,
                "9": 10,
                "8": 2,
            }

    tokenizer = Bytes()
    tokenizer.all_special_ids = (10,)
    assert NumberTokenizer(tokenizer).digit_ids == (2, 6, 7, 3)


def test_endings_are_single_tokens_then_the_special_ones_and_never_digits():
    tokenizer = FakeTokenizer(["</s>", "1</s>"])
    tokenizer.all_special_ids = (tokenizer.vocabulary["</s>"], tokenizer.vocabulary["~"])
    found = [tokenizer.texts[i] for i in NumberTokenizer(tokenizer).ending_ids]
    assert found == ["</s>", "\n", "%", ".", ",", " ", ")", ";", ":", "/", '"', "-", "]", "}", "~"]


def test_a_prompt_is_read_as_a_whole_once_even_where_its_tail_is_cut_within_a_word():
    word = "resolution"

    class Counting(FakeTokenizer):
        long = 0

        def encode(self, text, *, add_special_tokens=False):
            self.long += len(text) > 200
            return super().encode(text)

    tokenizer = Counting([word])
    text = "x" * 300 + word + "y" * (48 - 7) + "\n"
    numbers = NumberTokenizer(tokenizer)
    prompt, trie = numbers.place(text)
    assert tokenizer.long == 1
    assert numbers.place(text, token_ids=prompt)[0] == prompt
    assert tokenizer.long == 1
    assert prompt == tuple(tokenizer.encode(text))
    assert [tokenizer.decode(path) for path in trie.paths] == [str(n) for n in range(101)]


def test_a_last_token_that_a_number_changes_is_taken_back():
    tokenizer = FakeTokenizer(["=1", "=2"])
    text = "x" * 100 + "="
    prompt, trie = NumberTokenizer(tokenizer).place(text)
    assert prompt == tuple(tokenizer.encode("x" * 100))
    for n, path in enumerate(trie.paths):
        assert [*prompt, *path] == tokenizer.encode(text + str(n))


def test_where_the_tail_reads_otherwise_the_numbers_are_placed_behind_the_whole_prompt():
    long = "ab" * 30 + "a"  # longer than the tail, in which "a:" is one token instead
    tokenizer = FakeTokenizer([long, "a:"])
    prompt, trie = NumberTokenizer(tokenizer).place(long + ":")
    assert [tokenizer.texts[i] for i in prompt] == [long, ":"]
    for n, path in enumerate(trie.paths):
        assert [*prompt, *path] == tokenizer.encode(f"{long}:{n}")
