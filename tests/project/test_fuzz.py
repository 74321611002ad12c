"""Ten thousand inputs that nobody means to give: question files, settings, outcomes, API answers, damaged databases.

Whatever comes in, the answer is a value or the one error that the function names, in bounded time, and what is refused leaves the
database as it was. A run by hand tries 30 of each kind, CI 60 (``FUZZ_EXAMPLES``); the whole is ``FUZZ_EXAMPLES=1000 python -m pytest
tests/test_fuzz.py``: 15 kinds, 15,000 inputs.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("hypothesis", reason="not installed: hypothesis")
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import analysis
import config
import forecaster
from database import Database
from evaluation import resolved, scorecard
from evaluation.backtest import read_backtest
from evaluation.explanation import explain
from evaluation.outcomes import read_resolutions
from evidence import documents, transport
from evidence.chunking import cut_passages
from evidence.mediawiki import MediaWikiClient
from evidence.queries import build_queries, match_query
from evidence.sections import sections_from_html
from evidence.settings import WikiSettings
from evidence.transport import JsonTransport, MediaWikiError
from evidence.wikitext import sections_from_wikitext
from preflight.model_entries import SPEC_KEYS
from preflight.rules import rules_of
from preflight.settings import setting_problems
from preflight.store_errors import StoreError
from preflight.stores import FolderStore
from preflight.weights import read_header
from questions import columns
from questions.cells import InputError
from questions.files import read_question_file
from questions.question import Question, QuestionError
from runs.finish import ablation_lines
from runs.summary import summary
from storage.errors import DatabaseError
from storage.records import Resolution
from terminal.interrupts import Interrupts
from terminal.screen import show_json
from tests.storage.test_three_numbers import CURVE, NUMBERS, VIEW
from tests.support.checkpoints import s3_store
from tests.support.kill_driver import Agent
from tests.support.record_database import add_evidence, add_run, around, history

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "30"))
# The deadline is for hangs: a hundred times what an input takes.
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=timedelta(seconds=20),
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
    derandomize=EXAMPLES <= 60,
    database=None,
)

# Lone surrogates too: JSON can spell them, UTF-8 cannot.
texts = st.text(st.characters(), max_size=40)
words = st.sampled_from(
    [
        "question",
        "text",
        "id",
        "background",
        "close_date",
        "as_of",
        "outcome",
        "date",
        "source",
        "extra",
        "2026-12-31",
        "yes",
        "1",
    ]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts | words
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts | words, inner, max_size=4),
    max_leaves=12,
)
rows = st.dictionaries(words | texts, values, max_size=6)


def as_lines(row):
    return json.dumps(row, default=str)


json_lines = st.lists(
    rows.map(as_lines) | texts.filter(lambda t: max(t, default="") < "\ud800"), max_size=5
).map("\n".join)
nested = st.integers(1, 100_000).map(lambda n: '{"question": ' + "[" * n)
files = st.binary(max_size=300) | (json_lines | nested).map(
    lambda text: text.encode("utf-8", "replace")
)
suffixes = st.sampled_from([".txt", ".csv", ".tsv", ".jsonl", ".JSONL", ".json", ".xml"])


def one_line(message: str) -> None:
    assert message
    assert "\n" not in message
    assert len(message) < 3000


def emptied(folder: Path) -> None:
    for left in folder.iterdir():
        left.unlink()


def printed(main: Any, *arguments: Any, **named: Any) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command line run in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(*arguments, **named)
    return code, out.getvalue(), err.getvalue()


def forecast(*arguments: str) -> tuple[int, str, str]:
    return printed(forecaster.main, arguments, agent_factory=Agent)


@pytest.fixture
def quiet(monkeypatch, tmp_path):
    monkeypatch.setenv("LOG_DIR", str(tmp_path))
    monkeypatch.setattr(config, "FORECAST_MODEL_PATHS_VLLM", {"one": "owner/one"})
    monkeypatch.setattr(config, "DEFAULT_MODEL_VLLM", "one")
    monkeypatch.setattr(forecaster, "draw", lambda *_: True)
    monkeypatch.setattr("logger.configure_root_logger", lambda **_: None)
    monkeypatch.setattr(Interrupts, "install", lambda _: None)


# --- files of questions and outcomes --------------------------------------------------------------


@fuzzed
@given(files, suffixes)
@example(b'{"question": "\\ud800?"}', ".jsonl")
@example(b'{"question": "Will A happen?", "weight": 1e999}', ".jsonl")
@example(b"question\n\x00\n", ".csv")
def test_a_question_file_is_read_or_refused_in_one_line(tmp_path, content, suffix):
    path = tmp_path / f"q{suffix}"
    path.write_bytes(content)
    try:
        found = read_question_file(path).questions
    except QuestionError as error:
        one_line(str(error))
    else:
        assert found
        assert len({question.id for question in found}) == len(found)


@fuzzed
@given(content=files, suffix=suffixes)
@example(b'{"question": "Will A happen?", "note": "\\ud800"}', ".jsonl")
@example(b'{"question": "Will A happen?", "\\ud800": 1}', ".jsonl")
@example(b'{"question": "Will A happen?", "weight": 1e999}', ".jsonl")
@example(b'{"question": "Will A happen?", "id": "\\ud800"}', ".jsonl")
def test_a_run_on_a_question_file_forecasts_all_of_it_or_stores_nothing(
    tmp_path, quiet, content, suffix
):
    emptied(tmp_path)
    path, database = tmp_path / f"q{suffix}", tmp_path / "run.db"
    path.write_bytes(content)
    code, _, err = forecast("--questions", str(path), "--no-retrieval", "--database", str(database))
    if code == 2:
        assert not database.exists()
        one_line(err.strip())
        return
    assert code == 0
    with contextlib.closing(sqlite3.connect(database)) as connection:
        counts = connection.execute(
            "SELECT (SELECT count(*) FROM run_questions), (SELECT count(*) FROM forecasts)"
        ).fetchone()
    assert counts == (len(read_question_file(path).questions),) * 2


@fuzzed
@given(files, suffixes)
@example(b'{"id": "\\ud800", "outcome": 1, "date": "2026-01-01"}', ".jsonl")
@example(b'{"id": "q1", "outcome": 1, "date": "0001-01-01T00:00:00+23:59"}', ".jsonl")
@example(b'{"id": "q1", "outcome": 1, "date": "2026-01-01", "source": "\\ud800"}', ".jsonl")
def test_a_file_of_outcomes_is_recorded_or_changes_nothing(tmp_path, content, suffix):
    database, path = tmp_path / "record.db", tmp_path / f"r{suffix}"
    if not database.exists():
        with Database(database) as db:
            add_run(db, [Question("Will A happen?", id="q1")], {"one": [around(30)]})
    path.write_bytes(content)
    count = "SELECT count(*) FROM resolutions"
    with contextlib.closing(sqlite3.connect(database)) as connection:
        before = connection.execute(count).fetchone()
        code, out, err = printed(
            analysis.main, ["--database", str(database), "--resolve", str(path)]
        )
        if code == 2:
            one_line(err.strip())
            assert connection.execute(count).fetchone() == before
        else:
            assert code in (0, 1)
            assert "outcomes recorded" in out


@fuzzed
@given(rows)
def test_one_line_of_outcomes_is_an_entry_or_refused(tmp_path, row):
    path = tmp_path / "r.jsonl"
    row = {"id": "q1", "outcome": 1, "date": "2026-01-01"} | row
    path.write_text(as_lines(row), encoding="utf-8", errors="replace")
    try:
        found = read_resolutions(path)
    except InputError as error:
        one_line(str(error))
    else:
        assert [entry.outcome in (0, 1, None) for entry in found.entries] == [True]


# What platforms and people call columns, and what cells hold: right, nearly right and wrong.
headings = st.sampled_from(sorted(name for names in columns.SYNONYMS.values() for name in names)) | st.sampled_from(
    [*columns.KNOWN, "Question Title", "closeTime", "endDate", "name", "answers", "outcomeType", "conditionId",
     "outcomePrices", "resolved_outcome", "group_of_questions", "coherence_of", "resolution_criterai", ""]
)  # fmt: skip
file_cells = texts | st.sampled_from(
    ["Will A happen?", "Will B, or C happen?", " or C happen?", "a", "2026-12-31", "2025-01-01T00:00:00Z", "2099-01-01", "12/31/2026",
     "1798675200000", "0.35", "0,35", "12%", "1", "yes", "NO", "void", "MKT", "N/A", "binary", "MULTIPLE_CHOICE", "fred", "true", "false",
     '["Yes", "No"]', '["A", "B"]', '["0.2", "0.8"]', '["2027-01-01", "2028-01-01"]', "by {resolution_date}?", "{forecast_due_date}", '"', "\n"]
)  # fmt: skip
cell_values = file_cells | values
platform_rows = st.dictionaries(headings, cell_values, max_size=8)
containers = st.sampled_from(["questions", "results", "resolutions", "markets"])


@st.composite
def tables(draw):
    """The bytes of a table with any separator, quoting, line end and encoding."""
    names = draw(st.lists(headings, min_size=1, max_size=6))
    separator = draw(st.sampled_from(",;\t|"))
    lines = [names, *draw(st.lists(st.lists(file_cells, min_size=0, max_size=8), max_size=5))]
    quote = draw(st.booleans())

    def written(cell):
        return '"' + cell.replace('"', '""') + '"' if quote or separator in cell else cell

    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    head = draw(st.sampled_from(["", f"sep={separator}{end}", end]))
    text = head + end.join(separator.join(written(cell) for cell in line) for line in lines)
    encoding = draw(
        st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin-1"])
    )
    return text.encode(encoding, "replace")


# Rows that often share an id: repeats, several days, several dates, contradictions.
few_ids = st.fixed_dictionaries(
    {"question": st.sampled_from(["Will A?", "Will B by {resolution_date}?"])},
    optional={
        "id": st.sampled_from(["a", "A", "a@2025-01-01"]),
        "as_of": st.sampled_from(["2025-01-01", "2025-01-02", None]),
        "source": st.sampled_from(["fred", "x"]),
        "resolution_date": st.sampled_from(["2025-02-01", "2025-02-02"]),
        "outcome": st.sampled_from([0, 1, "yes", None]),
        "crowd": st.sampled_from([0.1, "0.1"]),
    },
)
platform_files = st.one_of(
    st.lists(few_ids, max_size=5).map(lambda rows: (as_lines(rows).encode(), ".json")),
    st.tuples(tables(), st.sampled_from([".csv", ".tsv", ".txt"])),
    st.lists(platform_rows, max_size=4).map(lambda rows: ("\n".join(map(as_lines, rows)).encode("utf-8", "replace"), ".jsonl")),
    st.tuples(st.lists(platform_rows, max_size=4), containers, st.dictionaries(headings, cell_values, max_size=3)).map(
        lambda parts: (as_lines({**parts[2], parts[1]: parts[0]}).encode("utf-8", "replace"), ".json")
    ),
)  # fmt: skip


@fuzzed
@given(platform_files)
@example((b'{"questions": [{"question": {"question": {}}}]}', ".json"))
@example((b'{"id": [[]], "outcome": 1}', ".jsonl"))
@example((b'{"question": "Will A?", "resolution_dates": [1e308, null, {}]}', ".jsonl"))
@example(
    (
        b'{"question": "Will A?", "outcomeType": "BINARY", "closeTime": 1e300, "isResolved": "true"}',
        ".jsonl",
    )
)
@example((b"question," + b"x" * 50_000 + b',"y\ny"\nWill A?,' + b"1" * 50_000 + b",\n", ".csv"))
@example((b"question,crowd\nWill A?," + b"9" * 50_000, ".csv"))
@example((b"question,close_date\nWill A?," + b"9" * 50_000, ".csv"))
def test_a_platforms_file_is_read_or_refused_in_one_line(tmp_path, file):
    content, suffix = file
    path = tmp_path / f"q{suffix}"
    path.write_bytes(content)
    for read, error_of in (
        (read_question_file, QuestionError),
        (read_backtest, QuestionError),
        (read_resolutions, InputError),
    ):
        try:
            found = read(path)
        except error_of as error:
            one_line(str(error))
            continue
        for note in found.notes:
            one_line(note)
        if read is read_resolutions:
            assert found.entries
        else:
            assert len({question.id for question in found.questions}) == len(found.questions) > 0


# --- settings -------------------------------------------------------------------------------------


@fuzzed
@given(st.dictionaries(st.sampled_from(sorted(rules_of(config))), values, min_size=1, max_size=3))
@example({"CONTEXT_TOKENS": 10**400, "FRESHNESS_HOURS": 10**400})
@example({"EMBEDDING_MODEL_PATH": "~nobody-of-this-name/model"})
@example({"EMBEDDING_MODEL_PATH": "/" + "x" * 5000})
@example({"SEED": 10**5000})
def test_any_value_of_any_setting_is_judged(chosen):
    for problem in setting_problems(config, chosen):
        one_line(problem)


@fuzzed
@given(
    values
    | st.dictionaries(st.sampled_from(sorted(config.VLLM_CONFIG)) | texts, values, max_size=4),
    values
    | st.dictionaries(
        texts,
        values | st.dictionaries(st.sampled_from(sorted(SPEC_KEYS.rules)), values),
        max_size=3,
    ),
    values,
)
@example({"load_format": ["auto"], 3: 4}, {"a": "~nobody-of-this-name/model"}, [])
@example(
    {"model_loader_extra_config": {"concurrency": {}}, "load_format": "runai_streamer"},
    {3: {"path": 7}},
    {},
)
@example({}, {"a": "\x00"}, "a")
@example({}, {"a": "/" + "x" * 5000}, "a")
def test_any_engine_settings_and_models_are_judged(vllm_config, models, default):
    chosen = {
        "VLLM_CONFIG": vllm_config,
        "FORECAST_MODEL_PATHS_VLLM": models,
        "DEFAULT_MODEL_VLLM": default,
    }
    for problem in setting_problems(config, {**chosen, "DEFAULT_LOGIC_MODEL_PATH": default}):
        one_line(problem)


# --- what a wiki answers, and what texts hold ----------------------------------------------------


page_keys = st.sampled_from(
    ["query", "pages", "title", "revisions", "revid", "timestamp", "slots", "main", "content", "index", "continue", "error",
     "code", "info", "namespaces", "namespacealiases", "magicwords", "aliases", "name", "id", "alias", "general", "mainpage",
     "items", "articles", "article", "pageprops", "missing", "contentmodel"]
)  # fmt: skip
page_values = st.recursive(
    scalars | st.just("2026-01-01T00:00:00Z") | st.just("#REDIRECT [[A]]"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(page_keys, inner, max_size=5),
    max_leaves=20,
)
query_shape = st.fixed_dictionaries(
    {
        "query": st.fixed_dictionaries(
            {
                "pages": st.lists(
                    page_values
                    | st.fixed_dictionaries(
                        {"title": texts, "revisions": page_values, "index": page_values}
                    ),
                    max_size=3,
                ),
                "namespaces": page_values | st.dictionaries(texts, page_values, max_size=2),
                "magicwords": page_values,
                "namespacealiases": page_values,
                "general": page_values,
            }
        ),
        "items": page_values,
        "continue": page_values,
    }
)
bodies = (page_values | query_shape).map(
    lambda value: json.dumps(value, default=str).encode()
) | st.binary(max_size=100)


class Answers:
    """A session that gives the same body to whatever is asked, with a Retry-After of its own."""

    def __init__(self, body, retry_after):
        self.headers = {}
        self.body, self.retry_after = body, retry_after

    def get(self, url, **_):
        response = transport.requests.Response()
        response.status_code = 200
        response.raw = transport.urllib3.HTTPResponse(io.BytesIO(self.body), preload_content=False)
        response.headers["Retry-After"] = self.retry_after
        return response


def client(body, retry_after="1"):
    plain = WikiSettings("http://wiki.example/api.php", interval=0.0, max_attempts=2)
    sender = JsonTransport(plain, session=Answers(body, retry_after), sleep=lambda _: None)
    return MediaWikiClient(plain, transport=sender)


@fuzzed
@given(bodies, texts, st.sampled_from(["search", "revision", "as of", "site"]))
@example(b"[" * 100_000, "A", "search")
@example(b'{"query": {"pages": [{"title": "A", "revisions": [7]}]}}', "A", "revision")
@example(b'{"query": {"namespaces": {"1": {}}}}', "A", "site")
def test_any_answer_of_a_wiki_is_used_or_refused(body, title, kind):
    wiki = client(body)
    calls = {
        "search": lambda: wiki.search(title, 5),
        "revision": lambda: wiki.article(title),
        "as of": lambda: wiki.article(title, as_of="2025-01-01T00:00:00Z"),
        "site": wiki.site,
    }
    try:
        found = calls[kind]()
    except MediaWikiError as error:
        one_line(str(error))
        return
    if kind == "as of" and found is not None:
        assert found.timestamp <= "2025-01-01T00:00:00Z"


@fuzzed
@given(texts | st.from_regex(r"[0-9A-Za-z:, +\-.]{0,40}", fullmatch=True))
@example("Fri, 31 Dec 9999 23:59:59 -1200")
@example("9" * 5000)
def test_any_retry_after_is_seconds_or_nothing(value):
    seconds = transport.parse_retry_after(value, transport.datetime.now(transport.UTC))
    assert seconds is None or seconds >= 0


markup = st.lists(
    st.sampled_from(
        [
            "[[",
            "]]",
            "{{",
            "}}",
            "{|",
            "|}",
            "|-",
            "|",
            "==",
            "\n",
            "<ref>",
            "</ref>",
            "<!--",
            "-->",
            "'''",
            "* ",
            "<div",
            "<![",
        ]
    )
    | texts,
    max_size=30,
).map("".join)


@fuzzed
@given(markup)
@example("<![{x} <p>a")
@example("'<![")
def test_any_wikitext_html_and_question_becomes_passages_and_searches(text):
    for sections in (sections_from_wikitext(text), sections_from_html(text)):
        for passage in cut_passages(sections, size=40, overlap=8):
            assert passage.text.strip()
    assert all(query.strip() for query in build_queries(text))
    match_query(text)


@fuzzed
@given(st.binary(max_size=400), st.sampled_from([".txt", ".md", ".html", ".pdf"]))
@example(b"%PDF-1.7\n1 0 obj\n<<", ".pdf")
@example(b"<html>" * 5000, ".html")
def test_any_document_is_read_or_named(tmp_path, content, suffix):
    emptied(tmp_path)
    (tmp_path / f"d{suffix}").write_bytes(content)
    for document in documents.find_documents(tmp_path):
        with contextlib.suppress(documents.DocumentError):
            document.sections()


# --- what a model store holds ----------------------------------------------------------------------


def headed(header):
    """A safetensors file: length of the header, header, no tensors."""
    text = header if isinstance(header, str) else json.dumps(header, default=str)
    data = text.encode("utf-8", "replace")
    return len(data).to_bytes(8, "little") + data


tensors = st.dictionaries(
    texts,
    values | st.fixed_dictionaries({"dtype": texts, "shape": values, "data_offsets": values}),
    max_size=3,
)


@fuzzed
@given(st.binary(max_size=60) | (values | tensors).map(headed))
@example(headed({"a": {"shape": [1], "data_offsets": []}}))
@example(headed({"a": {"shape": [1], "data_offsets": [0, 1e400]}}))
@example(headed("[" * 100_000))
def test_any_safetensors_file_is_whole_or_named(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    store = FolderStore(str(tmp_path))
    _, problem = read_header(store, "model.safetensors", len(content))
    if problem is not None:
        one_line(problem)


@fuzzed
@given(
    st.lists(
        values | st.fixed_dictionaries({"Key": texts.map("m/".__add__), "Size": values}), max_size=5
    )
)
@example(
    [
        {"Key": "m//outside/a.json"},
        {"Key": "m/../a.json"},
        {"Key": "m/a\x00.json"},
        {"Key": "n/a.json"},
    ]
)
def test_any_listing_of_a_store_gives_plain_file_names(entries):
    class Client:
        def get_paginator(self, _):
            return self

        def paginate(self, **_):
            return [{"Contents": [entry for entry in entries if isinstance(entry, dict)]}]

    store = s3_store("s3://bucket/m")
    store._client = Client()
    with contextlib.suppress(
        StoreError, TypeError, ValueError, OverflowError
    ):  # boto3 gives an int
        for name in store.listing():
            assert Path(name).name == name
            assert "\x00" not in name


# --- databases ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    """The bytes of a database with two runs, evidence and outcomes."""
    path = tmp_path_factory.mktemp("fuzz") / "healthy.db"
    with Database(path) as db:
        passage = add_evidence(db)
        questions = [Question(f"Will {name} happen?", id=name) for name in "abc"]
        for shift in (0, 5):
            forecasts = {
                agent: [around(20 + 25 * n + shift) for n in range(3)] for agent in ("one", "two")
            }
            add_run(db, questions, forecasts, passage=passage)
        db.final.save_outside_views(1, [VIEW])
        db.final.save(1, [NUMBERS], [CURVE])
        db.outcomes.add([Resolution("a", 1, "2026-11-24"), Resolution("b", 0, "2026-11-24")])
        db.connection.sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.connection.sql.execute("PRAGMA journal_mode = DELETE")
    return path.read_bytes()


def used(path: Path) -> None:
    """Everything that reads a database without drawing: table, scores, resume, replay, history."""
    for arguments in (["--resume"], ["--resume", "1", "--json"], ["--replay", "1"]):
        code, _, err = forecast(*arguments, "--database", str(path))
        assert code in (0, 1, 2)
        assert "Traceback" not in err
    try:
        with Database(path, create=False) as db:
            for run in db.runs.all():
                summary(db, run.id)
                ablation_lines(db, run.id)
                steps = explain(db, "a", str(run.id))
                steps.lines()
                show_json(steps.document())
            scorecard.score_lines(resolved.collect(db), db)
            for question in db.runs.known_questions():
                history(db, question.id)
    except (DatabaseError, resolved.AnalysisError) as error:
        one_line(str(error))


def fresh(folder: Path, content: bytes) -> Path:
    emptied(folder)
    path = folder / "fuzzed.db"
    path.write_bytes(content)
    return path


@fuzzed
@given(
    st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=16)),
        min_size=1,
        max_size=6,
    )
)
def test_a_file_with_damaged_bytes_is_read_or_refused(tmp_path, healthy, quiet, damage):
    content = bytearray(healthy)
    for place, data in damage:
        start = int(place * len(content))
        content[start : start + len(data)] = data[: len(content) - start]
    used(fresh(tmp_path, bytes(content)))


cells = st.sampled_from(
    [
        ("forecasts", name)
        for name in (
            "probabilities",
            "mean",
            "p10",
            "captured_mass",
            "residual_mass",
            "agent",
            "created_at",
            "error",
            "samples",
        )
    ]
    + [
        ("ensembles", name)
        for name in ("probabilities", "mean", "agreement", "agents", "captured_mass", "created_at")
    ]
    + [("runs", name) for name in ("settings", "versions", "as_of", "started_at", "owner", "seed")]
    + [("run_questions", name) for name in ("asked", "as_of", "position", "context_error")]
    + [("questions", name) for name in ("text", "extra", "close_date", "background")]
    + [("resolutions", name) for name in ("outcome", "resolved_at")]
    + [
        ("final_numbers", name)
        for name in ("final", "voices", "weights", "projections", "calibration_day")
    ]
    + [("outside_views", name) for name in ("market", "market_date", "yes", "kind")]
    + [("applied_calibrations", name) for name in ("parameters", "day", "reason")]
    + [("outside_views", "relative_count"), ("id_lists", "ids")]
)
stored = (
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.binary(max_size=20)
    | values.map(lambda value: json.dumps(value, default=str))
    | st.just(json.dumps(["x"] * 101))
    | st.just(json.dumps([float("nan")] * 101))
    | st.just(json.dumps([0.0] * 101))
)


@fuzzed
@given(cells, stored)
@example(("forecasts", "probabilities"), json.dumps(["x"] * 101))
@example(("forecasts", "probabilities"), json.dumps([0.0] * 101))
@example(("ensembles", "created_at"), "yesterday")
@example(("runs", "as_of"), "soon")
@example(("runs", "settings"), "[]")
@example(("runs", "settings"), "")
@example(("forecasts", "captured_mass"), -1)
@example(("forecasts", "residual_mass"), 7)
@example(("questions", "extra"), "[7]")
@example(("forecasts", "mean"), None)
@example(("final_numbers", "voices"), '{"market": {"probability": 1}}')
@example(("final_numbers", "projections"), '{"negation": {"before": 1, "after": 1, "members": []}}')
@example(("final_numbers", "weights"), '{"learnt_from": "many"}')
def test_a_database_with_foreign_values_is_read_or_refused(tmp_path, healthy, quiet, cell, value):
    table, column = cell
    path = fresh(tmp_path, healthy)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        with contextlib.suppress(sqlite3.IntegrityError, UnicodeEncodeError):
            connection.execute(f"UPDATE {table} SET {column} = ?", (value,))
    used(path)
