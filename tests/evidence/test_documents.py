"""The user's folder: what each kind of file reads as, what is left out, and what a date or a change does to it."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest

from database import Database
from evidence import documents, readers
from evidence.documents import check_folder, find_documents
from evidence.readers import DocumentError
from evidence.settings import RetrievalSettings
from questions.question import Question
from semanticretriever import SemanticRetriever

QUESTION = Question("Will the harbour bridge open to traffic?")


def pdf(text):
    """A one-page PDF that shows ``text`` in Helvetica (none: an empty page)."""
    stream = f"BT /F1 12 Tf 40 700 Td ({text}) Tj ET".encode() if text else b""
    parts = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    data, places = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, start=1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, part)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return (
        data
        + b"xref\n0 6\n0000000000 65535 f \n%strailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF"
        % (
            table,
            len(data),
        )
    )


def write(folder, name, content, *, modified="2025-03-01T12:00:00Z"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    moment = datetime.fromisoformat(modified).timestamp()
    os.utime(path, (moment, moment))
    return path


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "papers"
    path.mkdir()
    return path


def read(folder):
    (document,) = find_documents(folder)
    return [(section.title, section.text) for section in document.sections()]


# --- reading ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "The bridge\n\n\n opens.", [("", "The bridge\n\nopens.")]),
        ("a.TXT", "\ufeffThe bridge opens.".encode(), [("", "The bridge opens.")]),
        ("a.txt", "Die Brücke öffnet.".encode("utf-16"), [("", "Die Brücke öffnet.")]),
        ("a.txt", "Die Brücke – öffnet.".encode("cp1252"), [("", "Die Brücke – öffnet.")]),
        (
            "a.md",
            "---\ntag: x\n---\n# Plan\nThe *bridge* [opens](http://x).",
            [("Plan", "The bridge opens.")],
        ),
        (
            "a.html",
            "<h1>Plan</h1><script>x()</script><p>The <b>bridge</b> opens.</p>",
            [("Plan", "The bridge opens.")],
        ),
        # What is between two rules may be text, and a head need not be closed.
        ("a.md", "---\nThe plan.\n\n---\nIt opens.", [("", "The plan.\n\nIt opens.")]),
        ("a.md", "---\r\ntag: x\r\nlist:\r\n- a\r\n  b\r\n---\r\nIt opens.", [("", "It opens.")]),
        ("a.md", "---\ntag: x\n...\nIt opens.", [("", "It opens.")]),
        (
            "a.html",
            "<head><meta charset=utf-8><title>T</title><body><p>It opens.",
            [("", "It opens.")],
        ),
        ("a.html", "<head><title>T</title></head><p>It opens.", [("", "It opens.")]),
        ("a.html", "<title>T</title><p>It opens.", [("", "T\nIt opens.")]),
        (
            "a.html",
            '<meta charset="windows-1251"><p>Мост откроют.</p>'.encode("cp1251"),
            [("", "Мост откроют.")],
        ),
        (
            "a.htm",
            '<meta http-equiv="Content-Type" content="text/html; charset=gb2312"><p>橋開镕</p>'.encode(
                "gbk"
            ),
            [("", "橋開镕")],
        ),
        ("a.html", '<meta charset="iso-8859-1"><p>Brücke</p>'.encode(), [("", "Brücke")]),
        ("a.html", b'<meta charset="hex"><p>Br\xfccke</p>', [("", "Brücke")]),
        ("a.html", b'<meta charset="utf-8"><p>Br\xfccke</p>', [("", "Brücke")]),
        ("a.pdf", pdf("The bridge opens."), [("page 1", "The bridge opens.")]),
    ],
)
def test_each_kind_of_file_becomes_plain_sections(folder, name, content, expected):
    write(folder, name, content)
    assert read(folder) == expected


FOREIGN = [
    ("日本銀行は2026年に政策金利を引き上げた。次回の会合は十二月。", "shift_jis"),
    ("日本銀行は2026年に政策金利を引き上げた。次回の会合は十二月。", "euc_jp"),
    ("中国人民银行在2026年下调了利率。", "gbk"),
    ("中央銀行在2026年調降利率。", "big5"),
    ("В 2026 году банк повысил ставку.", "cp1251"),
    ("В 2026 году банк повысил ставку.", "koi8-r"),
    ("Το 2026 η τράπεζα αύξησε τα επιτόκια.", "cp1253"),
]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"MZ\x00\x01\x02", "not a text file"),
        ("a.txt", "  \n ", "holds no text"),
        (
            "a.html",
            "<body><noscript>Enable JavaScript</noscript><div id=root></div>",
            "holds no text",
        ),
        *(
            (name, text.encode(encoding), "neither UTF-8 nor Windows-1252; save it as UTF-8")
            for name in ("a.txt", "a.md", "a.html")
            for text, encoding in FOREIGN
        ),
        ("a.pdf", b"%PDF-1.4 and then nothing", "cannot be read"),
        ("a.pdf", b"", "cannot be read"),
        ("a.pdf", pdf(""), "holds no text"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_one_line(folder, name, content, message):
    write(folder, name, content)
    (document,) = find_documents(folder)
    with pytest.raises(DocumentError, match=message) as caught:
        document.sections()
    assert "\n" not in str(caught.value)


def test_a_document_is_named_by_its_place_and_dated_by_its_file(folder):
    write(folder, "b/c.txt", "Text.", modified="2025-03-01T12:00:00Z")
    (document,) = find_documents(folder)
    assert (document.title, document.timestamp) == ("papers/b/c.txt", "2025-03-01T12:00:00Z")
    before = document.sha256
    write(folder, "b/c.txt", "Another text.")
    assert next(find_documents(folder)).sha256 != before


def test_hidden_foreign_huge_and_outside_files_are_left_out(folder, tmp_path, monkeypatch, caplog):
    write(folder, "kept.txt", "Text.")
    for name in (".hidden.txt", ".git/notes.txt", "sheet.xlsx", "no_suffix"):
        write(folder, name, "Text.")
    write(tmp_path, "secret.txt", "Text.")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "loop").symlink_to(folder)
    write(folder, "huge.txt", b"x" * 2000)
    monkeypatch.setattr(documents, "MAX_DOCUMENT_BYTES", 1000)
    assert [document.title for document in find_documents(folder)] == ["papers/kept.txt"]
    assert "papers/huge.txt: left out" in caplog.text
    kinds = "no .txt, .md, .html, .htm, .pdf"
    assert f"2 files left out ({kinds}): papers/no_suffix, papers/sheet.xlsx" in caplog.text


@pytest.mark.parametrize("name", ["absent", "empty", "file.txt"])
def test_a_folder_without_documents_is_refused(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("x", encoding="utf-8")
    with pytest.raises(DocumentError, match=r"there is no such folder|holds no \.txt"):
        check_folder(tmp_path / name)


# --- as evidence -----------------------------------------------------------------------------------


@pytest.fixture
def database(tmp_path):
    with Database(tmp_path / "store.db") as opened:
        yield opened


def evidence(database, folder, as_of=None):
    settings = RetrievalSettings(embedding_model="", ranking="bm25", documents=str(folder))
    return SemanticRetriever(database, settings).retrieve(QUESTION, as_of=as_of)


def test_documents_become_passages_with_name_date_and_hash(database, folder):
    path = write(folder, "plan.md", "# Opening\nThe harbour bridge will open in May.")
    (passage,) = evidence(database, folder).passages
    assert (passage.source, passage.title, passage.section) == (
        "document",
        "papers/plan.md",
        "Opening",
    )
    assert passage.timestamp == "2025-03-01T12:00:00Z"
    (document,) = find_documents(folder)
    assert passage.revision_id == document.sha256[:16]
    assert path.name in passage.title


def test_a_changed_file_replaces_what_it_was_also_with_an_older_date(database, folder):
    for text, modified in (("May", "2025-03-01"), ("June", "2025-04-01"), ("July", "2024-01-01")):
        write(
            folder,
            "plan.txt",
            f"The harbour bridge opens in {text}.",
            modified=f"{modified}T00:00:00Z",
        )
        found = evidence(database, folder).passages
        assert [passage.text for passage in found] == [f"The harbour bridge opens in {text}."]


def test_a_file_that_was_removed_is_no_evidence_any_more(database, folder):
    write(folder, "plan.txt", "The harbour bridge opens in May.")
    write(folder, "other.txt", "The harbour bridge is blue.")
    assert len(evidence(database, folder).passages) == 2
    (folder / "plan.txt").unlink()
    assert [passage.title for passage in evidence(database, folder).passages] == [
        "papers/other.txt"
    ]


def test_as_of_a_date_later_files_are_left_out_and_earlier_versions_kept(database, folder):
    write(folder, "plan.txt", "The harbour bridge opens in May.", modified="2025-03-01T00:00:00Z")
    write(folder, "late.txt", "The harbour bridge has opened.", modified="2025-08-01T00:00:00Z")
    found = evidence(database, folder, as_of="2025-06-01")
    assert [passage.title for passage in found.passages] == ["papers/plan.txt"]
    write(
        folder, "plan.txt", "The harbour bridge opens in December.", modified="2025-09-01T00:00:00Z"
    )
    found = evidence(database, folder, as_of="2025-06-01")
    assert [passage.text for passage in found.passages] == ["The harbour bridge opens in May."]


def test_unchanged_files_are_read_once_and_a_broken_one_does_not_stop_the_others(
    database, folder, monkeypatch, caplog
):
    write(folder, "plan.txt", "The harbour bridge opens in May.")
    write(folder, "broken.pdf", b"%PDF-")
    assert len(evidence(database, folder).passages) == 1
    assert "broken.pdf" in caplog.text
    asked = []
    monkeypatch.setitem(readers.READERS, ".txt", asked.append)
    assert len(evidence(database, folder).passages) == 1
    assert asked == []


def test_dates_are_utc(folder):
    path = write(folder, "plan.txt", "x")
    (document,) = find_documents(folder)
    assert datetime.fromisoformat(document.timestamp) == datetime.fromtimestamp(
        path.stat().st_mtime, UTC
    )


def test_a_retriever_without_the_documents_source_finds_none(database, folder):
    write(folder, "plan.txt", "The harbour bridge opens in May.")
    settings = RetrievalSettings(
        embedding_model="", ranking="bm25", documents=str(folder), sources=("wikipedia",)
    )
    assert SemanticRetriever(database, settings).retrieve(QUESTION).passages == ()


# --- names and places that go wrong ----------------------------------------------------------------


def test_a_name_that_is_not_utf_8_costs_its_file_alone(folder, caplog):
    write(folder, "a.txt", "first")
    (folder / "z").mkdir()
    for name in (b"caf\xe9.txt", b"z/\xff\xfe.md"):
        with open(os.fsencode(folder) + b"/" + name, "wb") as file:
            file.write(b"lost")
    write(folder, "z/b.txt", "last")
    assert [document.title for document in find_documents(folder)] == [
        "papers/a.txt",
        "papers/z/b.txt",
    ]
    assert caplog.text.count("left out (its name is not UTF-8; rename it)") == 2


def test_a_run_reads_the_others_and_names_the_one_that_is_left_out(folder, monkeypatch, capsys):
    from tests.support.stub_run import rows, stub_run

    write(folder, "a.txt", "The harbour bridge opens to traffic in May.")
    with open(os.fsencode(folder) + b"/caf\xe9.txt", "wb") as file:
        file.write(b"The harbour bridge stays closed to traffic.")
    write(folder, "z.txt", "The harbour bridge is open to traffic since June.")
    code, database = stub_run(
        folder.parent, monkeypatch, "--question", QUESTION.text, "--documents", str(folder)
    )
    assert code == 0
    assert rows(database, "SELECT title FROM articles ORDER BY title") == [
        ("papers/a.txt",),
        ("papers/z.txt",),
    ]
    assert (
        r"warning: papers/caf\udce9.txt: left out (its name is not UTF-8; rename it)"
        in capsys.readouterr().err
    )


def test_only_names_that_are_not_utf_8_are_no_documents(folder):
    with open(os.fsencode(folder) + b"/caf\xe9.txt", "wb") as file:
        file.write(b"x")
    with pytest.raises(DocumentError, match="holds no"):
        check_folder(folder)


def test_a_circle_of_links_and_a_pipe_are_left_out(folder):
    write(folder, "a.txt", "text")
    (folder / "loop.txt").symlink_to(folder / "loop.txt")
    (folder / "up").symlink_to(folder)
    os.mkfifo(folder / "pipe.txt")
    assert [document.title for document in find_documents(folder)] == ["papers/a.txt"]
