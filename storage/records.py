"""Define the frozen records that everything above storage reads and writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from questions.question import Question
from scoring.distribution import Distribution
from scoring.pooling import Voice
from scoring.prompts import Passage

# Kinds of columns; ``storage/rows.py`` checks a stored value against the kind of its field.
Moment = str  # an ISO date or timestamp
Mass = float  # a share of probability, 0-1
Binary = int  # 0 or 1
Percentage = float  # 0-100
Loose = Mapping[str, Any]  # JSON; what is no object reads as an empty one
# A record with ``unless_error`` names the fields that only an error excuses from being None.

# How a ``context_error`` begins where passages were found although a source or a model failed.
INCOMPLETE: Final = "incomplete evidence: "
# What it says where every search worked and found nothing.
NOTHING_FOUND: Final = "nothing was found"
# How it begins where passages were found and none is similar enough to the question.
NOTHING_RELEVANT: Final = "nothing relevant was found"


@dataclass(frozen=True)
class Run:
    """A run.

    ``owner`` is the process that works on it, ``origin_run`` the run that it replays.
    """

    id: int
    started_at: Moment
    status: str
    as_of: Moment | None
    seed: int
    settings: Loose
    versions: Mapping[str, Any]
    origin_run: int | None
    owner: str | None


@dataclass(frozen=True)
class AskedQuestion:
    """A question as one run asked it, and how its search for evidence ended.

    ``subject`` is today's: the user may have joined it to another one since. ``as_of`` is the day
    of the question or else of the run, None for a live forecast.
    """

    id: str
    subject: str
    question: Question
    as_of: Moment | None
    retrieved_at: Moment | None
    context_error: str | None

    @property
    def text(self) -> str:
        """The question in this run's words."""
        return self.question.text

    @property
    def close_date(self) -> str | None:
        """The ISO date after which it is settled."""
        return self.question.close_date

    @property
    def extra(self) -> Mapping[str, Any]:
        """Further columns of its file."""
        return self.question.extra


@dataclass(frozen=True)
class EarlierQuestion:
    """A wording of a question, and the last run that asked it so; no replays."""

    run_id: int
    id: str
    subject: str
    text: str
    close_date: Moment | None


@dataclass(frozen=True)
class KnownQuestion:
    """A question in its newest wording, of all runs or of those of one record."""

    id: str
    subject: str
    text: str
    extra: Mapping[str, Any]
    close_date: Moment | None = None


@dataclass(frozen=True)
class AskedColumns:
    """What a score needs of a question in one run."""

    run_id: int
    question_id: str
    subject: str
    extra: Mapping[str, Any]


@dataclass(frozen=True)
class FirstForecast:
    """When a question was first forecast in one run."""

    subject: str
    as_of: Moment | None
    created_at: Moment


@dataclass(frozen=True)
class Forecast:
    """One agent's stored forecast from one chunk of evidence, or its error.

    Deviations are standard deviations in percentage points, within and between the ``samples`` of
    reasoning.
    """

    unless_error: ClassVar = ("distribution", "captured_mass", "residual_mass")

    question_id: str
    agent: str
    chunk: int
    model: str
    distribution: Distribution | None
    captured_mass: Mass | None
    residual_mass: Mass | None
    low_confidence: bool
    prompt_sha256: str | None
    reasoning: str | None
    error: str | None
    samples: int
    within_deviation: float | None
    between_deviation: float | None
    reasoning_error: str | None
    wording_deviation: float | None

    @property
    def mean(self) -> float:
        """The point forecast in percent."""
        return self.voice.distribution.mean

    @property
    def voice(self) -> Voice:
        """The forecast as a voice of a pool; there must be one."""
        assert self.distribution is not None, self.error
        assert self.captured_mass is not None
        assert self.residual_mass is not None
        return Voice(self.distribution, self.captured_mass, self.residual_mass, self.captured_mass)


