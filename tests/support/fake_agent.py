"""What stand-ins for an agent share: no engine to load or to shut down, and a trie with one token an integer."""

from __future__ import annotations

from scoring.number_trie import NumberTrie

TRIE = NumberTrie((), tuple((n,) for n in range(101)))


class FakeAgent:
    """Loads nothing; a subclass answers in ``score``."""

    served_by = None

    def __init__(self, spec):
        self.spec = spec

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None
