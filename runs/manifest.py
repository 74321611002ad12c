"""What makes a run repeatable: its settings row, the identity of its weights, and the way back from a row to a run.

A room of its own because ``--resume`` and ``--replay`` need the same three things that a new run stores:
the settings (everything that can change a number), the questions as they were asked, and who works on it.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import config
from preflight.model_entries import ModelSpec, model_spec
from questions.question import Question
from runs.weights import weights_identity
from scoring import prompts
from terminal.redaction import redact

if TYPE_CHECKING:
    from database import Database
    from storage.records import Forecast, Run

# Settings that say who asks or how patiently, not what is found; a run may be resumed with others.
_WIKI_IDENTITY: Final = ("api_url",)
# What earlier versions stored of the most viewed articles; they were off unless a user asked.
_RETIRED: Final = (
    ("retrieval.top_articles", 0),
    ("retrieval.wiki.pageviews_url", "https://wikimedia.org/api/rest_v1"),
)


class RunError(Exception):
    """A run cannot be resumed or replayed; one line for each reason."""


# --- settings ---------------------------------------------------------------------------------------------------------


def run_settings(
    specs: Sequence[ModelSpec],
    vllm_config: Mapping[str, Any],
    *,
    retrieval: Any,
    documents: str | None,
    demo: bool,
    coherence: bool,
    backtest: str | None,
    logic: ModelSpec | None = None,
    ablate: bool = False,
) -> dict[str, Any]:
    """Everything that can change a number of a run, as plain JSON without secrets.

    Args:
        specs: the models in their order.
        vllm_config: the engine's settings in force.
        retrieval: a ``RetrievalSettings``, or None when retrieval is switched off.
        logic: the model that writes reasoning first, or None.
        ablate: whether each forecast is also made without reasoning and without evidence.
        documents, demo, coherence, backtest: what the command line asked for.
    """
    settings = {
        "models": {spec.name: asdict(spec) for spec in specs},
        "model_order": [spec.name for spec in specs],
        "vllm": dict(vllm_config),
        "pool_method": config.POOL_METHOD,
        "scoring_tolerance": config.SCORING_TOLERANCE,
        "scoring_block_budget": config.SCORING_BLOCK_BUDGET,
        "min_captured_mass": config.MIN_CAPTURED_MASS,
        "context_tokens": config.CONTEXT_TOKENS,
        "evidence_chunks": config.EVIDENCE_CHUNKS,
        "prompt_template": prompt_template(logic=logic is not None),
        "retrieval": retrieval_settings(retrieval),
        "documents": documents,
        "demo": demo,
        "coherence": coherence,
        "backtest": backtest,
    }
    if logic is not None:
        # Absent without reasoning, so that runs stored before there was any can still be resumed.
        settings["logic"] = {
            **asdict(logic),
            "samples": config.LOGIC_SAMPLES,
            "max_tokens": config.LOGIC_MAX_TOKENS,
            "temperature": config.LOGIC_TEMPERATURE,
        }
    if ablate:
        settings["ablate"] = True
    plain: dict[str, Any] = json.loads(json.dumps(settings, default=str))
    return {key: _redacted(value) for key, value in plain.items()}


def retrieval_settings(retrieval: Any) -> dict[str, Any] | None:
    """What decides which passages are found; of the wiki its addresses only."""
    if retrieval is None:
        return None
    values = asdict(retrieval)
    if values.get("wiki") is not None:
        values["wiki"] = {name: values["wiki"][name] for name in _WIKI_IDENTITY}
    return values


def prompt_template(*, logic: bool = False) -> str:
    """Hash of all fixed prompt text: of the messages for a made-up question and passage; with ``logic``, of both prompts."""

    class Passage:
        source = title = section = text = "x"
        timestamp = "2000-01-01"

    question = Question("x", background="x", resolution_criteria="x", close_date="2000-01-01")
    messages = prompts.forecast_messages(
        question, [Passage()], today="2000-01-01", reasoning="x", padding="x"
    )
    fixed: list[Any] = [messages, prompts.PLAIN_ANSWER]
    if logic:
        asked = prompts.reasoning_messages(question, [Passage()], today="2000-01-01")
        fixed += [asked, prompts.PLAIN_NOTES]
    return hashlib.sha256(json.dumps(fixed).encode()).hexdigest()[:16]


def _redacted(value: Any) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {
            key: REDACTED if _secret(key, item) else _redacted(item) for key, item in value.items()
        }
    if isinstance(value, list):
        return [_redacted(item) for item in value]
    return value


REDACTED: Final = "***"
_SECRET_KEY = re.compile(
    r"(?:^|_)(?:token|secret|password|api_?key|access_key(?:_id)?|credentials)$", re.IGNORECASE
)


def _secret(key: str, value: Any) -> bool:
    return isinstance(value, str) and bool(value) and bool(_SECRET_KEY.search(key))


def changed_settings(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One line for each setting that differs: its name, its value then, its value now."""
    before = {name: value for name, value in _flat(then) if (name, value) not in _RETIRED}
    after = dict(_flat(now))
    lines = []
    for name in sorted({*before, *after}):
        if before.get(name, _ABSENT) != after.get(name, _ABSENT):
            old, new = (_shown(values.get(name, _ABSENT)) for values in (before, after))
            lines.append(f"{name} was {old} and is now {new}")
    return lines


_ABSENT: Final = object()


