"""Score a question's prompt of one run with ingredients of another run's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Final

from database import Database
from evaluation.ablation import FULL, variants
from evaluation.base_rates import held_near_half
from evaluation.resolved import read_voices
from preflight.model_entries import ModelSpec
from scoring.agent import AgentFactory, BaseAgent, loaded
from scoring.pooling import Voice, average
from scoring.prompts import OTHER_REQUESTS, Passage, base_rate_fact, market_fact, question_block
from scoring.samples import fitted_task, result_voice, turned
from scoring.tasks import AgentError, ForecastTask, Thought
from storage.final_numbers import FinalNumbers, OutsideView
from storage.records import AskedQuestion, PooledForecast
from terminal.progress import progress

EVIDENCE: Final = "evidence"
FACTS: Final = "price and base rate shown"
NOTES: Final = "notes and thoughts"
WORDING: Final = "wording"
DATE: Final = "date"
# What a prompt is made of, and how many of it are swapped apart (2^4 prompts a model): beyond that,
# price and base rate count as evidence.
INGREDIENTS: Final = (EVIDENCE, FACTS, NOTES, WORDING, DATE)
MAX_SWAPPED: Final = 4

# A set of ingredients that are the later run's.
Mix = frozenset[str]


@dataclass(frozen=True)
class Side:
    """A question in one run: what its prompts were made of, and the numbers read.

    ``notes`` are by chunk, ``thoughts`` by model and chunk, ``models`` are paths and ``voices``
    stored answers by name. ``prompts`` are the SHA-256 of stored prompts.
    """

    run_id: int
    asked: AskedQuestion
    day: str
    passages: tuple[Passage, ...]
    quoted: tuple[Passage, ...]
    facts: tuple[str, ...]
    notes: Mapping[int, tuple[str, ...]]
    thoughts: Mapping[str, Mapping[int, tuple[Thought, ...]]]
    chunks: int
    wordings: int
    pool: PooledForecast
    numbers: FinalNumbers | None
    models: Mapping[str, str]
    voices: Mapping[str, Voice]
    prompts: frozenset[str]

    @classmethod
    def read(cls, database: Database, run_id: int, asked: AskedQuestion) -> Side | None:
        """Read a question of a run; None where the run has no pool of it."""
        pools = {one.question_id: one for one in database.forecasts.ensembles(run_id)}
        if asked.id not in pools:
            return None
        run = database.runs.get(run_id)
        forecasts = [
            one for one in database.forecasts.of_run(run_id) if one.question_id == asked.id
        ]
        scored = [one for one in forecasts if one.error is None]
        notes: dict[int, tuple[str, ...]] = {}
        for one in database.forecasts.reasonings(run_id):
            if one.question_id == asked.id:
                notes[one.chunk] = (*notes.get(one.chunk, ()), one.text)
        view = database.final.outside_views(run_id).get(asked.id)
        models = {one.agent: one.model for one in scored}
        others = run.settings.get("scoring_wordings") or ()
        return cls(
            run_id=run_id,
            asked=asked,
            day=str(asked.as_of or run.settings.get("today") or run.started_at)[:10],
            passages=tuple(database.articles.retrieval(run_id, asked.id)),
            quoted=tuple(database.forecasts.prompt_evidence(run_id, asked.id)),
            facts=() if view is None else facts(view),
            notes=notes,
            thoughts={name: _thoughts(database, run_id, name, asked.id) for name in models},
            chunks=1 + max(one.chunk for one in forecasts),
            wordings=1 + min(len(others), len(OTHER_REQUESTS)),
            pool=pools[asked.id],
            numbers=database.final.of_run(run_id).get(asked.id),
            models=models,
            voices=read_voices(database, [(run_id, asked.id)])[run_id, asked.id],
            prompts=frozenset(one.prompt_sha256 for one in scored if one.prompt_sha256),
        )

    def ingredient(self, name: str) -> object:
        """Return what decides an ingredient of the prompts, to be compared."""
        found: dict[str, object] = {
            EVIDENCE: (
                self.chunks,
                [
                    (one.source, one.title, one.section, one.text, one.timestamp[:10])
                    for one in self.passages
                ],
            ),
            FACTS: self.facts,
            NOTES: self.notes,
            WORDING: question_block(self.asked.question),
            DATE: self.day,
        }
        return found[name]


def facts(view: OutsideView) -> tuple[str, ...]:
    """Return the lines that a prompt shows of a price and a base rate."""
    lines = []
    if view.market is not None and view.market_shown:
        lines.append(market_fact(view.market, view.market_date))
    if view.relatives and view.base_rate_shown:
        count, held = len(view.relatives), held_near_half(len(view.relatives), view.strength or 0)
        kind, family = view.kind or "", view.family or ""
        lines.append(base_rate_fact(count, view.yes or 0.0, kind, family, held=held))
    return tuple(lines)


def _thoughts(
    database: Database, run_id: int, agent: str, question_id: str
) -> dict[int, tuple[Thought, ...]]:
    found: dict[int, tuple[Thought, ...]] = {}
    for one in database.thoughts.of_run(run_id, agent):
        if one.question_id == question_id:
            thought = Thought(one.text, one.rest, one.token_ids, one.ended)
            found[one.chunk] = (*found.get(one.chunk, ()), thought)
    return found


def swapped(then: Side, now: Side) -> dict[str, Mix]:
    """Return the ingredients that differ, by name; at most ``MAX_SWAPPED`` sets."""
    differ = {name for name in INGREDIENTS if then.ingredient(name) != now.ingredient(name)}
    both = {*then.thoughts} & {*now.thoughts}
    if any(then.thoughts[name] != now.thoughts[name] for name in both):
        differ.add(NOTES)
    names = [name for name in INGREDIENTS if name in differ]
    if len(names) > MAX_SWAPPED:
        return {EVIDENCE: frozenset({EVIDENCE, FACTS})} | {
            name: frozenset({name}) for name in names if name not in (EVIDENCE, FACTS)
        }
    return {name: frozenset({name}) for name in names}


def mixes(parts: Mapping[str, Mix]) -> list[Mix]:
    """Return every set of ingredients that may be the later run's."""
    groups = list(parts.values())
    return [
        frozenset().union(*chosen)
        for count in range(len(groups) + 1)
        for chosen in combinations(groups, count)
    ]


