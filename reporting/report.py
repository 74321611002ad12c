"""Write one HTML page that holds a run and the track record: a file to send.

Everything is inside it (pictures as SVG; no script, no font, no address is fetched), so it opens
anywhere and tells nobody that it was opened. Jinja2 escapes all text from questions, models and
articles; only http and https addresses become links.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from database import Database
from evaluation.ablation import CONDITIONS
from evaluation.changes import Change, changes
from evaluation.explanation import RunRecord, Step, steps
from evaluation.headline import headline
from evaluation.resolved import RECORDS, AnalysisError, Judged, chosen_run, collect, record_of
from evaluation.scorecard import score_lines
from questions.checks import parent_id
from reporting import styles
from reporting.fonts import report_missing_scripts
from reporting.histories import outcome_of
from reporting.overview_plot import overview_figures
from reporting.plots import by_question, history_figures, plotted, record_figures, run_figures
from reporting.svg import inline
from storage.connection import utc_now
from storage.records import (
    INCOMPLETE,
    AblationPair,
    AskedQuestion,
    Forecast,
    Passage,
    PooledForecast,
)
from terminal.file_names import write_whole
from terminal.text import visible

# Characters of a passage in the report; the address leads to the whole text.
EXCERPT_CHARACTERS = 1200
# Of a passage in a prompt: it is quoted once, with the evidence.
QUOTED_CHARACTERS = 60
# Questions of the track record that are not folded.
LISTED = 10
TEMPLATE = Path(__file__).with_name("report.html")
# How every page begins; the bytes of a file that are read to look for it.
PAGE_BEGIN, PAGE_HEAD = b"<!doctype html", 512


@dataclass(frozen=True)
class Line:
    """A question of the run in the closing table.

    ``articles`` counts those in its prompts; ``failed`` names what is missing, and why.
    """

    question: AskedQuestion
    pooled: PooledForecast | None
    articles: int
    failed: Sequence[str]
    outcome: str

    @property
    def record(self) -> str:
        """The record its forecast belongs to."""
        return record_of(self.question.as_of)

    @property
    def calibrated(self) -> float | None:
        """The calibrated probability in percent, if there is one."""
        return self.pooled.calibrated if self.pooled else None

    @property
    def final(self) -> float | None:
        """The final number in percent, None where nothing moved the models'."""
        return self.pooled.final if self.pooled else None


@dataclass(frozen=True)
class Scores:
    """How good one record is: lines to quote, and what is scored, worst first."""

    headline: Sequence[str]
    rows: Sequence[Judged]


@dataclass(frozen=True)
class Details:
    """What the page shows of a question below the table.

    ``new`` are the ids of passages that the last run's prompts did not have; ``prompts`` are by the
    agents that were asked so.
    """

    steps: Sequence[Step]
    evidence: Sequence[Passage]
    new: Collection[int]
    prompts: Mapping[str, str]
    forecasts: Sequence[Forecast]
    ablations: Sequence[AblationPair]


def write_report(database: Database, path: Path, run_id: int | None = None) -> str:
    """Write the report of a run (default: the newest); return a line to print.

    Raises:
        AnalysisError: there is no run, the path is a folder's or that of a file of another kind,
            or the file cannot be written. DatabaseError: no such run.
    """
    _refuse_target(path)
    html = render(database, chosen_run(database, run_id, "report"))
    report_missing_scripts()
    try:
        write_whole(path, html.encode())
    except OSError as error:
        raise AnalysisError(
            f"{path}: the report could not be written ({error.strerror or error})"
        ) from error
    return f"{path}: {len(html) / 1e6:.1f} MB, self-contained"


def _refuse_target(path: Path) -> None:
    """Refuse to replace a folder, or a file that is no page: a database, a list."""
    head = b""
    with suppress(OSError):  # which writing meets too
        if path.is_dir():
            raise AnalysisError(f"{path}: is a folder; name a file in it, like report.html")
        if path.is_file():
            with path.open("rb") as file:
                head = file.read(PAGE_HEAD).removeprefix(b"\xef\xbb\xbf").strip().lower()
    if head and not head.startswith(PAGE_BEGIN):
        raise AnalysisError(
            f"{path}: there is a file that is no web page; name another one, or move it away"
        )


