"""The wiki client and retrieval against a real MediaWiki on loopback: Debian's package, SQLite, PHP's built-in server."""

from __future__ import annotations

import os
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
from mediawiki import JsonTransport, MediaWikiClient, WikiSettings
from questions import Question
from semanticretriever import RetrievalSettings, SemanticRetriever

PACKAGE = Path("/usr/share/mediawiki")
PHP = shutil.which("php")
pytestmark = [
    pytest.mark.mediawiki,
    pytest.mark.skipif(PHP is None, reason="not installed: php-cli"),
    pytest.mark.skipif(not (PACKAGE / "maintenance/install.php").exists(), reason="not installed: mediawiki"),
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
        ("2024-05-01T00:00:00Z", "William Ruto is a politician of Kenya who won a presidential election.")
    ],
    "Election of the future": [
        ("2026-05-01T00:00:00Z", "William Ruto won the presidential election in Kenya, says a page of 2026.")
    ],
    "Deleted election": [("2024-01-01T00:00:00Z", "A presidential election in Kenya that was deleted.")],
    "Київ": [("2024-01-01T00:00:00Z", "Київ — столиця України.")],
    "日本 (国)": [("2024-01-01T00:00:00Z", "日本は東アジアの国である。")],
    "Moved": [("2024-01-01T00:00:00Z", "First an article."), ("2025-01-01T00:00:00Z", "#REDIRECT [[Kenya]]")],
}


def dump():
    """The pages as MediaWiki exports them."""
    parts = ['<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="en">']
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
    settings = RetrievalSettings(embedding_model="", ranking="bm25", wiki=client.settings, **changes)
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
    revision = client_for(wiki).revision("Kenya", as_of=as_of)
    assert f"the {version} version" in revision.text
    assert as_of is None or revision.timestamp <= as_of


def test_before_its_first_revision_a_page_does_not_exist(wiki):
    client = client_for(wiki)
    assert client.revision("Kenya", as_of="2023-12-31T23:59:59Z") is None
    assert client.revision("Election of the future", as_of="2025-06-01T00:00:00Z") is None
    assert client.revision("Election of the future") is not None


def test_redirects_are_those_of_the_date_and_loops_end(wiki):
    client = client_for(wiki)
    assert client.revision("Republic of Kenya").title == "Kenya"
    assert (
        client.revision("Republic of Kenya", as_of="2025-06-01T00:00:00Z").timestamp == "2025-03-01T12:00:00Z"
    )
    assert client.revision("Moved", as_of="2024-06-01T00:00:00Z").text == "First an article."
    assert client.revision("Moved").title == "Kenya"
    assert client.revision("Loop of elections") is None


@pytest.mark.parametrize(
    "title", ["Deleted election", "Nobody wrote this", "A|B", "<bad>", "Special:Version"]
)
def test_what_is_not_a_page_is_none(wiki, title):
    assert client_for(wiki).revision(title) is None


@pytest.mark.parametrize("title", ["Київ", "日本 (国)"])
def test_titles_in_other_scripts(wiki, title):
    assert client_for(wiki).revision(title).title == title


def test_disambiguation_is_known_by_its_text(wiki):
    assert client_for(wiki).revision("Ruto").disambiguation
    assert not client_for(wiki).revision("Kenya").disambiguation


def test_search_finds_articles_by_their_text_without_deleted_ones(wiki):
    titles = [hit.title for hit in client_for(wiki).search("presidential election", 10)]
    assert "Kenya" in titles
    assert "William Ruto" in titles
    assert "Deleted election" not in titles
    assert len(titles) == len(set(titles))


def test_the_wiki_says_what_it_calls_things(wiki):
    site = client_for(wiki).site()
    assert {"special", "file", "template"} <= site.namespaces
    assert [word.casefold() for word in site.redirect_words] == ["redirect"]
    assert site.main_page == "Main Page"


# --- retrieval -------------------------------------------------------------------------------------


def test_evidence_of_today(wiki, tmp_path):
    with Database(tmp_path / "store.db") as database:
        evidence = retriever(database, client_for(wiki)).retrieve(QUESTION)
    assert evidence.error is None
    titles = {passage.title for passage in evidence.passages}
    assert {"Kenya", "William Ruto", "Election of the future"} <= titles
    assert not titles & {"Ruto", "Deleted election", "Loop of elections", "Republic of Kenya"}
    text = " ".join(passage.text for passage in evidence.passages)
    assert "the third version was won by Ruto" in text
    for noise in ("A source that is not text", "Infobox", "7,176,141", "[[", "{{"):
        assert noise not in text
    assert "Politics" in {
        passage.section.partition(" ")[0] for passage in evidence.passages if passage.title == "Kenya"
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


def test_an_unchanged_article_is_not_fetched_again(wiki, tmp_path):
    with Database(tmp_path / "store.db") as database:
        first, second, stale = (client_for(wiki) for _ in range(3))
        found = retriever(database, first).retrieve(QUESTION)
        assert retriever(database, second).retrieve(QUESTION).passages == found.passages
        assert retriever(database, stale, freshness_hours=0.0).retrieve(QUESTION).passages == found.passages

    def fetched(client):
        return [asked["titles"] for asked in client.transport.asked if "content" in asked.get("rvprop", "")]

    articles = {passage.title for passage in found.passages}
    assert articles <= set(fetched(first))
    assert not articles & set(fetched(second))
    assert not articles & set(fetched(stale))  # the search says that their revision is still the same
