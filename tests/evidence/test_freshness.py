"""The store beside a wiki that changes: what is asked again, what is embedded again, and which revision gives the evidence."""

from __future__ import annotations

import logging
import sys
import zlib

import numpy as np
import pytest

from database import Database
from evidence import freshness
from evidence.settings import RetrievalSettings, WikiSettings
from questions.question import Question
from scoring.prompts import Passage
from semanticretriever import SemanticRetriever
from storage import connection as storage_connection
from storage.records import Article
from terminal import progress
from tests.support.stub_run import rows, stub_run
from tests.support.wiki_server import SmallWiki, answer

BRIDGE = Question("Will the bridge of Newport open before 2030?")
FERRY = Question("Will the ferry of Dover sail before 2030?")
OLD, NEW = "2025-01-01T00:00:00Z", "2026-06-01T00:00:00Z"


class CountingEmbedder:
    """Unit vectors that follow from the text; remembers what it embeds."""

    def __init__(self, name="small", dimension=8):
        self.name = name
        self.dimension = dimension
        self.encoded = []

    def encode(self, texts):
        self.encoded += texts
        rows = [
            np.random.default_rng(zlib.crc32(text.encode())).normal(size=self.dimension)
            for text in texts
        ]
        vectors = np.asarray(rows, dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def count_tokens(self, texts):
        return [len(text.split()) for text in texts]


def pages():
    """Two articles for each question, and no word in common."""
    return {
        "Newport": [(OLD, "Newport is building a bridge that shall open.")],
        "Bridge": [(OLD, "A bridge spans a river.")],
        "Dover": [(OLD, "From Dover a ferry will sail.")],
        "Ferry": [(OLD, "A ferry carries cars.")],
    }


@pytest.fixture
def day(monkeypatch):
    """Sets the day (of January 2027) and hour that the clock shows."""

    def show(number, hour=0):
        moment = f"2027-01-{number:02}T{hour:02}:00:00Z"
        for module in (storage_connection, freshness):
            monkeypatch.setattr(module, "utc_now", lambda: moment)

    show(1)
    return show


@pytest.fixture
def store(tmp_path):
    with Database(tmp_path / "store.db") as opened:
        yield opened


def ask(wiki, store, *questions, embedder=None, as_of=None, **changes):
    """What a fresh retriever finds, as {title: text} for each question; ``wiki.requests`` are those of this call."""
    wiki.requests.clear()
    address = WikiSettings(f"{wiki.url}/w/api.php", contact="desk@example.org", interval=0.0)
    settings = RetrievalSettings(embedding_model="", wiki=address, min_similarity=0.0, **changes)
    retriever = SemanticRetriever(store, settings, embedder=embedder or CountingEmbedder())
    found = retriever.retrieve_all(questions, as_of=as_of)
    assert all(evidence.passages for evidence in found)
    return [{p.title: p.text for p in evidence.passages} for evidence in found]


# --- freshness --------------------------------------------------------------------------------------


def test_a_fresh_article_is_not_asked_for_and_a_stale_one_that_is_unchanged_neither_fetched_nor_embedded(
    day, store
):
    with SmallWiki(pages()) as wiki:
        first = ask(wiki, store, BRIDGE)
        assert sorted(wiki.asked_for(text=True)) == ["Bridge", "Newport"]
        embedder = CountingEmbedder()
        for number, hour in ((1, 23), (2, 23), (9, 0)):  # fresh, stale by an hour, stale by days
            day(number, hour)
            assert ask(wiki, store, BRIDGE, embedder=embedder) == first
            # The search itself names the newest revisions: no request for an article at all.
            assert wiki.asked_for(text=True) == wiki.asked_for(text=False) == []
        assert [text for text in embedder.encoded if text != BRIDGE.text] == []


def test_an_article_that_only_the_store_finds_costs_one_small_request_when_it_is_stale(day, store):
    with SmallWiki(pages()) as wiki:
        ask(wiki, store, BRIDGE)
        # Everything stored is ranked by meaning for every question.
        day(1, 20)
        (found,) = ask(wiki, store, FERRY)
        assert {"Newport", "Bridge"} <= set(found)
        assert not {"Newport", "Bridge"} & {*wiki.asked_for(text=True), *wiki.asked_for(text=False)}
        day(3)
        assert ask(wiki, store, FERRY) == [found]
        assert sorted(wiki.asked_for(text=False)) == ["Bridge", "Newport"]
        assert wiki.asked_for(text=True) == []
        ask(wiki, store, FERRY)
        assert wiki.asked_for(text=False) == []  # now it is fresh again


@pytest.mark.parametrize("question", [BRIDGE, FERRY])
def test_a_changed_article_is_fetched_and_embedded_once_and_alone_gives_evidence(
    day, store, question
):
    """Also where no search of the question names it, and it was stored by another question."""
    with SmallWiki(pages()) as wiki:
        ask(wiki, store, BRIDGE, FERRY)
        day(3)
        wiki.pages["Newport"].append((NEW, "Newport has opened its bridge."))
        embedder = CountingEmbedder()
        (found,) = ask(wiki, store, question, embedder=embedder)
        assert found["Newport"] == "Newport has opened its bridge."
        assert wiki.asked_for(text=True) == ["Newport"]
        assert [text for text in embedder.encoded if text != question.text and "?" not in text] == [
            "Newport: Newport has opened its bridge."
        ]


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (lambda wiki: wiki.pages.pop("Newport"), {"Bridge"}),
        (
            lambda wiki: wiki.pages.update(
                {
                    "Newport": [*wiki.pages["Newport"], (NEW, "#REDIRECT [[Newport city]]")],
                    "Newport city": [(NEW, "Newport is building a bridge that shall open.")],
                }
            ),
            {"Bridge", "Newport city"},
        ),
        (
            lambda wiki: wiki.pages["Newport"].append((NEW, "Newport may be:\n{{disambiguation}}")),
            {"Bridge"},
        ),
    ],
    ids=["deleted", "moved", "disambiguation"],
)
def test_what_is_no_article_any_more_gives_no_evidence_of_today(day, store, change, left):
    with SmallWiki(pages()) as wiki:
        ask(wiki, store, BRIDGE)
        day(3)
        change(wiki)
        (found,) = ask(wiki, store, BRIDGE)
        assert set(found) == left
        # On a day when it was one it still is evidence.
        (found,) = ask(wiki, store, BRIDGE, as_of="2026-01-01")
        assert set(found) == {"Bridge", "Newport"}


