"""One round of each pair of processes; ``python -m tests.support.two_at_once 50`` plays more."""

from __future__ import annotations

import pytest

from tests.support.two_at_once import PAIRS, play


@pytest.mark.parametrize("name", PAIRS)
def test_two_processes_on_one_database(tmp_path, name):
    assert play(name, tmp_path, 0.3) == []