@dataclass(frozen=True)
class PooledForecast:
    """The stored pool of all agents' forecasts of one question in one run.

    ``calibrated`` is the newest calibration's value in percent and ``calibration`` its id,
    ``weights`` each agent's weight in the pool (0-1). ``final`` is in percent; None where nothing
    moved the models' mean.
    """

    question_id: str
    method: str
    distribution: Distribution
    agents: int
    agents_configured: int
    agreement: float
    captured_mass: Mass
    low_confidence: bool
    weights: Mapping[str, Any] | None
    calibrated: float | None
    calibration: int | None
    final: float | None

    @property
    def mean(self) -> float:
        """The models' point forecast in percent."""
        return self.distribution.mean

    @property
    def final_mean(self) -> float:
        """The final number in percent, the models' mean where nothing moved it."""
        return self.mean if self.final is None else self.final

    @property
    def p10(self) -> float:
        """Lower end of the central 80 % in percent."""
        return self.distribution.quantile(0.1)

    @property
    def p90(self) -> float:
        """Upper end of the central 80 % in percent."""
        return self.distribution.quantile(0.9)


@dataclass(frozen=True)
class AblationPair:
    """A forecast beside the same work without reasoning, evidence or both.

    Means are in percent. ``shift`` is in percentage points (with minus
    without), ``divergence`` in bits.
    """

    unless_error: ClassVar = ("full_mean", "mean", "shift", "divergence")

    question_id: str
    agent: str
    chunk: int
    condition: str
    full_mean: float | None
    mean: float | None
    shift: float | None
    divergence: float | None
    error: str | None


@dataclass(frozen=True)
class ReasoningRecord:
    """One reasoning for a question and chunk; ``cut`` when the length limit ended it."""

    question_id: str
    chunk: int
    sample: int
    model: str
    text: str
    tokens: int
    finish_reason: str
    cut: bool
    seed: int


@dataclass(frozen=True)
class Resolution:
    """How a question ended: outcome 0 or 1, or None when it was voided."""

    question_id: str
    outcome: Binary | None
    resolved_at: Moment
    source: str = ""


@dataclass(frozen=True)
class CalibrationRecord:
    """A fitted calibration of one record (live or back-dated).

    All scores are cross-validated and of the same forecasts: Brier, log score and
    expected calibration error.
    """

    forecaster: str
    method: str
    parameters: Loose
    questions: int
    clusters: int
    raw_brier: float
    calibrated_brier: float
    record: str = "live"
    raw_log: float | None = None
    calibrated_log: float | None = None
    raw_ece: float | None = None
    calibrated_ece: float | None = None
    id: int = 0
    created_at: Moment = ""


@dataclass(frozen=True)
class CoherenceRecord:
    """A coherence check.

    It has a question's probability, those of its rewordings by id, and the gap (all 0-1).
    """

    run_id: int
    question_id: str
    forecaster: str
    kind: str
    probability: float
    others: Mapping[str, Any] = field(default_factory=dict)
    gap: float = 0.0


@dataclass(frozen=True)
class Rewording:
    """A new wording of a question that the user accepted as the same question."""

    question_id: str
    old_text: str
    new_text: str


@dataclass(frozen=True)
class Article:
    """One revision of one text; all times UTC ISO-8601 with ``Z``.

    ``timestamp`` is when the revision was made, ``fetched_at`` when it was last checked,
    ``current_until`` the latest moment at which it was known to be the newest revision ("" takes
    ``fetched_at``).
    """

    source: str
    title: str
    revision_id: str
    timestamp: str
    url: str
    text: str
    fetched_at: str = ""
    id: int = 0
    current_until: str = ""


@dataclass(frozen=True)
class Evidence:
    """The passages found for a question, best first.

    ``context_error`` says why there are none or, after ``INCOMPLETE``, what failed although there
    are some; None when all is well. ``facts`` are lines about market price and base rate.
    """

    question: Question
    passages: tuple[Passage, ...] = ()
    context_error: str | None = None
    facts: tuple[str, ...] = ()
