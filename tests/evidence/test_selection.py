"""Near-duplicates: copies are dropped, neighbours and newer texts are kept."""

from __future__ import annotations

import random

import numpy as np
import pytest

from evidence.selection import DistinctPassages, Places, shingles

STORY = "The central bank raised its rate to four percent on Thursday because inflation stayed above the target again."
OTHER = "Wheat exports fell by half after the drought, and the government opened its reserves to the mills."


class Store:
    """Texts by number, each an article of its own, with vectors; counts what is read."""

    def __init__(self, texts, dates=None, vectors=None):
        self.texts, self.vectors = texts, vectors
        self.dates = dict(enumerate(dates or [0] * len(texts)))
        self.reads = []

    def read(self, ids):
        self.reads += ids
        return {i: (i, self.texts[i]) for i in ids}

    def look(self, ids):
        return np.array(ids), self.vectors[list(ids)]

    def distinct(self, threshold=0.6):
        look = None if self.vectors is None else self.look
        return DistinctPassages(threshold, self.dates, self.read, look)


def distinct(texts, dates=None):
    found = Store(texts, dates).distinct()
    found.update(range(len(texts)))
    assert found.articles == found.passages
    return found.passages


def compared_one_by_one(texts, dates, threshold=0.6):
    """The rule in its plainest form."""
    kept = []
    for number, text in enumerate(texts):
        words = shingles(text)
        for place, other in enumerate(kept):
            held = shingles(texts[other])
            smaller = min(len(words), len(held))
            if smaller and len(words & held) / smaller >= threshold:
                if dates[number] > dates[other] and len(words & held) / len(held) >= threshold:
                    kept[place] = number
                break
        else:
            kept.append(number)
    return kept


def test_copies_are_dropped_and_the_first_is_kept():
    near = STORY.replace("again", "once more").upper()
    assert distinct([STORY, OTHER, near, STORY + " More followed in an hour.", OTHER]) == [0, 1]


def test_the_newer_of_two_near_duplicates_is_kept_in_the_place_of_the_older():
    updated = STORY.replace("four percent", "five percent")
    assert distinct([STORY, OTHER, updated], [1, 3, 2]) == [2, 1]
    assert distinct([updated, OTHER, STORY], [2, 3, 1]) == [0, 1]
    assert distinct([STORY, updated], [1, 1]) == [0]
    # A newer sentence does not push out the older text that holds it and more.
    longer = f"{STORY} {OTHER} The mills closed, the trains stood still, and nobody knew what the winter would bring."
    assert distinct([longer, STORY], [1, 2]) == [0]


def test_overlapping_neighbours_are_kept():
    words = [f"word{i}" for i in range(400)]
    first, second = " ".join(words[:200]), " ".join(words[160:360])
    assert distinct([first, second]) == [0, 1]
    shared = len(shingles(first) & shingles(second)) / len(shingles(first))
    assert shared == pytest.approx(37 / 197)


def test_texts_without_words():
    assert shingles("—!") == frozenset()
    assert distinct(["", "", "a", "a"]) == [0, 1, 2]


def test_shingles_are_runs_of_four_words_in_any_alphabet():
    assert len(shingles("one two three")) == 1
    assert len(shingles("One, two; three. FOUR five")) == 2
    assert shingles("a_b c d e") == shingles("A_B: c-d (e)")
    assert shingles("é two three four") == shingles("É two three four!")
    assert shingles("one two three four") <= shingles("one two three four fünf")


def stories(seed, *, count, copies):
    """Variants of some texts with dates, and vectors near each other where texts are."""
    draw, normal = random.Random(seed), np.random.default_rng(seed)
    words = [f"w{n}" for n in range(300)]
    texts, dates, vectors = [], [], []
    for _ in range(count):
        base = draw.choices(words, k=draw.randrange(20, 60))
        centre = normal.normal(size=32)
        for _ in range(draw.randrange(1, copies)):
            text = list(base)
            for _ in range(draw.randrange(0, 8)):
                text[draw.randrange(len(text))] = draw.choice(words)
            texts.append(" ".join(text[: draw.randrange(15, 61)]))
            dates.append(draw.randrange(5))
            vector = centre + 0.1 * normal.normal(size=32)
            vectors.append(vector / np.linalg.norm(vector))
    order = draw.sample(range(len(texts)), len(texts))
    return (
        [texts[n] for n in order],
        [dates[n] for n in order],
        np.array([vectors[n] for n in order], np.float32),
    )


@pytest.mark.parametrize("seed", range(20))
def test_the_index_of_shingles_finds_what_comparing_one_by_one_finds(seed):
    texts, dates, _ = stories(seed, count=8, copies=12)
    expected = compared_one_by_one(texts, dates)
    assert distinct(texts, dates) == expected
    grown = Store(texts, dates).distinct()
    for end in (1, 7, 20, len(texts)):
        grown.update(range(end))
    assert grown.passages == expected


