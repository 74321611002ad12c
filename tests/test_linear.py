"""Functions that read foreign text take time linear in its length.

Each input is the worst for a pattern that an earlier version had, or one step from it. Quadratic
time on 100,000 characters is minutes; the bound, processor time for a tenth of a megabyte, is
generous for a slow machine.
"""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager
from datetime import date, timedelta
from types import SimpleNamespace

import pytest

import documents
import logger
import mediawiki
import passages
import prompts
from characters import nfc
from columns import folded_heading
from passages import Section
from question_files import read_questions
from questions import Question, QuestionError
from untrusted_text import visible

LENGTH = 100_000
SECONDS = 1.0


@contextmanager
def bounded():
    """Fail, instead of hanging, when the block takes too long."""

    def give_up(*_):
        pytest.fail(f"more than {SECONDS} s of processor time")

    before = signal.signal(signal.SIGPROF, give_up)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def cut(text):
    return passages.cut_passages([("", text)], size=200, overlap=40)


def retry_after(text):
    return mediawiki.parse_retry_after(text, mediawiki.datetime.now(mediawiki.UTC))


# What is repeated, with what stands before and after it.
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
    "tidy": passages.tidy,
    "list marks": passages._without_list_marks,
    "redirect": passages.redirect_target,
    "disambiguation": lambda text: list(passages._template_names(text)),
    "template name": passages._DISAMBIGUATION_TEMPLATE.match,
    "list title": passages.is_list_title,
    "size": passages.estimate_tokens,
    "passages": cut,
    "searches": passages.build_queries,
    "entities": passages.named_entities,
    "words": passages.match_query,
    "shingles": passages.shingles,
    "nfc": nfc,
    "quotation": prompts.defuse,
    "notes": prompts.strip_reasoning,
    "end of a prompt": prompts.needs_space,
    "search text": mediawiki._search_text,
    "Retry-After": retry_after,
    "lines of a PDF": documents._pdf_text,
    "secrets": logger.redact,
    "screen": visible,
    "heading": folded_heading,
}


@pytest.mark.parametrize("reader", READERS)
def test_time_is_linear(reader):
    for before, repeated, after in INPUTS:
        text = before + repeated * (LENGTH // len(repeated)) + after
        with bounded():
            READERS[reader](text)


def test_a_megabyte_of_prose_is_read_in_seconds():
    text = (
        "The Bank of England (BoE) raised its rate to 5.25 % in 2023; Mr. Bailey's view was “clear”.\n"
        * 11_000
    )
    took = {}
    for name, read in READERS.items():
        start = time.process_time()
        read(text)
        took[name] = time.process_time() - start
    assert {name: seconds for name, seconds in took.items() if seconds > 4} == {}


@pytest.mark.parametrize("unit", ["\n", "< "])
def test_a_background_of_line_breaks_or_brackets_costs_nothing(unit):
    question = Question("Will A happen?", background="<" + unit * (19_000 // len(unit)) + "x")
    with bounded():
        prompts.forecast_messages(question, today="2026-11-24")


def test_a_passage_has_an_end_also_where_the_tokenizer_counts_nothing():
    with bounded():
        cuts = passages.cut_passages(
            [Section("", "\u200d. " * 30_000)],
            size=200,
            overlap=40,
            count_tokens=lambda texts: [0] * len(texts),
        )
    assert len(cuts) > 100


def test_a_heading_is_not_repeated_without_bound():
    heading = "word " * 10_000
    for sections in (
        passages.sections_from_wikitext(f"= {heading}=\n" + "== b ==\nText.\n" * 50),
        passages.sections_from_html(f"<h1>{heading}</h1>" + "<h2>b</h2>Text." * 50),
    ):
        assert len(sections) == 50
        assert all(len(title) < 2 * passages.MAX_HEADING_CHARACTERS for title, _ in sections)


@pytest.mark.parametrize(
    "row", ["Will A happen?,a,{day}", "Will A happen?,a{n},", "Will A happen?,a,", "Will A happen {n}?,,"]
)
def test_a_question_file_of_many_rows_alike_is_read_in_linear_time(tmp_path, row):
    first = date(2001, 1, 1)
    lines = [row.format(n=n, day=first + timedelta(days=n)) for n in range(3000)]
    path = tmp_path / "q.csv"
    path.write_text("question,id,as_of\n" + "\n".join(lines), encoding="utf-8")
    with bounded():
        found = read_questions(path)
    assert len(found) == (1 if row.endswith("a,") else 3000)


@pytest.mark.parametrize("nested", ["[" * 60 + "]" * 60, '{"a":' * 60 + "1" + "}" * 60, "[" * 100_000])
def test_a_row_that_nests_too_deeply_is_refused(tmp_path, nested):
    path = tmp_path / "q.jsonl"
    path.write_text(f'{{"question": "Will A happen?", "x": {nested}}}', encoding="utf-8")
    with pytest.raises(QuestionError, match="line 1: not JSON \\(nested too deeply\\)"):
        read_questions(path)


def test_control_tokens_are_looked_for_once_each():
    passage = SimpleNamespace(source="w", title="t", section="s", timestamp="2026-01-02", text="<|a" * 30_000)
    with bounded():
        prompts.format_evidence([passage], [f"<|reserved_{n}|>" for n in range(256)])
