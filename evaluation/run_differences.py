"""Compare what decides the numbers of two runs: settings, seed, versions, weights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

# Settings that are gone, each with the value at which it changed no number; earlier versions stored
# them.
RETIRED: Final = (
    ("scoring_block_budget", 12),
    ("retrieval.top_articles", 0),
    ("retrieval.wiki.pageviews_url", "https://wikimedia.org/api/rest_v1"),
)
# Until version 2 the rule had no name in the manifest.
FIRST_SCORING_RULE: Final = "1: no digit follows"
# Packages whose version decides no more than a number's last digits.
HARMLESS: Final = {f"version.{name}" for name in ("python", "numpy", "runai-model-streamer")}
# What a run does not have, in words.
ABSENT: Final = "not set"
# The identity of weights that are not known before the model is loaded.
UNKNOWN_WEIGHTS: Final = "unknown"


@dataclass(frozen=True)
class RunSettings:
    """What two runs must have in common to give the same numbers.

    Args:
        settings: of config.py and the command line, as plain JSON without secrets.
        seed: the run's seed.
        versions: by package, and Python's.
        weights: ``weights_identity`` by model. A new run has none yet: they are noted when the
            model is loaded.
    """

    settings: Mapping[str, Any]
    seed: int
    versions: Mapping[str, Any]
    weights: Mapping[str, str] = field(default_factory=dict)

    def flat(self) -> dict[str, Any]:
        """Return all by name (``vllm.dtype``); of Python the minor version counts."""
        python = ".".join(str(self.versions.get("python", "")).split(".")[:2])
        values = {
            "scoring_rule": FIRST_SCORING_RULE,
            **self.settings,
            "seed": self.seed,
            "version": {**self.versions, "python": python},
            **{f"weights of {name}": identity for name, identity in self.weights.items()},
        }
        return dict(pair for pair in _flat(values) if pair not in RETIRED)


@dataclass(frozen=True)
class Difference:
    """One value, in words, that differs between two runs."""

    name: str
    then: str
    now: str

    @property
    def harmless(self) -> bool:
        """Whether it changes a number's last digits at most."""
        return self.name in HARMLESS

    @property
    def of_models(self) -> bool:
        """Whether it says which models are asked, and how they are loaded."""
        return self.name.startswith(("models.", "model_order", "weights of "))

    def __str__(self) -> str:
        return f"{self.name} was {self.then} and is now {self.now}"


def differences(then: RunSettings, now: RunSettings) -> list[Difference]:
    """Compare by name; weights only where both know them.

    Weights that are not known before the model is loaded are compared after it (``Ensemble``).
    """
    before, after = then.flat(), now.flat()
    found = []
    for name in sorted({*before, *after}):
        pair = before.get(name, _ABSENT), after.get(name, _ABSENT)
        unknown = name.startswith("weights of ") and {_ABSENT, UNKNOWN_WEIGHTS} & {*pair}
        if pair[0] != pair[1] and not unknown:
            found.append(Difference(name, _in_words(pair[0]), _in_words(pair[1])))
    return found


_ABSENT: Final = object()


def _in_words(value: Any) -> str:
    return ABSENT if value is _ABSENT else json.dumps(value, ensure_ascii=False)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
