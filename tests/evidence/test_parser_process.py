"""Foreign text is parsed in a process of its own: what crashes or stalls a parser costs one text."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evidence import parser_process
from evidence import wikitext as cleaning
from evidence.documents import find_documents
from evidence.parser_process import ParserError, ParserProcess, parse_wikitext
from evidence.readers import DocumentError
from tests.evidence.test_documents import pdf
from tests.support.stub_run import rows, stub_run
from tests.support.wiki_server import SmallWiki

CRASHES = "=a" * 90_000  # mwparserfromhell 0.7 recurses in C
STALLS = "{{a|" * 20_000
HOME = Path(parser_process.__file__).parent.parent


def wikitext(text):
    return parse_wikitext(text, file_namespaces=("file",), category_namespaces=("category",))


@pytest.fixture
def process():
    own = ParserProcess()
    yield own
    own.end()


def job(text):
    return {"text": text, "file_namespaces": [], "category_namespaces": []}


def test_one_process_parses_text_after_text():
    assert wikitext("a\n== B ==\n'''c'''") == [("", "a"), ("B", "c")]
    child = parser_process._parser._child.pid
    assert wikitext("[[File:a.png|thumb]] half a character \ud800 here") == [
        ("", "half a character ? here")
    ]
    assert parser_process._parser._child.pid == child


def test_a_crash_costs_one_text():
    with pytest.raises(ParserError, match=r"the parser crashed \(SIG"):
        wikitext(CRASHES)
    assert wikitext("'''a'''") == [("", "a")]


def test_a_text_that_takes_too_long_is_given_up(process):
    with pytest.raises(ParserError, match="did not finish within 1 s of processor time"):
        process.run(job(STALLS), 1)
    assert process.run(job("'''a'''"), 1) == [("", "a")]


def test_a_file_that_stalls_without_work_is_given_up(process, tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "a.txt")
    monkeypatch.setattr(parser_process, "PATIENCE", 0.2)
    with pytest.raises(ParserError, match="did not finish within"):
        process.run({"path": str(tmp_path / "a.txt")}, 1)


def test_more_text_than_a_file_may_hold_is_not_taken(process, monkeypatch):
    monkeypatch.setattr(parser_process, "ANSWER_BYTES", 1000)
    with pytest.raises(ParserError, match="holds more than"):
        process.run(job("a " * 1000), 1)
    assert process.run(job("b"), 1) == [("", "b")]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RecursionError("deep"), "is nested too deeply"),
        (MemoryError(), "needs more than 4 GB"),
        (KeyError("two\nlines"), "cannot be read (KeyError: 'two\\nlines')"),
    ],
)
def test_what_a_parser_raises_is_one_line(monkeypatch, error, message):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(cleaning, "sections_from_wikitext", fail)
    assert parser_process._answer(job("a"))["error"].startswith(message)


def test_memory_is_limited(process):
    process.run(job("a"), 1)
    limits = Path(f"/proc/{process._child.pid}/limits").read_text().splitlines()
    (line,) = (line for line in limits if line.startswith("Max address space"))
    assert line.split()[3] == str(parser_process.MEMORY_BYTES)


def test_a_child_that_was_killed_in_between_is_replaced(process):
    assert process.run(job("a"), 1) == [("", "a")]
    process._child.send_signal(signal.SIGKILL)
    process._child.wait()
    assert process.run(job("b"), 1) == [("", "b")]


def test_an_interrupt_leaves_no_answer_behind(process, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(parser_process.Connection, "recv_bytes", interrupted)
        with pytest.raises(KeyboardInterrupt):
            process.run(job("a"), 1)
    assert process.run(job("b"), 1) == [("", "b")]


def test_the_child_ends_with_its_parent_and_is_not_shared_with_a_fork(tmp_path):
    script = (
        "import os, signal\n"
        "from evidence import parser_process as p\n"
        "names = {'file_namespaces': (), 'category_namespaces': ()}\n"
        "p.parse_wikitext('a', **names)\n"
        "first = p._parser._child.pid\n"
        "if not (pid := os.fork()):\n"
        "    p.parse_wikitext('b', **names)\n"
        "    p._parser.end()\n"
        "    os._exit(p._parser._child is not None)\n"
        "assert os.waitpid(pid, 0)[1] == 0\n"
        "assert p.parse_wikitext('c', **names) == [('', 'c')]\n"
        "assert p._parser._child.pid == first\n"
        "print(first, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=HOME, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    child = Path(f"/proc/{int(done.stdout)}/stat")
    deadline = time.monotonic() + 30
    while child.exists() and child.read_text().split()[2] != "Z":
        assert time.monotonic() < deadline, "the child lives on"
        os.sched_yield()


def test_the_child_ends_with_its_parent_in_the_middle_of_a_text(tmp_path):
    script = (
        "import os, signal, threading\n"
        "from evidence import parser_process as p\n"
        "names = {'file_namespaces': (), 'category_namespaces': ()}\n"
        "p.parse_wikitext('a', **names)\n"
        "print(p._parser._child.pid, flush=True)\n"
        "p.Connection.poll = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "p.parse_wikitext('<div>' * 60_000, **names)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=HOME, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    child = Path(f"/proc/{int(done.stdout)}/stat")
    deadline = time.monotonic() + 3  # it would go on for WIKITEXT_SECONDS of processor time
    while child.exists() and child.read_text().split()[2] != "Z":
        assert time.monotonic() < deadline, "the child lives on"
        os.sched_yield()


# --- where a user meets it ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["wiki", "documents"])
def test_a_run_goes_on_without_the_text_that_crashes_the_parser(
    tmp_path, monkeypatch, capsys, kind
):
    pytest.importorskip("transformers", reason="not installed: transformers")
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "good.txt").write_text("The bridge of Newport opens in May.", encoding="utf-8")
    pages = {
        "Newport": [("2025-01-01T00:00:00Z", "Newport is building a bridge.")],
        "Bridge": [("2025-01-01T00:00:00Z", f"{CRASHES} bridge")],
    }
    monkeypatch.setattr(parser_process, "DOCUMENT_SECONDS", 1)
    (folder / "bad.html").write_text("<!--" * 50_000, encoding="utf-8")
    arguments = ("--question", "Will the bridge of Newport open?")
    with SmallWiki(pages) as wiki:
        if kind == "wiki":
            settings = {
                "WIKIPEDIA_API_URL": f"{wiki.url}/w/api.php",
                "WIKIPEDIA_MIN_INTERVAL_SECONDS": 0,
            }
            reason = "Bridge: left out, the parser crashed (SIGSEGV)"
        else:
            settings, arguments = {}, (*arguments, "--documents", str(folder))
            reason = "papers/bad.html: the parser did not finish within 1 s of processor time"
        code, database = stub_run(tmp_path, monkeypatch, *arguments, **settings)
    assert code == 0
    assert reason in capsys.readouterr().out
    assert rows(database, "SELECT context_error FROM forecasts") == [
        (f"incomplete evidence: {reason}",)
    ]
    titles = rows(database, "SELECT title FROM articles")
    assert titles == [("Newport",)] if kind == "wiki" else titles == [("papers/good.txt",)]


def test_no_question_asks_again_for_an_article_that_cannot_be_parsed(tmp_path, monkeypatch):
    pytest.importorskip("transformers", reason="not installed: transformers")
    asked = [
        word
        for place in ("Newport", "Dover")
        for word in ("--question", f"Will the bridge of {place} open?")
    ]
    with SmallWiki({"Bridge": [("2025-01-01T00:00:00Z", f"{CRASHES} bridge")]}) as wiki:
        _, database = stub_run(
            tmp_path, monkeypatch, *asked,
            WIKIPEDIA_API_URL=f"{wiki.url}/w/api.php", WIKIPEDIA_MIN_INTERVAL_SECONDS=0,
        )  # fmt: skip
        assert wiki.asked_for(text=True) == ["Bridge"]
    assert rows(
        database, "SELECT count(*) FROM run_questions WHERE context_error LIKE 'Bridge: left out%'"
    ) == [(2,)]


def test_a_markdown_file_that_nests_too_deeply_does_not_stop_the_next_file(tmp_path):
    (tmp_path / "a.md").write_text(">" * 5000 + "a", encoding="utf-8")
    (tmp_path / "b.pdf").write_bytes(pdf("Fine."))
    first, second = find_documents(tmp_path)
    with contextlib.suppress(DocumentError):
        first.sections()
    assert second.sections() == [("page 1", "Fine.")]