@pytest.mark.parametrize("as_of", [None, "2027-01-05"])
def test_what_a_clock_that_was_a_year_ahead_has_stored_is_not_believed(
    day, monkeypatch, store, as_of
):
    with SmallWiki(pages()) as wiki:
        for module in (storage_connection, freshness):
            monkeypatch.setattr(module, "utc_now", lambda: "2028-01-01T00:00:00Z")
        ask(wiki, store, BRIDGE)
        wiki.pages["Newport"].append(("2027-01-02T00:00:00Z", "The bridge of Newport collapsed."))
        day(6)
        found = ask(wiki, store, BRIDGE, as_of=as_of)
        assert found[0]["Newport"] == "The bridge of Newport collapsed."
        # What the corrected clock has checked is believed again.
        ask(wiki, store, BRIDGE, as_of=as_of)
        assert wiki.asked_for(text=True) == wiki.asked_for(text=False) == []
        assert {
            row["current_until"]
            for row in store.connection.query(
                "SELECT current_until FROM articles WHERE title = 'Bridge'"
            )
        } == {"2027-01-06T00:00:00Z" if as_of is None else "2027-01-05T23:59:59Z"}


def test_a_revision_from_the_future_is_no_evidence(day, store):
    with SmallWiki(pages()) as wiki:
        wiki.pages["Newport"].append(
            ("2027-02-01T00:00:00Z", "The bridge of Newport will have collapsed.")
        )
        assert "Newport" not in ask(wiki, store, BRIDGE)[0]
        assert store.connection.query("SELECT 1 FROM articles WHERE title = 'Newport'") == []


def test_a_later_date_fetches_only_what_has_changed_since_the_earlier_one(day, store):
    with SmallWiki(pages()) as wiki:
        wiki.pages["Bridge"].append((NEW, "A bridge spans a valley."))
        (early,) = ask(wiki, store, BRIDGE, as_of="2026-01-01")
        assert early["Bridge"] == "A bridge spans a river."
        (same,) = ask(wiki, store, BRIDGE, as_of="2026-05-31")
        assert same == early
        assert wiki.asked_for(text=True) == []
        assert sorted(wiki.asked_for(text=False)) == ["Bridge", "Newport"]
        (late,) = ask(wiki, store, BRIDGE, as_of="2026-06-01")
        assert late["Bridge"] == "A bridge spans a valley."
        assert wiki.asked_for(text=True) == ["Bridge"]
        assert ask(wiki, store, BRIDGE, as_of="2026-01-01") == [early]
        assert wiki.asked_for(text=True) == wiki.asked_for(text=False) == []


def test_a_store_is_used_as_it_stands_when_the_wiki_fails(day, store, caplog):
    with SmallWiki(pages()) as wiki:
        (first,) = ask(wiki, store, BRIDGE)
        day(3)

        def broken(handler):
            wiki.serve(handler) if "generator" in wiki.requests[-1][1] else handler.send_error(400)

        wiki.pages["Newport"].append((NEW, "Newport has opened its bridge."))
        wiki.script = [broken]
        assert ask(wiki, store, BRIDGE) == [first]
    assert "Newport: 127.0.0.1" in caplog.text


