"""What makes a run repeatable: everything that can change one of its numbers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from typing import Any, Final

import config
from database import Database
from evaluation.assistance import RULE_VERSION
from evaluation.run_differences import RunSettings
from preflight.model_entries import SERVER_KEYS, ModelSpec
from questions.question import Question
from runs.command_line import UsageError
from runs.environment import versions
from runs.gather_evidence import retrieval_settings
from runs.plan import Plan
from runs.weights_identity import weights_identity
from scoring import prompts
from scoring.scorer import SCORING_RULE
from storage.records import Run
from terminal.redaction import redact

# What of the wiki decides which passages are found; the rest says who asks and how patiently.
WIKI_SETTINGS: Final = ("api_url",)
REDACTED: Final = "***"
SECRET_KEY: Final = re.compile(
    r"(?:^|_)(?:token|secret|password|api_?key|access_key(?:_id)?|credentials)$", re.IGNORECASE
)
STORED_KINDS: Final[dict[str, Any]] = {
    "retrieval": dict | None,
    "documents": str | None,
    "backtest": str | None,
    "demo": bool,
    "coherence": bool,
}


class Manifest(RunSettings):
    """The settings of a plan or of a stored run that can be repeated."""

    @classmethod
    def of(cls, plan: Plan) -> Manifest:
        """Return a plan's manifest; with the weights where an earlier run is continued."""
        resumed = plan.specs if plan.resume is not None else []
        weights = {spec.name: weights_identity(spec.path) for spec in resumed}
        return cls(plan_settings(plan), config.SEED, versions(), weights)

    @classmethod
    def stored(cls, database: Database, run: Run) -> Manifest:
        """Read a stored run's manifest.

        Raises:
            UsageError: the settings lack something that every run stores, or are damaged.
        """
        settings = dict(run.settings)
        try:
            if "models" in settings and "today" not in settings:
                raise too_old(run.id)
            date.fromisoformat(settings["today"])
            for name in settings["model_order"]:
                if not isinstance(settings["models"][name]["path"], str):
                    raise TypeError(f"path of {name}")
            for name, kind in STORED_KINDS.items():
                if not isinstance(settings[name], kind):
                    raise TypeError(name)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise UsageError(
                f"run {run.id}: its stored settings are damaged ({type(error).__name__}: {error});"
                " start a new run"
            ) from None
        return cls(settings, run.seed, run.versions, database.runs.weights(run.id))


def too_old(run_id: int) -> UsageError:
    """Say that a run cannot be continued or repeated: older versions stored less."""
    return UsageError(
        f"run {run_id} was stored by an older Forecaster without what --resume and --replay need;"
        " start a new run"
    )


def plan_settings(plan: Plan) -> dict[str, Any]:
    """Return the settings that can change a number, as plain JSON without secrets."""
    settings = {
        "models": {spec.name: _entry(spec) for spec in plan.specs},
        "model_order": [spec.name for spec in plan.specs],
        "vllm": dict(plan.vllm_config),
        "pool_method": config.POOL_METHOD,
        "assistance": {
            "rule": RULE_VERSION,
            "show_market": config.SHOW_MARKET,
            "market_weight": config.MARKET_WEIGHT,
            "show_base_rate": config.SHOW_BASE_RATE,
            "base_rate_weight": config.BASE_RATE_WEIGHT,
        },
        "scoring_rule": SCORING_RULE,
        "scoring_tolerance": config.SCORING_TOLERANCE,
        "min_captured_mass": config.MIN_CAPTURED_MASS,
        "context_tokens": config.CONTEXT_TOKENS,
        "evidence_chunks": config.EVIDENCE_CHUNKS,
        "prompt_template": prompt_template(logic=plan.logic is not None),
        "retrieval": _retrieval(plan),
        "documents": plan.documents,
        "demo": plan.demo,
        "coherence": plan.coherence,
        "backtest": plan.backtest,
        "today": plan.today,
    }
    # Absent where not used, so that runs stored before there was either can still be resumed.
    if plan.logic is not None:
        settings["logic"] = {
            **_entry(plan.logic),
            "samples": config.LOGIC_SAMPLES,
            "max_tokens": config.LOGIC_MAX_TOKENS,
            "temperature": config.LOGIC_TEMPERATURE,
        }
    if any(spec.think for spec in plan.specs):
        settings["thoughts"] = {
            "samples": config.THINK_SAMPLES,
            "max_tokens": config.THINK_MAX_TOKENS,
            "min_tokens": config.THINK_MIN_TOKENS,
            "temperature": config.THINK_TEMPERATURE,
            "top_p": config.THINK_TOP_P,
        }
    if plan.ablate:
        settings["ablate"] = True
    if config.SCORING_WORDINGS > 1:
        settings["scoring_wordings"] = list(prompts.OTHER_REQUESTS[: config.SCORING_WORDINGS - 1])
    plain: dict[str, Any] = json.loads(json.dumps(settings, default=str))
    return {key: _without_secrets(value) for key, value in plain.items()}


def _entry(spec: ModelSpec) -> dict[str, Any]:
    """Return an entry's keys; those about servers or thinking only where used."""
    unused = (*(() if spec.addresses else SERVER_KEYS), *(() if spec.think else ("think",)))
    return {key: value for key, value in asdict(spec).items() if key not in unused}


def _retrieval(plan: Plan) -> Mapping[str, Any] | None:
    """Return what the evidence was found with; a replay's is its origin's."""
    if plan.origin is not None:
        return plan.origin_retrieval
    settings = retrieval_settings(plan)
    if settings is None:
        return None
    values = asdict(settings)
    if values.get("wiki") is not None:
        values["wiki"] = {name: values["wiki"][name] for name in WIKI_SETTINGS}
    return values


def _without_secrets(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {
            key: REDACTED
            if isinstance(item, str) and item and SECRET_KEY.search(key)
            else _without_secrets(item)
            for key, item in value.items()
        }
    return [_without_secrets(item) for item in value] if isinstance(value, list) else value


def prompt_template(*, logic: bool = False) -> str:
    """Hash all fixed prompt text, with ``logic`` of both prompts.

    It is the text of the messages for a made-up question and passage.
    """
    passage = prompts.Passage(text="x", section="x", source="x", title="x", timestamp="2000-01-01")
    question = Question("x", background="x", resolution_criteria="x", close_date="2000-01-01")
    messages = prompts.forecast_messages(question, [passage], today="2000-01-01", reasoning="x")
    known = [prompts.market_fact(0.5, day) for day in ("2000-01-01", None)]
    known += [prompts.base_rate_fact(2, 1, kind, "x") for kind in prompts.FAMILIES]
    known += [prompts.base_rate_fact(2, 1, "template", "x", held=True)]
    fixed: list[Any] = [messages, prompts.PLAIN_ANSWER, prompts.FACTS, known]
    if logic:
        asked = prompts.reasoning_messages(question, [passage], today="2000-01-01")
        fixed += [asked, prompts.PLAIN_NOTES]
    return hashlib.sha256(json.dumps(fixed).encode()).hexdigest()[:16]
