"""The wiki client and retrieval against a real MediaWiki on loopback: Debian's package, SQLite, PHP's built-in server."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
import requests

from database import Database
from evidence.mediawiki import MediaWikiClient
from evidence.settings import RetrievalSettings, WikiSettings
from evidence.transport import JsonTransport
from evidence.wikitext import is_disambiguation
from questions.question import Question
from semanticretriever import SemanticRetriever
from storage.articles import ArticleStore
from tests.support.stub_run import HEADING, rows, stub_run

PACKAGE = Path("/usr/share/mediawiki")
PHP = shutil.which("php")
pytestmark = [
    pytest.mark.mediawiki,
    pytest.mark.skipif(PHP is None, reason="not installed: php-cli"),
    pytest.mark.skipif(
        not (PACKAGE / "maintenance/install.php").exists(), reason="not installed: mediawiki"
    ),
]

QUESTION = Question("Will William Ruto win the presidential election in Kenya before 2030?")
KENYA = """{{Infobox country|leader=Somebody}}
'''Kenya''' is a country.<ref>A source that is not text.</ref>
== Politics ==
The presidential election of %s was won by [[William Ruto|Ruto]] in this text.
{| class="wikitext"
! Votes
|-
| 7,176,141
|}
=== Courts ===
The Supreme Court heard a petition about the election.
"""
# title -> (timestamp, text) of each revision
PAGES = {
    "Kenya": [
        ("2024-01-01T00:00:00Z", KENYA % "the first version"),
        ("2025-03-01T12:00:00Z", KENYA % "the second version"),
        ("2026-02-01T00:00:00Z", KENYA % "the third version"),
    ],
    "Republic of Kenya": [
        ("2024-02-01T00:00:00Z", "#REDIRECT [[Kenya#Politics]]"),
    ],
    "Presidential election loop": [("2024-01-01T00:00:00Z", "#REDIRECT [[Loop of elections]]")],
    "Loop of elections": [("2024-01-01T00:00:00Z", "#REDIRECT [[Presidential election loop]]")],
    "Ruto": [
        (
            "2024-01-01T00:00:00Z",
            "'''Ruto''' may refer to:\n* [[William Ruto]], president\n* [[Ruto river]]\n{{disambiguation}}",
        )
    ],
    "William Ruto": [
        (
            "2024-05-01T00:00:00Z",
            "William Ruto is a politician of Kenya who won a presidential election.",
        )
    ],
    "Election of the future": [
        (
            "2026-05-01T00:00:00Z",
            "William Ruto won the presidential election in Kenya, says a page of 2026.",
        )
    ],
    "List of presidential elections": [
        (
            "2024-01-01T00:00:00Z",
            "A list of every presidential election in Kenya that William Ruto could win.",
        )
    ],
    "William Ruto and the presidential election of Kenya": [
        ("2023-12-01T00:00:00Z", KENYA % "the first version")
    ],
    "Deleted election": [
        ("2024-01-01T00:00:00Z", "A presidential election in Kenya that was deleted.")
    ],
    "Київ": [("2024-01-01T00:00:00Z", "Київ — столиця України.")],
    "日本 (国)": [("2024-01-01T00:00:00Z", "日本は東アジアの国である。")],
    "Moved": [
        ("2024-01-01T00:00:00Z", "First an article."),
        ("2025-01-01T00:00:00Z", "#REDIRECT [[Kenya]]"),
    ],
}


def dump():
    """The pages as MediaWiki exports them."""
    parts = [
        '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="en">'
    ]
    for title, revisions in PAGES.items():
        parts.append(f"<page><title>{title}</title><ns>0</ns>")
        parts += [
            f"<revision><timestamp>{timestamp}</timestamp><contributor><ip>127.0.0.1</ip></contributor>"
            "<model>wikitext</model><format>text/x-wiki</format>"
            f'<text xml:space="preserve">{escape(text)}</text></revision>'
            for timestamp, text in revisions
        ]
        parts.append("</page>")
    return "".join([*parts, "</mediawiki>"])


@pytest.fixture(scope="module")
def wiki(tmp_path_factory):
    """The address of a fresh wiki's api.php."""
    folder = tmp_path_factory.mktemp("wiki")
    (folder / "db").mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "MW_CONFIG_FILE": str(folder / "LocalSettings.php")}

    def run(script, *arguments, stdin=None, env=environment):
        command = [PHP, f"maintenance/{script}", *arguments]
        done = subprocess.run(
            command,
            cwd=PACKAGE,
            input=stdin,
            env=env,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-800:] + done.stderr[-800:]

    address = f"http://127.0.0.1:{port}"
    place = [
        "--confpath",
        str(folder),
        "--dbtype",
        "sqlite",
        "--dbpath",
        str(folder / "db"),
        "--dbname",
        "wiki",
    ]
    site = ["--server", address, "--scriptpath", "", "--pass", "a-test-pass-phrase"]
    run("install.php", *place, *site, "Testwiki", "Admin", env=dict(os.environ))
    run("importDump.php", "--quiet", stdin=dump())
    titles = folder / "deleted.txt"
    titles.write_text("Deleted election\n", encoding="utf-8")
    run("deleteBatch.php", str(titles))
    run("rebuildtextindex.php")
    with (folder / "php.log").open("wb") as log:
        server = subprocess.Popen(
            [PHP, "-S", f"127.0.0.1:{port}", "-t", str(PACKAGE)],
            env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                try:
                    requests.get(f"{address}/api.php", timeout=10)
                    break
                except requests.ConnectionError:
                    assert server.poll() is None, (folder / "php.log").read_text()
            yield f"{address}/api.php"
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=20)