def render(database: Database, run_id: int) -> str:
    """Return the page."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=clean,
    )
    environment.filters |= {"link": link, "excerpt": excerpt, "points": points}
    run = database.runs.get(run_id)
    histories, overviews = _histories(database)
    lines = sorted(closing_table(database, run_id), key=lambda line: line.outcome != "")
    moved = changes(database, run_id)
    scores, score_text, record_images = _record(database)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        run=run,
        made=utc_now(),
        lines=lines,
        colours=styles.DARK,
        tables={
            record: part for record in RECORDS if (part := [x for x in lines if x.record == record])
        },
        changes=moved,
        overviews=overviews,
        distributions=_distributions(database, run_id),
        histories=histories,
        details=_details(database, run_id, moved),
        conditions=CONDITIONS,
        scores=scores,
        listed=LISTED,
        score_text=score_text,
        texts={row.id: row.text for row in database.runs.known_questions()},
        record_images=record_images,
        calibrations=database.outcomes.calibrations(),
        coherence=database.outcomes.coherence(run_id),
    )


def clean(value: Any) -> Any:
    """Make characters that are not seen visible in text from outside; pictures stay."""
    foreign = isinstance(value, str) and not hasattr(value, "__html__")
    return visible(value) if foreign else value


def link(url: str) -> str:
    """Return an address that may be a link, else "" (``javascript:`` and the like)."""
    return url if url.startswith(("https://", "http://")) else ""


def excerpt(text: str) -> str:
    """Return the beginning of a passage, cut at a space."""
    text = " ".join(text.split())
    if len(text) <= EXCERPT_CHARACTERS:
        return text
    return text[:EXCERPT_CHARACTERS].rsplit(" ", 1)[0] + " …"


def points(change: float | None) -> str:
    """Return a change in points with its sign, "" for none."""
    return "" if change is None else f"{change:+.1f}"


def closing_table(database: Database, run_id: int) -> list[Line]:
    """Return the results of a run in its order, without coherence checks."""
    ensembles = {row.question_id: row for row in database.forecasts.ensembles(run_id)}
    failures: dict[str, list[str]] = {}
    for row in database.forecasts.of_run(run_id):
        if row.error is not None:
            failures.setdefault(row.question_id, []).append(f"{row.agent}: {row.error}")
    articles, outcomes = database.forecasts.articles_used(run_id), database.outcomes.latest()
    lines = []
    for question in database.runs.questions(run_id):
        if parent_id(question.extra) is not None:
            continue
        failed = failures.get(question.id, [])
        if missing := question.context_error:
            incomplete = missing.startswith(INCOMPLETE)
            failed.append(missing if incomplete else f"no evidence: {missing}")
        outcome = outcome_of(outcomes.get(question.id))
        lines.append(
            Line(
                question,
                ensembles.get(question.id),
                articles.get(question.id, 0),
                failed,
                outcome.word if outcome else "",
            )
        )
    return lines


def _distributions(database: Database, run_id: int) -> dict[str, str]:
    """Draw the distributions of a run, by question."""
    said = "Distribution of every model and of the ensemble over 0 to 100 %"
    return {
        name: inline(figure, f"run {run_id} {name}", said)
        for name, figure in run_figures(database, run_id, titles=False)
    }


def _histories(database: Database) -> tuple[dict[str, dict[str, str]], dict[str, list[str]]]:
    """Draw histories by subject and record, and the overviews by record."""
    pictures: dict[str, dict[str, str]] = {}
    overviews: dict[str, list[str]] = {}
    for record in RECORDS:
        rows = []
        said = f"{record.capitalize()} forecasts of this question over time"
        for history, figure in history_figures(database, record, titles=False):
            picture = inline(figure, f"{record} {history.subject}", said)
            pictures.setdefault(history.subject, {})[record] = picture
            rows.append(history.overview_row())
        latest = [row for row in rows if row is not None]
        pages = overview_figures(latest, f"Latest {record} forecasts")
        said = f"Latest {record} forecast, 80 % range and outcome of every question"
        overviews[record] = [
            inline(figure, f"{record} overview {number}", said)
            for number, figure in enumerate(pages)
        ]
    return pictures, overviews


def _details(database: Database, run_id: int, moved: Sequence[Change]) -> dict[str, Details]:
    """Read what the page shows of each question that gets figures, by id."""
    forecasts = by_question(database.forecasts.of_run(run_id))
    ablations = by_question(database.forecasts.ablations(run_id))
    record = RunRecord.read(database, run_id)
    before = {c.stored.question_id: (c.stored.run_before, c.stored.question_before) for c in moved}
    details = {}
    for question in plotted(database.runs.questions(run_id)):
        evidence = database.forecasts.prompt_evidence(run_id, question.id)
        details[question.id] = Details(
            steps(record, question.id) if question.id in record.pools else [],
            evidence,
            _new_passages(database, evidence, before.get(question.id)),
            _prompts(database.forecasts.prompts(run_id, question.id), evidence),
            forecasts.get(question.id, []),
            ablations.get(question.id, []),
        )
    return details


def _new_passages(
    database: Database, evidence: Sequence[Passage], before: tuple[int, str] | None
) -> set[int]:
    """Return the ids of passages that an earlier run's prompts did not have."""
    if before is None:
        return set()
    old = {(e.source, e.title, e.text) for e in database.forecasts.prompt_evidence(*before)}
    new = [e for e in evidence if (e.source, e.title, e.text) not in old]
    return {e.id for e in new}


def _prompts(
    prompts: Sequence[tuple[str, int, str]], evidence: Sequence[Passage]
) -> dict[str, str]:
    """Group agents by their prompt, whose passages are cut: the page has them once."""
    agents: dict[str, list[str]] = {}
    for agent, chunk, text in prompts:
        agents.setdefault(text, []).append(agent + (f", part {chunk + 1}" if chunk else ""))
    found = {}
    for text, names in agents.items():
        for passage in evidence:
            if len(passage.text) > 2 * QUOTED_CHARACTERS:
                short = passage.text[:QUOTED_CHARACTERS]
                text = text.replace(passage.text, f"{short} … [cut: see Evidence]")
        found["; ".join(names)] = text
    return found


def _record(database: Database) -> tuple[dict[str, Scores], str, Mapping[str, str]]:
    """Score and draw the record; all are empty while nothing counts."""
    record = collect(database)
    if not record.judged:
        return {}, "", {}
    scores = {}
    for kind in RECORDS:
        part = record.part(kind)
        if part.judged:
            head = part.forecasters()[0]
            rows = part.latest(head)
            worst = sorted(rows, key=lambda j: (-((j.probability - j.outcome) ** 2), j.question_id))
            scores[kind] = Scores(headline(kind, head, rows), worst)
    images = {
        name: inline(figure, name, f"{name.replace('_', ' ')} of the resolved forecasts")
        for name, figure in record_figures(record)
    }
    return scores, "\n".join(score_lines(record, database)), images
