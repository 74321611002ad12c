"""Functions that read foreign text take time linear in its length.

Each reader and each regular expression is given texts of 62, 125 and 250 kB: those that were worst
for an earlier version, and for an expression those made from it. Twice the text may take three times
the processor time, the longest half a second (two a megabyte): the worst takes 0.2.

Files of many rows have bounds of their own: a megabyte holds 30,000 rows and more.
Parsers of wikitext, HTML, Markdown and PDF by others (``sections_from_wikitext``,
``sections_from_html``, ``readers.READERS``) are exempt: they run in ``parser_process``, under its
limit of processor time.
"""

from __future__ import annotations

import json
import re
import signal
import time
from collections import deque
from contextlib import contextmanager
from datetime import date, timedelta
from types import SimpleNamespace

import pytest

from evaluation import outcomes as resolutions
from evidence import (
    as_of,
    chunking,
    documents,
    mediawiki,
    queries,
    readers,
    sections,
    selection,
    transport,
    wikitext,
)
from evidence.sections import Section
from questions import (
    cells,
    characters,
    columns,
    json_rows,
    kinds,
    placeholders,
    platforms,
    rows,
    tables,
    texts,
)
from questions import files as question_files
from questions import ids as question_ids
from questions import question as questions
from questions.characters import nfc
from questions.columns import folded_heading
from questions.files import read_question_file
from questions.question import Question, QuestionError
from scoring import chat_templates, prompts, quoting, reasoning_notes
from terminal import library_output, progress, redaction, web_addresses
from terminal import text as terminal_text
from terminal.redaction import redact
from terminal.text import visible
from tests.support.pumped_inputs import patterns, pumped
from tests.support.stub_cli import stub_main

# Of processor time, for a text or file of about a megabyte.
SECONDS = 6.0


