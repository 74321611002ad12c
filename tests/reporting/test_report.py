"""The HTML page: everything inside it, nothing fetched, no foreign markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

import config
from database import Database
from questions.question import Question
from reporting import report
from storage.new_records import ForecastRecord
from storage.records import CoherenceRecord, Resolution
from tests.support.record_database import add_evidence, add_run, calibrate, point, small


class Page(HTMLParser):
    """Collects tags, attributes and visible text, and checks that tags are closed in order."""

    VOID = frozenset({"meta", "img", "br", "!doctype"})

    def __init__(self, html):
        super().__init__()
        self.html = html
        self.tags, self.attributes, self.open, self.text = [], [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    @property
    def shown(self):
        return " ".join("".join(self.text).split())


@pytest.fixture
def database(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "CALIBRATION_SIMULATIONS", 100)
    with Database(small(tmp_path / "d.db")) as database:
        yield database


@pytest.fixture
def undrawn(monkeypatch):
    """No figure is rasterised: for tests of the text around the figures."""
    monkeypatch.setattr(report, "inline", lambda *_: "")


def test_nothing_is_fetched_and_nothing_runs(database, monkeypatch):
    monkeypatch.setattr(config, "MIN_CLAIM_QUESTIONS", 2)
    database.outcomes.add([Resolution("a", 1, "2025-06-01"), Resolution("b/ü", 0, "2025-06-01")])
    html = report.render(database, 2)
    page = Page(html)
    assert not {"script", "link", "iframe", "object", "embed", "form"} & set(page.tags)
    sources = [
        value for _, name, value in page.attributes if name in ("src", "srcset", "background")
    ]
    assert sources == []
    # Overview, two record figures, two for each question, each with a description.
    assert page.tags.count("svg") == 9
    described = [
        value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")
    ]
    assert len(described) == 9
    assert all(value.startswith("#") for _, name, value in page.attributes if name == "xlink:href")
    assert not any(name.startswith("on") for _, name, _ in page.attributes)
    assert ("meta", "http-equiv", "Content-Security-Policy") in page.attributes
    assert not re.search(r"url\((?!#)|@import", html)
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))


def test_text_of_models_and_articles_is_escaped_and_shown(database, undrawn):
    page = Page(report.render(database, 2))
    assert "A passage with <script>alert(1)</script>." in page.shown
    assert "Because <b>of</b> it." in page.shown
    assert "Title <i>" in page.shown
    assert "Will $B$ happen?" in page.shown
    assert ("a", "href", "https://example.org/a") in page.attributes
    assert "Reasoning of x" in page.shown


def test_only_web_addresses_become_links(tmp_path, undrawn):
    with Database(tmp_path / "d.db") as database:
        passage = add_evidence(database, url="javascript:alert(1)")
        run = add_run(database, [Question("A?", id="a")], {"x": [point(10)]}, passage=passage)
        page = Page(report.render(database, run))
    links = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    assert all(link.startswith("#") for link in links)


def test_table_numbers_and_failures(database, undrawn):
    questions = [Question("Will it fail?", id="f"), Question("Will A happen?", id="a")]
    run = database.runs.start(settings={}, versions={}, seed=1, as_of=None, questions=questions)
    database.forecasts.save(run, ForecastRecord("f", "x", "x", error="out of memory"))
    database.outcomes.save_coherence(
        [CoherenceRecord(run, "a", "x", "negation", 0.7, {"a~not": 0.4}, 0.1)]
    )
    page = Page(report.render(database, run))
    assert "out of memory" in page.shown
    assert "no forecast" in page.shown
    assert "+10.0 points" in page.shown
    first = report.closing_table(database, 2)[0]
    assert (first.articles, first.outcome) == (1, "")
    assert (first.pooled.mean, first.pooled.p10, first.pooled.p90) == (pytest.approx(80), 70, 90)
    assert first.pooled.agreement == 0.0
    assert "80.0 %" in Page(report.render(database, 2)).shown


def test_the_changes_since_the_last_run_are_listed_largest_first(database, undrawn):
    shown = Page(report.render(database, 2)).shown
    block = shown.partition("since run ")[2].partition(" Since the last run")[0]
    # A moved from 70 to 80 %, with the same passage in the prompts as in run 1.
    assert block == (
        "Will A happen?+10.0+10.0001 Will $B$ happen?+0.0+0.0001 Will C happen?+0.0+0.0001"
    )
    assert "What changed" not in Page(report.render(database, 1)).shown


def test_coherence_checks_are_not_listed_as_questions(tmp_path, undrawn):
    questions = [
        Question("A?", id="a"),
        Question("Not A?", id="a~not", extra={"coherence_of": "a"}),
    ]
    with Database(tmp_path / "d.db") as database:
        run = add_run(database, questions, {"x": [point(10), point(80)]})
        assert [line.question.id for line in report.closing_table(database, run)] == ["a"]
        assert "Not A?" not in Page(report.render(database, run)).shown


def test_write_is_whole_and_excerpts_are_cut(database, tmp_path, undrawn):
    line = report.write_report(database, tmp_path / "r.html")
    assert "self-contained" in line
    assert [p.name for p in tmp_path.glob("*html*")] == ["r.html"]
    assert (tmp_path / "r.html").read_text().startswith("<!doctype html>")
    cut = report.excerpt("word " * 300)
    assert cut.endswith("word …")
    assert len(cut) <= report.EXCERPT_CHARACTERS + 2


def test_an_empty_database_is_refused(tmp_path):
    with (
        Database(tmp_path / "d.db") as database,
        pytest.raises(report.AnalysisError, match="no run to report"),
    ):
        report.write_report(database, tmp_path / "r.html")


def test_the_report_names_both_records_the_models_and_the_calibrated_value(
    ask, tmp_path, monkeypatch
):
    monkeypatch.setattr(config, "MAX_PLOTTED_QUESTIONS", 1)
    monkeypatch.setattr(report, "inline", lambda *_: "")
    ask("2026-03-02", fail="stub-c")
    calibrate(tmp_path / "d.db", 0.42)
    ask("2026-03-09", "--as-of", "2026-03-05")
    pages = []
    for run in (1, 2):
        with Database(tmp_path / "d.db") as db:
            report.write_report(db, tmp_path / "r.html", run)
        pages.append((tmp_path / "r.html").read_text(encoding="utf-8"))
    live, dated = pages
    for page in pages:
        assert ">Latest live forecasts</h2>" in page
        assert ">Latest back-dated forecasts</h2>" in page
    assert "<h3>Back-dated forecasts</h3>" not in live
    assert live.count("2 of 3 models") == 2
    assert '<td class="n" data-l="calibrated">42.0 %</td>' in live
    assert "<h3>Back-dated forecasts</h3>" in dated
    assert dated.count("back-dated: as of 2026-03-05") == 2
    assert "calibrated</th>" not in dated


def test_open_questions_come_first_and_contents_lead_to_every_part(database, undrawn):
    database.outcomes.add([Resolution("a", 1, "2025-06-01")])
    html = report.render(database, 2)
    page = Page(html)
    results = html[html.index('id="results"') :]
    order = [
        results.index(text) for text in ("Will $B$ happen?", "Will C happen?", "Will A happen?")
    ]
    assert order == sorted(order)
    ids = {value for _, name, value in page.attributes if name == "id"}
    links = {
        value[1:]
        for tag, name, value in page.attributes
        if (tag, name) == ("a", "href") and value.startswith("#")
    }
    assert links == ids
    assert {"record", "results", "changes", "questions", "q1", "q3"} <= ids
    # The lines to quote are on top, above all that is folded.
    assert html.index("Brier 0.") < html.index("<details>")
    assert "Results: 2 open, 1 ended" in page.shown


def test_only_what_the_last_prompts_did_not_have_is_new(tmp_path, undrawn):
    question = [Question("Will A happen?", id="a")]
    with Database(tmp_path / "d.db") as database:
        old = add_evidence(database)
        new = add_evidence(database, "2025-02-01T00:00:00Z", text="What is new.")
        for passages in ((old,), (old, new)):
            run = add_run(database, question, {"x": [point(10)]}, passages=passages)
        first, second = (Page(report.render(database, n)) for n in (1, run))
    assert "mark" not in first.tags
    assert "Evidence: 2 passages, 1 new" in second.shown
    assert second.tags.count("mark") == 1
    (marked,) = re.findall(r"<li><mark>new</mark>.*?</li>", second.html)
    assert marked.endswith("What is new.</li>")


def test_a_prompt_is_folded_once_for_all_its_agents_without_its_passages(tmp_path, undrawn):
    text = "A passage of many words. " * 20
    with Database(tmp_path / "d.db") as database:
        passage = add_evidence(database, text=text)
        prompt = f"[user]\n<|im_start|>Evidence: {text}\nAnswer:"
        prompts = {"x": prompt, "y": prompt, "z": "Another prompt"}
        forecasts = {name: [point(10)] for name in "xyz"}
        run = add_run(
            database, [Question("A?", id="a")], forecasts, passages=(passage,), prompts=prompts
        )
        page = Page(report.render(database, run))
    assert "Prompt of x; y" in page.shown
    assert "Prompt of z" in page.shown
    assert "<|im_start|>Evidence: " + text[: report.QUOTED_CHARACTERS] in page.shown
    assert "… [cut: see Evidence] Answer:" in page.shown
    assert page.shown.count(text.strip()) == 1


def test_every_cell_of_a_card_but_the_first_is_labelled(database, undrawn, monkeypatch):
    database.outcomes.add([Resolution("a", 1, "2025-06-01")])
    html = report.render(database, 2)
    for row in re.findall(r"<tr>(<td>.*?)</tr>", html, re.S):
        first, *others = re.findall(r"<td[^>]*>", row)
        assert first == "<td>"
        assert others
        assert all("data-l=" in cell for cell in others)
    assert "@media (max-width: 500px)" in html
    assert "prefers-color-scheme: dark" in html