# --- embeddings -------------------------------------------------------------------------------------


@pytest.fixture
def many(store):
    """600 passages: three slices."""
    for number in range(6):
        article = Article("corpus", f"A{number}", "1", OLD, "", "text")
        store.articles.add(
            article,
            [Passage(text=f"bridge {number} {n}", section=f"s{n}", tokens=3) for n in range(100)],
        )
    return store


def ranked(store, embedder):
    settings = RetrievalSettings(
        embedding_model="", ranking="embedding", passages_per_question=5, min_similarity=0.0
    )
    return SemanticRetriever(store, settings, embedder=embedder).retrieve(BRIDGE).passages


def nearest(embedder, texts):
    query = embedder.encode([BRIDGE.text])[0]
    return sorted(texts, key=lambda text: -float(embedder.encode([text])[0] @ query))[:5]


def test_another_model_embeds_anew_and_is_never_mixed_with_the_one_before(many, caplog):
    caplog.set_level(logging.INFO)
    small, large = CountingEmbedder(), CountingEmbedder("large", dimension=24)
    before = ranked(many, small)
    assert "embedded anew" not in caplog.text
    after = ranked(many, large)
    assert (
        "600 passages have embeddings of small only and are embedded anew with large" in caplog.text
    )
    texts = [f"A{a}, s{n}: bridge {a} {n}" for a in range(6) for n in range(100)]
    for embedder, found in ((small, before), (large, after)):
        shown = [f"{p.title}, {p.section}: {p.text}" for p in found]
        assert shown == nearest(embedder, texts)
    assert shown != [f"{p.title}, {p.section}: {p.text}" for p in before]
    again = CountingEmbedder()
    assert ranked(many, again) == before  # going back embeds nothing
    assert again.encoded == [BRIDGE.text]
    kinds = many.connection.query(
        "SELECT model, dimension, count(*) FROM embeddings GROUP BY 1, 2 ORDER BY 1"
    )
    assert [tuple(row) for row in kinds] == [("large", 24, 600), ("small", 8, 600)]


def test_embedding_that_was_interrupted_goes_on_where_it_was(many):
    class Failing(CountingEmbedder):
        def encode(self, texts):
            if len(self.encoded) >= 256:
                raise KeyboardInterrupt
            return super().encode(texts)

    with pytest.raises(KeyboardInterrupt):
        ranked(many, Failing())
    embedder = CountingEmbedder()
    ranked(many, embedder)
    assert len(embedder.encoded) == 600 - 256 + 1


@pytest.mark.parametrize("terminal", [True, False])
def test_embedding_shows_a_bar_on_a_terminal_and_lines_elsewhere(
    many, monkeypatch, capsys, caplog, terminal
):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    ranked(many, CountingEmbedder())
    shown = capsys.readouterr().err
    assert ("/600" in shown) == terminal
    assert ("embedding: 64 %, 384 of 600" in caplog.text) != terminal


# --- what the record says ---------------------------------------------------------------------------


def test_evidence_that_a_failing_wiki_left_incomplete_says_so_in_the_record_and_on_the_screen(
    tmp_path, monkeypatch, capsys
):
    pytest.importorskip("transformers", reason="not installed: transformers")

    def forecast(*questions):
        asked = [word for question in questions for word in ("--question", question.text)]
        code, database = stub_run(
            tmp_path, monkeypatch, *asked,
            WIKIPEDIA_API_URL=f"{wiki.url}/w/api.php", WIKIPEDIA_MIN_INTERVAL_SECONDS=0, FRESHNESS_HOURS=0,
        )  # fmt: skip
        assert code == 0
        return capsys.readouterr().out, rows(
            database,
            "SELECT f.context_error, (SELECT count(*) FROM evidence e WHERE e.forecast_id = f.id AND used) FROM forecasts f"
            " JOIN run_questions rq USING (run_id, question_id) WHERE f.context_error IS rq.context_error AND run_id = (SELECT max(id) FROM runs) ORDER BY position",
        )

    with SmallWiki(pages()) as wiki:
        shown, stored = forecast(BRIDGE)
        assert stored == [(None, 2)]
        assert "vidence" not in shown
        wiki.script = [answer({}, status=403)]
        shown, stored = forecast(BRIDGE, FERRY)
    reason = f"offline: 127.0.0.1:{wiki.url.rpartition(':')[2]}: HTTP 403, access refused"
    assert stored == [(f"incomplete evidence: {reason}", 2), (reason, 0)]
    assert f"\nIncomplete evidence: {reason}\n" in shown
    assert f"\nNo evidence: {reason}" in shown
