"""The ranking benchmark on a small store: it finds what brute force finds, and says so when faiss does not."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import config
from database import Database
from evidence.ranking import VectorIndex

SPEC = importlib.util.spec_from_file_location(
    "retrieval_benchmark", Path(__file__).parents[2] / "benchmarks" / "retrieval.py"
)
assert SPEC is not None
assert SPEC.loader is not None
retrieval = importlib.util.module_from_spec(SPEC)
sys.modules["retrieval_benchmark"] = retrieval
SPEC.loader.exec_module(retrieval)
SMALL = ["--passages", "230", "--questions", "3", "--dimension", "16", "--repeats", "2", "--copies"]


class FlatIndex:
    """Exact inner products; ``wrong`` answers with the first passages instead."""

    wrong = False

    def __init__(self, dimension):
        self.vectors = np.empty((0, dimension), dtype=np.float32)

    def add(self, vectors):
        self.vectors = np.concatenate([self.vectors, vectors])

    def search(self, queries, k):
        order = np.argsort(-(queries @ self.vectors.T), axis=1)[:, :k]
        return None, np.tile(np.arange(k), (len(queries), 1)) if self.wrong else order


@pytest.mark.parametrize(
    ("wrong", "code", "says"), [(False, 0, "the same passages"), (True, 1, "THEY DIFFER")]
)
def test_it_compares_with_an_exact_index(monkeypatch, capsys, wrong, code, says):
    monkeypatch.setattr(FlatIndex, "wrong", wrong)
    module = SimpleNamespace(IndexFlatIP=FlatIndex, __spec__=SPEC)
    monkeypatch.setitem(sys.modules, "faiss", module)
    assert retrieval.main(SMALL) == code
    printed = capsys.readouterr().out
    assert "230 passages of 5 articles" in printed
    assert says in printed


def test_the_index_ranks_as_brute_force_does(tmp_path):
    with Database(tmp_path / "store.db") as database:
        retrieval.fill(database, 230, 16)
        index = VectorIndex(database, retrieval.MODEL)
        index.refresh()
        queries = retrieval.unit_vectors(3, 16, np.random.default_rng(3))
        ((passages, owners, vectors),) = index.blocks
        for allowed in ([1, 2, 3, 4, 5], [2, 4]):
            scores = np.where(np.isin(owners, allowed), queries @ vectors.T, -np.inf)
            expected = [[int(passages[c]) for c in row[:7]] for row in np.argsort(-scores, axis=1)]
            assert [[i for i, _ in hits] for hits in index.search(queries, allowed, 7)] == expected


@pytest.mark.parametrize(("copies", "filled"), [(5, "12 to 12"), (60, "4 to 4")])
def test_evidence_is_what_the_plain_way_chooses(monkeypatch, capsys, copies, filled):
    monkeypatch.setattr(config, "PASSAGES_PER_QUESTION", 12)
    assert retrieval.main([*SMALL, str(copies)]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith(f"| {copies} | {filled} | {filled} | ")