@contextmanager
def bounded(limit=SECONDS):
    """Fail, instead of hanging, when the block takes too long."""

    def give_up(*_):
        pytest.fail(f"more than {limit} s of processor time")

    before = signal.signal(signal.SIGPROF, give_up)
    signal.setitimer(signal.ITIMER_PROF, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def cut(text):
    return chunking.cut_passages([("", text)], size=200, overlap=40)


def retry_after(text):
    return transport.parse_retry_after(text, transport.datetime.now(transport.UTC))


# What is repeated, with what comes before and after it.
INPUTS = [
    ("", "\n", ""), ("(", " ", "x"), ("(", "\n", ""), ("", "( ", ""), ("<", " ", ""), ("<", "\n", "x"), ("", "< ", ""),
    ("[", " ", "x"), ("\n[", "1", ""), ("#x", " ", ""), ("#", "x", ""), ("", ".", ""), ("", "_", ""), ("__A", "A", ""),
    ("a", "\u0300\u0323", ""), ("", "\u200b", ""), ("", "\x85", ""), ("", "{{", ""), ("", "{{a}}", ""), ("", "<!--", ""),
    ("", "{{dab-", ""), ("in", " ", ""), ("", "in the end of ", ""), ("", "2026 ", ""), ("", "A", ""), ("", "A ", ""),
    ("", "日", ""), ("", "ab. ", ""), ("A", " of", ""), ("", "’s ", ""), ("70 %", " ", "x"), ("7", " ", "in"), ("\n1", " ", "x"),
    ("1.", "1", "x"), ("my", " ", "x"), ("my ", "a", ""), ("", "probability ", ""), ("", "70 % ", ""), ("<|channel|>", "a", ""),
    ("<|channel|>", " ", "<"), ("", "<|channel|>a", ""), ("", "<think>", ""), ("<|", "a", ""), ("\\boxed{", "1", ""), ("", "a-\n", ""),
    ("", '"', ""), ("", "-", ""), ("1", ",", ""), ("", "\U0001f600", ""),
]  # fmt: skip
READERS = {
    "tidy": sections.tidy,
    "list marks": wikitext._without_list_marks,
    "redirect": wikitext.redirect_target,
    "disambiguation": lambda text: list(wikitext._template_names(text)),
    "template name": wikitext._DISAMBIGUATION_TEMPLATE.match,
    "list title": wikitext.is_list_title,
    "size": lambda text: chunking.estimate_tokens([text]),
    "passages": cut,
    "searches": queries.build_queries,
    "entities": queries.named_entities,
    "words": queries.match_query,
    "shingles": selection.shingles,
    "nfc": nfc,
    "quotation": quoting.defuse,
    "notes": reasoning_notes.strip_reasoning,
    "end of a prompt": chat_templates.needs_space,
    "search text": mediawiki._search_text,
    "Retry-After": retry_after,
    "lines of a PDF": readers._pdf_text,
    "secrets": redact,
    "screen": visible,
    "heading": folded_heading,
}


MODULES = (
    as_of, cells, characters, chat_templates, chunking, columns, documents, json_rows, kinds,
    library_output, mediawiki, reasoning_notes, placeholders, platforms, progress, queries, question_files,
    question_ids, questions, quoting, redaction, resolutions, rows, sections, selection, tables,
    terminal_text, texts, transport, web_addresses, wikitext,
)  # fmt: skip
PATTERNS = {
    name: (pattern, method) for module in MODULES for name, pattern, method in patterns(module)
}
SCREENED = 10_000
SIZES = (62_500, 125_000, 250_000)
LONGEST = SECONDS * SIZES[-1] / 1_000_000
# Seconds that are too short to compare: quadratic from there on, a megabyte would take a third of a second.
SHORT = 0.05


def built(pump, length):
    before, repeated, after = pump
    return before + repeated * (length // len(repeated)) + after


def seconds(read, text):
    start = time.process_time()
    with bounded(LONGEST):
        read(text)
    return time.process_time() - start


def is_linear(took):
    """Four times the text, less than eight times the time; times too short to compare are linear.

    The longest is compared with the shortest: what falls between them, as the collector's pauses
    do, says nothing. Quadratic is sixteen times.
    """
    return took[-1] < 8 * took[0] or took[-1] < SHORT


def judge(read, pumps):
    """Double the two inputs that are slowest when short; quadratic ones stand out there by far.

    Times that seem too long are taken up to four times: the machine may be busy.
    """
    slowest = sorted(pumps, key=lambda pump: seconds(read, built(pump, SCREENED)))[-2:]
    for pump in slowest:
        took = [seconds(read, built(pump, length)) for length in SIZES]
        for _ in range(3):
            if is_linear(took):
                break
            took = [min(t, seconds(read, built(pump, n))) for t, n in zip(took, SIZES, strict=True)]
        assert is_linear(took), (pump, took)


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_takes_twice_the_time_for_twice_the_text(reader):
    judge(READERS[reader], INPUTS)


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_takes_twice_the_time_for_twice_the_text(name):
    pattern, method = PATTERNS[name]
    if method == "finditer":
        read = lambda text: deque(pattern.finditer(text), maxlen=0)  # noqa: E731
    elif method == "sub":
        read = lambda text: pattern.sub("", text)  # noqa: E731
    else:
        read = getattr(pattern, method)
    judge(read, dict.fromkeys([*pumped(pattern), *INPUTS]))


@pytest.mark.parametrize("text", [r"(a|b)*\s*\s*x", r"\s+y", r"[a-z]{1,20}://\S*@"])
def test_a_quadratic_pattern_is_found(text):
    pattern = re.compile(text)
    with pytest.raises(pytest.fail.Exception):
        judge(lambda text: pattern.sub("", text), pumped(pattern))


def test_a_megabyte_of_prose_is_read_in_a_second():
    text = (
        "The Bank of England (BoE) raised its rate to 5.25 % in 2023; Mr. Bailey's view was “clear”.\n"
        * 11_000
    )
    took = {}
    for name, read in READERS.items():
        start = time.process_time()
        read(text)
        took[name] = time.process_time() - start
    assert {name: needed for name, needed in took.items() if needed > SECONDS} == {}


@pytest.mark.parametrize("unit", ["\n", "< "])
def test_a_background_of_line_breaks_or_brackets_costs_nothing(unit):
    question = Question("Will A happen?", background="<" + unit * (19_000 // len(unit)) + "x")
    with bounded():
        prompts.forecast_messages(question, today="2026-11-24")


def test_a_passage_has_an_end_also_where_the_tokenizer_counts_nothing():
    with bounded():
        cuts = chunking.cut_passages(
            [Section("", "\u200d. " * 30_000)],
            size=200,
            overlap=40,
            count_tokens=lambda texts: [0] * len(texts),
        )
    assert len(cuts) > 100


def test_a_heading_is_not_repeated_without_bound():
    heading = "word " * 10_000
    for found in (
        wikitext.sections_from_wikitext(f"= {heading}=\n" + "== b ==\nText.\n" * 50),
        sections.sections_from_html(f"<h1>{heading}</h1>" + "<h2>b</h2>Text." * 50),
    ):
        assert len(found) == 50
        assert all(len(title) < 2 * sections.MAX_HEADING_CHARACTERS for title, _ in found)


@pytest.mark.parametrize(
    "row",
    ["Will A happen?,a,{day}", "Will A happen?,a{n},", "Will A happen?,a,", "Will A happen {n}?,,"],
)
def test_a_question_file_of_many_rows_alike_is_read_in_linear_time(tmp_path, row):
    first = date(2001, 1, 1)
    lines = [row.format(n=n, day=first + timedelta(days=n)) for n in range(3000)]
    path = tmp_path / "q.csv"
    path.write_text("question,id,as_of\n" + "\n".join(lines), encoding="utf-8")
    with bounded():
        found = read_question_file(path).questions
    assert len(found) == (1 if row.endswith("a,") else 3000)


def numbered(form, count, between=","):
    return between.join(form.format(n) for n in range(count))


# Files whose parts multiply: one line, exit code 2, in a time that does not grow with the product.
PRODUCTS = {
    "short lines under many headings": (
        "q.csv", "question," + numbered("a{}", 40_000) + "\n" + numbered("Q{}?", 40_000, "\n"), "40001 columns"
    ),
    "lines that lack cells": (
        "q.csv", "question," + numbered("a{}", 900) + "\n" + numbered("Q{}?", 40_000, "\n"), "fewer columns"
    ),
    "a long value in many placeholders": (
        "q.jsonl", json.dumps({"question": "A?", "background": "{x}" * 100_000, "x": "y" * 300_000}), "add more than"
    ),
    "many keys for many placeholders": (
        "q.jsonl", '{"question": "A?", "background": "' + "{x}" * 50_000 + '", ' + numbered('"k{}": 1', 40_000) + "}",
        "40002 columns",
    ),
    "many dates of a long row": (
        "q.json", json.dumps({"question_set": "s", "questions": [{
            "id": "a", "question": "A {resolution_date}?", "background": "x" * 300_000,
            "resolution_dates": ["2026-01-01"] * 30_000}]}), "at most 200",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_file_whose_parts_multiply_is_refused(tmp_path, monkeypatch, capsys, name):
    file, text, reason = PRODUCTS[name]
    path = tmp_path / file
    path.write_text(text, encoding="utf-8")
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    database = tmp_path / "run.db"
    with bounded():
        assert (
            stub_main(["--questions", str(path), "--database", str(database), "--no-retrieval"])
            == 2
        )
    assert not database.exists()
    said = capsys.readouterr().err
    assert f"{file}, line " in said
    assert reason in said


def test_rows_do_not_multiply_with_the_head_of_their_set(tmp_path):
    path = tmp_path / "q.json"
    rows = numbered('{{"question": "Will A{} happen?"}}', 8_000)
    path.write_text(
        f'{{{numbered(chr(34) + "k{}" + chr(34) + ": 1", 20_000)}, "questions": [{rows}]}}'
    )
    with bounded():
        assert len(read_question_file(path).questions) == 8_000


@pytest.mark.parametrize(
    "nested", ["[" * 60 + "]" * 60, '{"a":' * 60 + "1" + "}" * 60, "[" * 100_000]
)
def test_a_row_that_nests_too_deeply_is_refused(tmp_path, nested):
    path = tmp_path / "q.jsonl"
    path.write_text(f'{{"question": "Will A happen?", "x": {nested}}}', encoding="utf-8")
    with pytest.raises(QuestionError, match="line 1: not JSON \\(nested too deeply\\)"):
        read_question_file(path)


def test_control_tokens_are_looked_for_once_each():
    passage = SimpleNamespace(
        source="w", title="t", section="s", timestamp="2026-01-02", text="<|a" * 30_000
    )
    with bounded():
        prompts.format_evidence([passage], [f"<|reserved_{n}|>" for n in range(256)])
