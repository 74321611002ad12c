"""Number tries and the tokens a request names, on tokenizers of different kinds."""

from __future__ import annotations

import pytest

from scoring.number_trie import (
    NumberTokenizer,
    TokenizationError,
    common_prefix,
    trie_from_encodings,
)
from tests.support.fake_tokenizer import (
    BYTES,
    DIGITS,
    MERGES,
    PARTIAL,
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
    assert len(scoring.trie.asked[()]) == 10


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


# --- what is asked --------------------------------------------------------------------------------


def spelled(tokenizer):
    """Nodes and tokens of the trie as text."""
    return {
        tokenizer.decode(node): [tokenizer.texts[token] for token in tokens]
        for node, tokens in scoring_of(tokenizer).trie.asked.items()
    }


def test_digit_by_digit_only_nodes_with_a_longer_spelling_are_asked():
    digits = list("0123456789")
    assert spelled(DIGITS) == {
        "": digits,
        **dict.fromkeys("123456789", digits),
        "10": ["0"],
        "0": [",", "."],
    }


def test_with_one_token_an_integer_the_root_and_zero_are_asked():
    for tokenizer in (WHOLE, THREE):
        asked = spelled(tokenizer)
        assert set(asked) == {"", "0"}
        assert sorted(asked[""], key=int) == [str(n) for n in range(101)]


def test_a_partial_merge_is_asked_where_it_goes_on():
    asked = spelled(PARTIAL)
    assert asked["10"] == ["0"]
    assert "25" in asked[""]
    assert asked["2"] == list("012346789")
    assert asked["0"] == [","]  # "0." is a token: such an answer begins as no integer


def test_where_a_share_is_read_as_zero_alone_nothing_is_refused():
    encodings = [[1, 2 + n] for n in range(101)]
    trie = trie_from_encodings(encodings, [[1, 2], [1, 50, 3]])
    assert trie.refused == ()
    assert trie_from_encodings(encodings, [[1, 2, 200, 7], [1, 2, 200]]).refused == ((2, 200),)


@pytest.mark.parametrize("tokenizer", [DIGITS, WHOLE, MERGES, PARTIAL, THREE, BYTES])
def test_no_request_names_more_ids_than_the_engine_takes(tokenizer):
    trie = scoring_of(tokenizer).trie
    for ids in trie.asked.values():
        assert 0 < len(set(ids)) == len(ids) <= 128
    assert trie.integers[()] == list(range(101))


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