@dataclass(frozen=True)
class Mixer:
    """Make and score the prompts of mixes; ``without`` leaves a passage out, by id."""

    then: Side
    now: Side

    def tasks(self, agent: BaseAgent, mix: Mix, without: int = 0) -> list[list[ForecastTask]]:
        """Return the prompts of each chunk, every sample in each wording of the request."""
        side = {name: self.now if name in mix else self.then for name in INGREDIENTS}
        evidence, noted = side[EVIDENCE], side[NOTES]
        wordings = max(self.then.wordings, self.now.wordings)
        found = []
        for chunk in range(evidence.chunks):
            dealt = evidence.passages[chunk :: evidence.chunks]
            task = ForecastTask(
                side[WORDING].asked.question,
                side[DATE].day,
                tuple(one for one in dealt if one.id != without),
                chunk,
                facts=side[FACTS].facts,
            )
            texts = noted.notes.get(chunk, ())
            # A model of one run alone keeps the thoughts that it had.
            own = noted.thoughts.get(agent.name) or self._thoughts(agent.name)
            thoughts = own.get(chunk, ())
            each = max(1, len(thoughts) // max(1, len(texts)))
            grouped = [thoughts[n : n + each] for n in range(0, len(thoughts), each)]
            fitted = fitted_task(agent, task, texts, think=bool(thoughts))
            samples = variants(fitted, texts, thoughts=grouped, ablate=False)[FULL]
            count = 1 if thoughts else wordings
            found.append(
                [replace(one, wording=number) for one in samples for number in range(count)]
            )
        return found

    def _thoughts(self, name: str) -> Mapping[int, tuple[Thought, ...]]:
        return self.now.thoughts.get(name) or self.then.thoughts.get(name, {})

    def score(self, agent: BaseAgent, asked: Sequence[tuple[Mix, int]]) -> Scores:
        """Score every mix, and passages left out, in one batch of a loaded model.

        ``asked`` has mixes with the id of a passage to leave out, 0 for none.

        Raises:
            AgentError: a prompt could not be built or read.
        """
        tasks: list[ForecastTask] = []
        owners: list[tuple[Mix, int, int]] = []
        for mix, without in asked:
            for chunk, prompts in enumerate(self.tasks(agent, mix, without)):
                tasks += prompts
                owners += [(mix, without, chunk)] * len(prompts)
        read: dict[tuple[Mix, int], dict[int, list[tuple[int, Voice]]]] = {}
        prompts_read = set()
        with progress(f"scoring with {agent.name}", len(tasks), "prompt") as bar:
            agent.progress = bar.update
            for outcome in agent.score(tasks):
                task = tasks[outcome.index]
                result = turned(task, outcome).result
                if result is None or outcome.prompt is None:
                    raise AgentError(f"{agent.name}: {outcome.error or 'no result'}")
                mix, without, chunk = owners[outcome.index]
                prompts_read.add(outcome.prompt.text)
                chunks = read.setdefault((mix, without), {})
                chunks.setdefault(chunk, []).append((task.wording, result_voice(result)))
        return Scores(read, frozenset(prompts_read))


@dataclass(frozen=True)
class Scores:
    """What was read after each mix, by chunk with the number of the request's wording."""

    read: Mapping[tuple[Mix, int], Mapping[int, Sequence[tuple[int, Voice]]]]
    prompts: frozenset[str]

    def voice(self, mix: Mix, wordings: int, without: int = 0) -> Voice:
        """Return the model's voice as a run makes it, over so many wordings."""
        return average(
            [
                average([voice for wording, voice in samples if wording < wordings])
                for samples in self.read[mix, without].values()
            ]
        )


def scored(
    mixer: Mixer,
    specs: Mapping[str, ModelSpec],
    agent_factory: AgentFactory,
    asked: Sequence[tuple[Mix, int]],
) -> tuple[dict[str, Scores], dict[str, str]]:
    """Load each model once and score; return what was read, and failures.

    Both are by the stored path of a model, as ``specs`` are.
    """
    found: dict[str, Scores] = {}
    failed: dict[str, str] = {}
    for path, spec in specs.items():
        try:
            with loaded(spec, agent_factory) as agent:
                found[path] = mixer.score(agent, asked)
        except Exception as error:  # the agent boundary: one model's failure is its own
            failed[path] = str(error).splitlines()[0]
    return found, failed