class CountingTransport(JsonTransport):
    """Remembers what it was asked."""

    def get(self, url, params):
        self.__dict__.setdefault("asked", []).append(dict(params))
        return super().get(url, params)


def client_for(address):
    settings = WikiSettings(address, contact="desk@example.org", interval=0.0)
    return MediaWikiClient(settings, transport=CountingTransport(settings))


def retriever(database, client, **changes):
    settings = RetrievalSettings(
        embedding_model="", ranking="bm25", wiki=client.settings, **changes
    )
    return SemanticRetriever(database, settings, client=client)


# --- the client ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("as_of", "version"),
    [
        (None, "third"),
        ("2026-02-01T00:00:00Z", "third"),
        ("2026-01-31T23:59:59Z", "second"),
        ("2025-03-01T12:00:00Z", "second"),
        ("2025-03-01T11:59:59Z", "first"),
    ],
)
def test_the_revision_of_a_date_has_that_dates_text(wiki, as_of, version):
    revision = client_for(wiki).article("Kenya", as_of=as_of)
    assert f"the {version} version" in revision.text
    assert as_of is None or revision.timestamp <= as_of


def test_before_its_first_revision_a_page_does_not_exist(wiki):
    client = client_for(wiki)
    assert client.article("Kenya", as_of="2023-12-31T23:59:59Z") is None
    assert client.article("Election of the future", as_of="2025-06-01T00:00:00Z") is None
    assert client.article("Election of the future") is not None


def test_redirects_are_those_of_the_date_and_loops_end(wiki):
    client = client_for(wiki)
    assert client.article("Republic of Kenya").title == "Kenya"
    assert (
        client.article("Republic of Kenya", as_of="2025-06-01T00:00:00Z").timestamp
        == "2025-03-01T12:00:00Z"
    )
    assert client.article("Moved", as_of="2024-06-01T00:00:00Z").text == "First an article."
    assert client.article("Moved").title == "Kenya"
    assert client.article("Loop of elections") is None


@pytest.mark.parametrize(
    "title", ["Deleted election", "Nobody wrote this", "A|B", "<bad>", "Special:Version"]
)
def test_what_is_not_a_page_is_none(wiki, title):
    assert client_for(wiki).article(title) is None


@pytest.mark.parametrize("title", ["Київ", "日本 (国)"])
def test_titles_in_other_scripts(wiki, title):
    assert client_for(wiki).article(title).title == title


def test_disambiguation_is_known_by_its_text(wiki):
    assert is_disambiguation(client_for(wiki).article("Ruto").text)
    assert not is_disambiguation(client_for(wiki).article("Kenya").text)


def test_search_finds_articles_by_their_text_without_deleted_ones(wiki):
    titles = [hit.title for hit in client_for(wiki).search("presidential election", 10)]
    assert "Kenya" in titles
    assert "William Ruto" in titles
    assert "Deleted election" not in titles
    assert len(titles) == len(set(titles))


def test_the_wiki_says_what_it_calls_things(wiki):
    site = client_for(wiki).site()
    assert "file" in site.file_namespaces
    assert [word.casefold() for word in site.redirect_words] == ["redirect"]


# --- retrieval -------------------------------------------------------------------------------------


def test_evidence_of_today(wiki, tmp_path):
    with Database(tmp_path / "store.db") as database:
        evidence = retriever(database, client_for(wiki)).retrieve(QUESTION)
    assert evidence.passages
    titles = {passage.title for passage in evidence.passages}
    assert {"Kenya", "William Ruto", "Election of the future"} <= titles
    assert not titles & {"Ruto", "Deleted election", "Loop of elections", "Republic of Kenya"}
    assert "List of presidential elections" not in titles
    # An older copy under a title that fits better: its words are quoted once, from the newer article.
    assert [p.title for p in evidence.passages if "heard a petition" in p.text] == ["Kenya"]
    assert "the first version" not in " ".join(p.text for p in evidence.passages)
    text = " ".join(passage.text for passage in evidence.passages)
    assert "the third version was won by Ruto" in text
    for noise in ("A source that is not text", "Infobox", "7,176,141", "[[", "{{"):
        assert noise not in text
    assert "Politics" in {
        passage.section.partition(" ")[0]
        for passage in evidence.passages
        if passage.title == "Kenya"
    }


