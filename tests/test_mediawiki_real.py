"""The wiki client and the retriever against a real MediaWiki: Debian's package, SQLite, PHP's own web server, on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from database import Database
from mediawiki import MediaWikiClient, WikiSettings
from questions import Question
from semanticretriever import RetrievalSettings, SemanticRetriever

MEDIAWIKI = Path("/usr/share/mediawiki")
PHP = shutil.which("php")

pytestmark = [
    pytest.mark.mediawiki,
    pytest.mark.skipif(
        PHP is None or not (MEDIAWIKI / "maintenance" / "install.php").is_file(),
        reason="needs Debian's mediawiki, php-cli, php-sqlite3, php-mbstring, php-xml and php-intl",
    ),
]

# Title: its revisions, (day, wikitext), oldest first.
PAGES = {
    "Norway": [
        ("2020-01-01", "'''Norway''' may join the European Union; OLDEST text."),
        (
            "2024-05-01",
            "'''Norway''' may join the [[European Union|Union of Europe]]; MIDDLE text. European Union.",
        ),
        ("2026-01-01", "'''Norway''' may join the European Union; NEWEST text."),
    ],
    "Kingdom of Norway": [("2021-01-01", "#REDIRECT [[Norway]]")],
    "Realm": [
        ("2020-01-01", "#REDIRECT [[Norway]]"),
        ("2025-01-01", "A '''realm''' is a kingdom."),
    ],
    "Loop A": [("2020-01-01", "#REDIRECT [[Loop B]]")],
    "Loop B": [("2020-01-01", "#REDIRECT [[Loop A]]")],
    "Norway (disambiguation)": [
        ("2020-01-01", "'''Norway''' may join the European Union, or be:\n* a place\n{{disambiguation}}")
    ],
    "List of Norway referendums": [("2020-01-01", "* Norway may join the European Union, 1972\n* 1994")],
    "Norway accession treaty": [("2026-02-01", "The FUTURE treaty lets Norway join the European Union.")],
    "東京": [("2020-01-01", "'''東京'''は日本の首都である。"), ("2025-01-01", "'''東京'''は都市である。")],
    "Ærø": [("2020-01-01", "'''Ærø''' is an island.")],
    "Gone": [("2020-01-01", "This page is deleted; Norway may join the European Union.")],
}


def dump():
    """The pages in MediaWiki's XML export format."""
    parts = ['<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="en">']
    number = 0
    for page_id, (title, revisions) in enumerate(PAGES.items(), start=100):
        parts.append(f"<page><title>{escape(title)}</title><ns>0</ns><id>{page_id}</id>")
        for day, text in revisions:
            number += 1
            parts.append(
                f"<revision><id>{1000 + number}</id><timestamp>{day}T12:00:00Z</timestamp>"
                "<contributor><username>Editor</username><id>7</id></contributor>"
                "<model>wikitext</model><format>text/x-wiki</format>"
                f'<text xml:space="preserve">{escape(text)}</text></revision>'
            )
        parts.append("</page>")
    return "".join([*parts, "</mediawiki>"])


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def api_url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mediawiki")
    port = free_port()
    environment = {**os.environ, "MW_INSTALL_PATH": str(MEDIAWIKI)}

    def maintain(script, *arguments):
        done = subprocess.run(
            [PHP, str(MEDIAWIKI / "maintenance" / script), *arguments],
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, f"{script}: {done.stdout[-2000:]} {done.stderr[-2000:]}"

    data = folder / "data"
    data.mkdir()
    maintain(
        "install.php",
        *("--dbtype", "sqlite", "--dbname", "wiki", "--dbpath", str(data), "--confpath", str(folder)),
        *("--server", f"http://127.0.0.1:{port}", "--scriptpath", "", "--lang", "en"),
        *("--pass", "only-for-this-test", "Test wiki", "Operator"),
    )
    environment["MW_CONFIG_FILE"] = str(folder / "LocalSettings.php")
    (folder / "dump.xml").write_text(dump(), encoding="utf-8")
    (folder / "deleted.txt").write_text("Gone\n", encoding="utf-8")
    maintain("importDump.php", str(folder / "dump.xml"))
    maintain("rebuildall.php")
    maintain("deleteBatch.php", str(folder / "deleted.txt"))
    maintain("runJobs.php")
    process = subprocess.Popen(
        [PHP, "-S", f"127.0.0.1:{port}", "-t", str(MEDIAWIKI)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    started = threading.Event()

    def read_log():
        for line in process.stderr:
            if "started" in line:
                started.set()

    reader = threading.Thread(target=read_log)
    reader.start()
    assert started.wait(60), "PHP's web server did not start"
    yield f"http://127.0.0.1:{port}/api.php"
    process.terminate()
    process.wait()
    reader.join()
    process.stderr.close()


@pytest.fixture
def client(api_url):
    return MediaWikiClient(WikiSettings(api_url, contact="desk@example.org", interval=0.0))


def test_search_finds_articles_once_and_resolves_redirects(client):
    titles = [hit.title for hit in client.search("Norway European Union", 10)]
    assert "Norway" in titles
    assert len(titles) == len(set(titles))
    assert "Kingdom of Norway" not in titles
    assert "Gone" not in titles


def test_a_hit_names_the_revision_that_is_then_fetched(client):
    hit = next(hit for hit in client.search("Norway European Union", 10) if hit.title == "Norway")
    revision = client.revision("Norway")
    assert (hit.revision_id, hit.timestamp) == (revision.revision_id, "2026-01-01T12:00:00Z")
    assert "NEWEST" in revision.text


@pytest.mark.parametrize(
    ("as_of", "word"),
    [
        ("2020-01-01T12:00:00Z", "OLDEST"),
        ("2024-05-01T11:59:59Z", "OLDEST"),
        ("2024-05-01T12:00:00Z", "MIDDLE"),
        ("2026-01-01T11:59:59Z", "MIDDLE"),
        ("2026-06-01T00:00:00Z", "NEWEST"),
    ],
)
def test_the_revision_of_a_date(client, as_of, word):
    revision = client.revision("Norway", as_of=as_of)
    assert word in revision.text
    assert revision.timestamp <= as_of


def test_no_page_yet_deleted_or_never(client):
    assert client.revision("Norway", as_of="2019-12-31T00:00:00Z") is None
    assert client.revision("Gone") is None
    assert client.revision("Never written") is None
    assert client.revision("<invalid>") is None


def test_redirects_as_they_stood_then(client):
    assert client.revision("Kingdom of Norway").title == "Norway"
    then = client.revision("Realm", as_of="2024-06-01T00:00:00Z")
    assert (then.title, "MIDDLE" in then.text) == ("Norway", True)
    assert client.revision("Realm").title == "Realm"


def test_a_redirect_loop_ends(client):
    assert client.revision("Loop A") is None


def test_a_disambiguation_page_is_known_by_its_text(client):
    assert client.revision("Norway (disambiguation)").disambiguation
    assert not client.revision("Norway").disambiguation


def test_titles_beyond_latin(client):
    assert "首都" in client.revision("東京", as_of="2024-01-01T00:00:00Z").text
    assert "都市" in client.revision("東京").text
    assert client.revision("Ærø").text.endswith("is an island.")


def test_the_wikis_own_names_are_read(client):
    site = client.site()
    assert site.main_page == "Main Page"
    assert {"special", "user talk", "category"} <= site.namespaces
    assert "" not in site.namespaces
    assert "redirect" in {word.casefold() for word in site.redirect_words}


@pytest.mark.parametrize(
    ("as_of", "wanted", "unwanted"),
    [("2024-06-01", "MIDDLE", ("FUTURE", "NEWEST", "OLDEST")), (None, "NEWEST", ("MIDDLE", "OLDEST"))],
)
def test_from_question_to_evidence(client, tmp_path, as_of, wanted, unwanted):
    question = Question("Will Norway join the European Union before 2030?", as_of=as_of)
    with Database(tmp_path / "store.db") as database:
        settings = RetrievalSettings(embedding_model="", ranking="bm25")
        evidence = SemanticRetriever(database, settings, client=client).retrieve(question)
    assert evidence.error is None
    text = "\n".join(passage.text for passage in evidence.passages)
    assert wanted in text
    assert not [word for word in unwanted if word in text]
    titles = {passage.title for passage in evidence.passages}
    assert "Norway" in titles
    assert not titles & {"Norway (disambiguation)", "List of Norway referendums", "Gone"}
    if as_of:
        assert all(passage.timestamp <= "2024-06-01T23:59:59Z" for passage in evidence.passages)