def edited(seed):
    """Texts of few words, so that they overlap, with variants that differ word by word; some are short."""
    draw = random.Random(seed)
    words = [f"w{n}" for n in range(draw.choice([3, 8, 40]))]
    texts = []
    for _ in range(6):
        base = draw.choices(words, k=draw.choice([1, 2, 3, 4, 5, 9, 30]))
        for _ in range(draw.randrange(1, 9)):
            text = list(base)
            for _ in range(draw.randrange(0, 1 + len(text) // 3)):
                text[draw.randrange(len(text))] = draw.choice([*words, f"x{draw.randrange(99)}"])
            texts.append(" ".join(text + base[: draw.randrange(3)]))
    draw.shuffle(texts)
    return texts, [draw.randrange(3) for _ in texts]


@pytest.mark.parametrize("seed", range(60))
def test_what_is_sure_word_by_word_is_what_comparing_one_by_one_finds(seed):
    texts, dates = edited(seed)
    for threshold in (0.2, 0.6, 0.9, 1.0):
        found = Store(texts, dates).distinct(threshold)
        found.update(range(len(texts)))
        assert found.passages == compared_one_by_one(texts, dates, threshold)


@pytest.mark.parametrize(
    ("first", "second", "third"),
    [
        # Of the 37 runs of the first one 18 are in the second, and 24 in the third.
        (range(19, 59), range(40), range(46)),
        # A sentence that the second does not have and the third has.
        (range(100, 106), range(40), [*range(30), *range(100, 106), *range(36, 40)]),
    ],
    ids=["two that overlap", "a short one"],
)
def test_a_copy_that_also_repeats_an_older_text_takes_its_place(first, second, third):
    texts = [" ".join(f"w{n}" for n in words) for words in (first, second, third)]
    assert compared_one_by_one(texts, [0, 2, 1]) == [2, 1]
    assert distinct(texts, [0, 2, 1]) == [2, 1]


@pytest.mark.parametrize("seed", range(5))
def test_a_list_in_another_order_is_judged_anew_from_texts_read_once(seed):
    texts, dates, _ = stories(seed, count=8, copies=12)
    store = Store(texts, dates)
    found = store.distinct()
    found.update(range(10))
    order = list(range(len(texts)))[::-1]
    found.update(order)
    expected = compared_one_by_one([texts[n] for n in order], [dates[n] for n in order])
    assert found.passages == [order[n] for n in expected]
    assert len(store.reads) == len(set(store.reads))


def crowd(size, copies_of=3, spread=0.002):
    """``size`` near-copies of each of some texts, told apart by single words, with alike vectors."""
    normal = np.random.default_rng(1)
    centres = normal.normal(size=(copies_of, 32))
    texts, vectors = [], []
    for n in range(size * copies_of):
        words = [f"{n % copies_of}w{k}" for k in range(60)]
        words[n % 60] = f"x{n}"
        texts.append(" ".join(words))
        vector = centres[n % copies_of] + spread * normal.normal(size=32)
        vectors.append(vector / np.linalg.norm(vector))
    return texts, np.array(vectors, np.float32)


def test_of_many_copies_only_some_are_read():
    texts, vectors = crowd(400)
    store = Store(texts, vectors=vectors)
    found = store.distinct()
    found.update(range(len(texts)))
    assert found.passages == [0, 1, 2] == compared_one_by_one(texts, [0] * len(texts))
    assert len(store.reads) < len(texts) / 4


def test_the_newest_copy_is_found_among_many_that_are_not_read():
    texts, vectors = crowd(400)
    dates = [0] * len(texts)
    dates[900], dates[1000] = 2, 1  # of the first and the second text
    store = Store(texts, dates, vectors)
    found = store.distinct()
    found.update(range(len(texts)))
    assert found.passages == [900, 1000, 2]
    assert len(store.reads) < len(texts) / 4


def test_other_words_are_kept_however_alike_their_vectors():
    """One sentence with other figures, as tables have it: nothing repeats, so nothing may be skipped."""
    texts, vectors = crowd(100, copies_of=1)
    others = [f"k{n} l{n} m{n} n{n} o{n} p{n}" for n in range(100)]
    mixed = [text for pair in zip(texts, others, strict=True) for text in pair]
    found = Store(mixed, vectors=np.repeat(vectors, 2, axis=0)).distinct()
    found.update(range(len(mixed)))
    assert found.passages == [0, *range(1, 200, 2)]


def test_after_other_words_with_an_alike_vector_candidates_are_read_again():
    """The first one is read because it is newer; from it on vectors tell nothing of this text's copies."""
    texts, vectors = crowd(200, copies_of=1)
    for n in (150, 160, 170):
        texts[n] = f"k{n} l{n} m{n} n{n} o{n} p{n}"
    store = Store(texts, [n == 150 for n in range(200)], vectors)
    found = store.distinct()
    found.update(range(200))
    assert found.passages == [0, 150, 160, 170]
    assert len(store.reads) < 200


def test_an_article_gets_a_bounded_share():
    assert Places(3, 2).fill("abcdef", [1, 1, 1, 2, 1, 3]) == ["a", "b", "d"]
    assert Places(9, 2).fill("abcdef", [1, 1, 1, 2, 1, 3]) == ["a", "b", "d", "f"]
