"""One HTML page that holds a run and the track record: plots, closing table, evidence links and reasoning; a file to send.

Everything is inside the file (images as data URIs, no script, no font, no address is fetched), so it opens anywhere and tells
nobody that it was opened. All text from questions, models and articles is escaped by Jinja2; only http and https addresses
become links.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from database import Database
from evaluation.ablation import CONDITIONS
from evaluation.resolved import BACK_DATED, LIVE, RECORDS, AnalysisError, collect
from evaluation.scorecard import score_lines
from questions.checks import parent_id
from reporting.fonts import report_missing_scripts
from reporting.histories import fewer_models, outcome_of
from reporting.overview_plot import overview_figures
from reporting.plots import by_question, history_figures, plotted, record_figures, run_figures
from reporting.styles import png
from reporting.values import OverviewRow
from storage.connection import utc_now
from storage.records import INCOMPLETE, PooledForecast
from terminal.file_names import write_whole
from terminal.text import visible

# Characters of a passage shown in the report; the address leads to the whole text.
EXCERPT_CHARACTERS = 400
# The page itself; Jinja2 escapes every value put into it.
TEMPLATE = Path(__file__).with_name("report.html")


@dataclass(frozen=True)
class Line:
    """One line of the closing table; percentages 0-100, ``agreement`` and ``captured`` 0-1, None where there is no ensemble.

    ``record`` is "live" or "back-dated" (then forecast from the day ``as_of``), ``calibrated`` None without a calibration,
    ``fewer`` says how many of its models a pool has ("2 of 3") where some are missing.
    """

    id: str
    subject: str
    text: str
    record: str
    as_of: str | None
    mean: float | None
    low: float | None
    high: float | None
    calibrated: float | None
    fewer: str
    agreement: float | None
    captured: float | None
    low_confidence: bool
    articles: int
    failed: tuple[str, ...]
    outcome: str


def write_report(database: Database, path: Path, run_id: int | None = None) -> str:
    """Write the report of one run (default: the newest) and of the record; returns the line to print.

    Raises:
        AnalysisError: there is no run, or the file cannot be written. DatabaseError: no such run.
    """
    runs = database.runs.all()
    if not runs:
        raise AnalysisError(
            f"{database.path}: there is no run to report; forecast something first (python forecaster.py)"
        )
    html = render(database, runs[-1].id if run_id is None else run_id)
    report_missing_scripts()
    try:
        write_whole(path, html.encode())
    except OSError as error:
        raise AnalysisError(
            f"{path}: the report could not be written ({error.strerror or error})"
        ) from error
    return f"{path}: {len(html) / 1e6:.1f} MB, self-contained"


def render(database: Database, run_id: int) -> str:
    """The page as a string."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if isinstance(value, str) else value,
    )
    run = database.runs.get(run_id)
    histories: dict[str, dict[str, str]] = {}
    overviews: dict[str, list[str]] = {}
    for record in RECORDS:
        overview: list[OverviewRow] = []
        for subject, figure, row in history_figures(database, record):
            histories.setdefault(subject, {})[record] = image(figure)
            if row is not None:
                overview.append(row)
        overviews[record] = [
            image(f) for f in overview_figures(overview, f"Latest {record} forecasts")
        ]
    lines = closing_table(database, run_id)
    scores, record_images = _record(database)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        run=run,
        made=utc_now(),
        lines=lines,
        tables={
            record: part for record in RECORDS if (part := [x for x in lines if x.record == record])
        },
        overviews=overviews,
        distributions={
            identifier: image(figure) for identifier, figure in run_figures(database, run_id)
        },
        histories=histories,
        details=_details(database, run_id),
        conditions=CONDITIONS,
        scores=scores,
        record_images=record_images,
        calibrations=database.outcomes.calibrations(),
        coherence=database.outcomes.coherence(run_id),
    )


def image(figure: Any) -> str:
    """A figure as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png(figure)).decode("ascii")


def link(url: str) -> str:
    """An address that may become a link, or an empty string (``javascript:`` and the like never do)."""
    return url if url.startswith(("https://", "http://")) else ""


def closing_table(database: Database, run_id: int) -> list[Line]:
    """What the run found for each question, in its order; coherence checks are left out."""
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
        pooled = ensembles.get(question.id)
        outcome = outcome_of(outcomes.get(question.id))
        failed, missing = failures.get(question.id, []), question.context_error
        if missing:
            failed = [
                *failed,
                missing if missing.startswith(INCOMPLETE) else f"no evidence: {missing}",
            ]
        lines.append(
            Line(
                id=question.id,
                subject=question.subject,
                text=question.text,
                record=LIVE if question.as_of is None else BACK_DATED,
                as_of=question.as_of,
                **_numbers(pooled),
                low_confidence=bool(pooled is not None and pooled.low_confidence),
                articles=articles.get(question.id, 0),
                failed=tuple(failed),
                outcome=outcome.word if outcome else "",
            )
        )
    return lines


def _numbers(pooled: PooledForecast | None) -> dict[str, Any]:
    if pooled is None:
        empty: dict[str, Any] = dict.fromkeys(
            ("mean", "low", "high", "calibrated", "agreement", "captured")
        )
        return {**empty, "fewer": ""}
    several = pooled.agents > 1
    return {
        "mean": pooled.mean,
        "low": pooled.p10,
        "high": pooled.p90,
        "calibrated": pooled.calibrated,
        "fewer": fewer_models(pooled),
        "agreement": pooled.agreement if several else None,
        "captured": pooled.captured_mass,
    }


def _details(database: Database, run_id: int) -> dict[str, dict[str, Any]]:
    """Evidence, reasoning and each agent's numbers by question id, for the questions that get figures."""
    forecasts, ablations = (
        by_question(database.forecasts.of_run(run_id)),
        by_question(database.forecasts.ablations(run_id)),
    )
    details = {}
    for question in plotted(database.runs.questions(run_id)):
        identifier = question.id
        evidence = [
            {**vars(row), "link": link(row.url), "excerpt": excerpt(row.text)}
            for row in database.forecasts.prompt_evidence(run_id, identifier)
        ]
        details[identifier] = {
            "question": question,
            "evidence": evidence,
            "forecasts": forecasts.get(identifier, []),
            "ablations": ablations.get(identifier, []),
        }
    return details


def excerpt(text: str) -> str:
    """The first characters of a passage, cut at a space."""
    text = " ".join(text.split())
    if len(text) <= EXCERPT_CHARACTERS:
        return text
    return text[:EXCERPT_CHARACTERS].rsplit(" ", 1)[0] + " …"


def _record(database: Database) -> tuple[str, Mapping[str, str]]:
    """The printed record and its figures; both empty while nothing counts."""
    record = collect(database)
    if not record.judged:
        return "", {}
    return "\n".join(score_lines(record)), {
        name: image(figure) for name, figure in record_figures(record)
    }