def _shown(value: Any) -> str:
    return "not set" if value is _ABSENT else json.dumps(value, ensure_ascii=False)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def stored_settings(row: Run) -> dict[str, Any]:
    """The settings of a run's row.

    Raises:
        RunError: they lack something that every run stores, or hold something else than was stored there.
    """
    try:
        settings = dict(row.settings)
        if "models" in settings and "today" not in settings:
            raise RunError(
                f"run {row.id} was stored by an older Forecaster without what --resume and --replay need;"
                " start a new run"
            )
        date.fromisoformat(settings["today"])
        for name in settings["model_order"]:
            if not isinstance(settings["models"][name]["path"], str):
                raise TypeError(f"path of {name}")
        for name, kind in _STORED_KINDS.items():
            if not isinstance(settings[name], kind):
                raise TypeError(name)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise RunError(
            f"run {row.id}: its stored settings are damaged ({type(error).__name__}: {error}); start a new run"
        ) from None
    return dict(settings)


_STORED_KINDS: Final[dict[str, Any]] = {
    "retrieval": dict | None,
    "documents": str | None,
    "backtest": str | None,
    "demo": bool,
    "coherence": bool,
}


def stored_specs(settings: Mapping[str, Any]) -> list[ModelSpec]:
    """The models of a stored run, as config.py defines them today.

    A model that config.py does not know is taken by its stored path with the defaults for everything else: what a
    database says must not switch on ``trust_remote_code``. The comparison of settings finds every difference.

    Raises:
        ConfigError: a stored path is no model path any more (a folder that is gone).
    """
    specs = []
    for name in settings["model_order"]:
        path = settings["models"][name]["path"]
        if name in config.FORECAST_MODEL_PATHS_VLLM:
            specs.append(model_spec(name, config.FORECAST_MODEL_PATHS_VLLM))
        else:
            model_spec(path, {})
            specs.append(ModelSpec(name, path))
    return specs


def weights_of(specs: Sequence[ModelSpec]) -> dict[str, str]:
    """Return each model's ``weights_identity`` by name."""
    return {spec.name: weights_identity(spec.path) for spec in specs}


# --- from a row to a run ----------------------------------------------------------------------------------------------


def stored_questions(database: Database, run_id: int) -> list[Question]:
    """The questions of a run exactly as it asked them, in its order.

    Raises:
        RunError: the run was stored by a Forecaster that did not keep them.
    """
    rows = database.run_questions(run_id)
    if not rows:
        raise RunError(
            f"run {run_id} was stored by an older Forecaster without what --resume and --replay need; start a new run"
        )
    for row in rows:
        if row.question.id != row.id:
            raise RunError(
                f"run {run_id}: its stored questions are damaged ({row.id!r} is stored as"
                f" {row.question.id!r}); start a new run"
            )
    return [row.question for row in rows]


def find_run(database: Database, wanted: str | int) -> Run:
    """The run of that number, or the latest unfinished one for "latest".

    Raises:
        RunError: there is none, or it is not a number.
    """
    if wanted == "latest":
        row = database.unfinished_run()
        if row is None:
            raise RunError(f"{database.path}: every run is finished; nothing is left to resume")
        return row
    numbers = {str(row.id): row for row in database.runs()}
    if str(wanted) not in numbers:
        raise RunError(
            f"{database.path}: there is no run {wanted!r}; stored: {', '.join(list(numbers)[-10:]) or 'none'}"
        )
    return numbers[str(wanted)]


def resume_command(run: int | str, database: Path) -> str:
    """The command that finishes a run, by its number or as "latest"."""
    where = (
        "" if str(database) == config.DATABASE_PATH else f" --database {shlex.quote(str(database))}"
    )
    return f"python forecaster.py --resume {run}{where}"


# --- replay -----------------------------------------------------------------------------------------------------------


def replay_lines(
    database: Database, origin: int, replayed: int, distance: Callable[[Forecast, Forecast], float]
) -> list[str]:
    """How a replay differs from its origin: for each agent and question the total variation and the points between the means.

    Args:
        database: where both runs are.
        origin, replayed: their numbers.
        distance: total variation between the distributions of two rows.
    """
    before = {_key(row): row for row in database.forecasts(origin)}
    after = {_key(row): row for row in database.forecasts(replayed)}
    rows = [f"{'agent':<24}  {'question':<24}  {'TV':>8}  {'points':>7}  prompt"]
    worst = 0.0
    unmatched = 0
    for key in before | after:
        old, new = before.get(key), after.get(key)
        label = f"{key[1][:24]:<24}  {key[0][:24]:<24}"
        if key[2]:
            label += f" (chunk {key[2]})"
        if old is None or new is None or old.error is not None or new.error is not None:
            unmatched += 1
            rows.append(f"{label}  then: {_state(old)}; now: {_state(new)}")
            continue
        tv = distance(old, new)
        worst = max(worst, tv)
        same = "same" if old.prompt_sha256 == new.prompt_sha256 else "differs"
        rows.append(f"{label}  {tv:>8.2g}  {new.mean - old.mean:>+7.2f}  {same}")
    closing = f"Run {replayed} replays run {origin}: the largest total variation is {worst:.2g}"
    if unmatched:
        closing += f"; {unmatched} forecasts cannot be compared"
    return [*rows, "", closing + "."]


def _key(row: Forecast) -> tuple[str, str, int]:
    return row.question_id, row.agent, row.chunk


def _state(row: Forecast | None) -> str:
    return (
        "none"
        if row is None
        else f"failed ({row.error})"
        if row.error is not None
        else "a forecast"
    )
