"""Frozen values to store: a forecast, what goes with it, and its pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from scoring.distribution import Distribution
from scoring.prompts import Passage


@dataclass(frozen=True)
class ForecastRecord:
    """One agent's forecast to store, from one chunk of evidence, or its error.

    Masses are probabilities (0-1), deviations in percentage points, ``seconds`` wall-clock time.
    ``samples`` counts the scored samples of reasoning (0 without), ``sample_distributions`` has
    each one's number and distribution. ``evidence`` is in the order of the numbers that the prompt
    gives its passages, from 1. ``note`` says what was unusual and changed no number.
    """

    question_id: str
    agent: str
    model: str
    chunk: int = 0
    distribution: Distribution | None = None
    captured_mass: float | None = None
    residual_mass: float | None = None
    low_confidence: bool = False
    prompt: str = ""
    prompt_tokens: int = 0
    forward_tokens: int = 0
    requests: int = 0
    seconds: float = 0.0
    reasoning: str | None = None
    error: str | None = None
    context_error: str | None = None
    evidence: tuple[Passage, ...] = ()
    samples: int = 0
    within_deviation: float | None = None
    between_deviation: float | None = None
    reasoning_error: str | None = None
    note: str | None = None
    sample_distributions: tuple[tuple[int, Distribution], ...] = ()
    wording_deviation: float | None = None
    wording_distributions: tuple[tuple[int, Distribution], ...] = ()
    ablations: tuple[AblationRecord, ...] = ()


@dataclass(frozen=True)
class AblationRecord:
    """A forecast without reasoning, evidence or both (``condition``), or its error.

    ``shift`` is the forecast's mean minus this one's (percentage points), ``divergence`` the
    Jensen-Shannon divergence between them (bits): with no shift it is a change of width.
    """

    condition: str
    prompt: str = ""
    distribution: Distribution | None = None
    captured_mass: float | None = None
    residual_mass: float | None = None
    shift: float | None = None
    divergence: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class EnsembleRecord:
    """The pool to store of all agents' forecasts of one question.

    ``agents`` took part; ``weights`` is each agent's weight (0-1),
    ``weakest_captured`` their lowest captured mass.
    """

    question_id: str
    method: str
    distribution: Distribution
    agents: int
    agents_configured: int
    agreement: float
    captured_mass: float
    residual_mass: float
    low_confidence: bool
    weights: Mapping[str, float] = field(default_factory=dict)
    weakest_captured: float | None = None