def test_evidence_as_of_a_date_holds_nothing_newer_also_from_a_store_that_has_it(wiki, tmp_path):
    with Database(tmp_path / "store.db") as database:
        retriever(database, client_for(wiki)).retrieve(QUESTION)
        evidence = retriever(database, client_for(wiki)).retrieve(QUESTION, as_of="2025-06-01")
    assert evidence.passages
    assert all(passage.timestamp <= "2025-06-01T23:59:59Z" for passage in evidence.passages)
    text = " ".join(passage.text for passage in evidence.passages)
    assert "the second version" in text
    assert "the third version" not in text
    assert "Election of the future" not in {passage.title for passage in evidence.passages}


def forecast_as_of(tmp_path, monkeypatch, address, *arguments, expected=0):
    """``forecaster.py`` on the wiki; returns the database."""
    code, database = stub_run(
        tmp_path, monkeypatch, *arguments,
        WIKIPEDIA_API_URL=address, WIKIPEDIA_MIN_INTERVAL_SECONDS=0,
    )  # fmt: skip
    assert code == expected
    return database


def test_a_forecast_as_of_a_date_knows_nothing_that_came_after_it(wiki, tmp_path, monkeypatch):
    """From the command line to the stored prompt, with a store that already knows the future and a question with a day of its own."""
    pytest.importorskip("transformers", reason="not installed: transformers")
    file = tmp_path / "questions.jsonl"
    asked = [
        {"question": QUESTION.text, "id": "the run"},
        {"question": QUESTION.text, "id": "its own"},
    ]
    asked[1]["as_of"] = "2025-02-01"
    file.write_text("\n".join(map(json.dumps, asked)), encoding="utf-8")
    forecast_as_of(tmp_path, monkeypatch, wiki, "--question", QUESTION.text)
    database = forecast_as_of(
        tmp_path, monkeypatch, wiki, "--questions", str(file), "--as-of", "2025-06-01"
    )
    stored = dict(rows(database, "SELECT title || revised_at, 1 FROM evidence_trail WHERE run = 1"))
    assert {"Kenya2026-02-01T00:00:00Z", "Election of the future2026-05-01T00:00:00Z"} <= set(
        stored
    )
    for question, day, version in (
        ("the run", "2025-06-01", "second"),
        ("its own", "2025-02-01", "first"),
    ):
        ((prompt,),) = rows(
            database,
            "SELECT DISTINCT text FROM prompts JOIN evidence_trail t ON sha256 = prompt_sha256"
            f" WHERE run = 2 AND question_id = '{question}'",
        )
        assert f"Today is {day}." in prompt
        assert f"{version} version" in prompt
        dates = [date for *_, date in HEADING.findall(prompt)]
        assert dates
        assert max(dates) <= day
        # Nothing of a later day is in it, not even in a heading: this year neither.
        assert re.findall(r"20(?:26|27)-\d\d", prompt) == []
        titles = {place.split(", ")[1] for _, place, _ in HEADING.findall(prompt)}
        assert "Election of the future" not in titles
        assert "Kenya" in titles
    assert rows(database, "SELECT as_of FROM run_questions WHERE run_id = 2 ORDER BY position") == [
        ("2025-06-01",), ("2025-02-01",),
    ]  # fmt: skip


def test_a_future_text_that_slips_through_the_store_is_refused_at_the_door(
    wiki, tmp_path, monkeypatch, caplog
):
    """The last gate, with the query before it broken on purpose."""
    pytest.importorskip("transformers", reason="not installed: transformers")
    honest = ArticleStore.current
    monkeypatch.setattr(ArticleStore, "current", lambda self, **_: honest(self))
    for arguments in ((), ("--as-of", "2025-06-01")):
        database = forecast_as_of(
            tmp_path,
            monkeypatch,
            wiki,
            "--question",
            QUESTION.text,
            *arguments,
            # All evidence of the second run is refused.
            expected=int(bool(arguments)),
        )
    ((reason, prompt),) = rows(
        database,
        "SELECT context_error, text FROM forecasts JOIN prompts ON sha256 = prompt_sha256 WHERE run_id = 2",
    )
    assert "newer than 2025-06-01T23:59:59Z; it is not used" in reason
    assert "<evidence>" not in prompt
    assert "Today is 2025-06-01." in prompt


def test_an_unchanged_article_is_not_fetched_again(wiki, tmp_path):
    with Database(tmp_path / "store.db") as database:
        first, second, stale = (client_for(wiki) for _ in range(3))
        found = retriever(database, first).retrieve(QUESTION)
        assert retriever(database, second).retrieve(QUESTION).passages == found.passages
        assert (
            retriever(database, stale, freshness_hours=0.0).retrieve(QUESTION).passages
            == found.passages
        )

    def fetched(client):
        return [
            asked["titles"]
            for asked in client.transport.asked
            if "content" in asked.get("rvprop", "")
        ]

    articles = {passage.title for passage in found.passages}
    assert articles <= set(fetched(first))
    assert not articles & set(fetched(second))
    assert not articles & set(
        fetched(stale)
    )  # the search says that their revision is still the same
