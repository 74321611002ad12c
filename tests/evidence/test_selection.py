"""Near-duplicates: copies are dropped, neighbours and newer texts are kept."""

from __future__ import annotations

import pytest

from evidence.selection import containment, drop_near_duplicates, shingles

STORY = "The central bank raised its rate to four percent on Thursday because inflation stayed above the target again."


def test_copies_are_dropped_and_the_first_is_kept():
    near = STORY.replace("again", "once more").upper()
    other = "Wheat exports fell by half after the drought, and the government opened its reserves to the mills."
    assert drop_near_duplicates(
        [STORY, other, near, STORY + " More followed in an hour.", other]
    ) == [0, 1]


def test_the_newer_of_two_near_duplicates_is_kept_in_the_place_of_the_older():
    updated = STORY.replace("four percent", "five percent")
    other = "Wheat exports fell by half after the drought."
    assert drop_near_duplicates(
        [STORY, other, updated], dates=["2026-01", "2026-03", "2026-02"]
    ) == [2, 1]
    assert drop_near_duplicates(
        [updated, other, STORY], dates=["2026-02", "2026-03", "2026-01"]
    ) == [0, 1]
    assert drop_near_duplicates([STORY, updated], dates=["2026-01", "2026-01"]) == [0]
    # A newer sentence does not push out the older text that holds it and more.
    longer = f"{STORY} {other} The mills closed, the trains stood still, and nobody knew what the winter would bring."
    assert drop_near_duplicates([longer, STORY], dates=["2026-01", "2026-02"]) == [0]


def test_overlapping_neighbours_are_kept():
    words = [f"word{i}" for i in range(400)]
    first, second = " ".join(words[:200]), " ".join(words[160:360])
    assert drop_near_duplicates([first, second]) == [0, 1]
    assert containment(shingles(first), shingles(second)) == pytest.approx(37 / 197)


def test_texts_without_words():
    assert shingles("—!") == frozenset()
    assert containment(shingles(""), shingles("a b")) == 0.0
    assert drop_near_duplicates(["", "", "a", "a"]) == [0, 1, 2]
