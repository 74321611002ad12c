"""Text from outside reaches screens, log lines, pages and figures with its commands written out."""

from __future__ import annotations

import ast
import logging
import re
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

import analysis
import config
import forecaster
import logger
from agents_vllm import Agent
from evaluation.intervals import Interval
from evaluation.reliability import ReliabilityBin
from reporting.distribution_plot import distribution_figure
from reporting.history_plot import history_figure
from reporting.overview_plot import overview_figures
from reporting.plot_data import Curve, HistoryPoint, OverviewRow, ScorePoint
from reporting.score_plots import reliability_figure, score_figure
from reporting.svg import render
from scoring.distribution import Distribution
from terminal import progress
from terminal.text import visible, visible_line, without_direction_marks
from tests.reporting.test_report import Page
from tests.support.fake_agent import FakeAgent
from tests.support.stub_run import stub_run

ROOT = Path(__file__).parents[2]
# Title of the window, clearing, colour by C1, bell, NUL, DEL, next line, carriage return, both separators, every mark.
HOSTILE = "\x1b]0;x\x07\x1b[2J\x9b31m\x00\x7f\x85\r\u2028\u2029\u202e\u2066\u2069\u200f\u061c\udc80"
COMMANDS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
FORMULA = r"$\frac{1$"


def test_every_command_is_written_out():
    shown = visible(f"a{HOSTILE}b\n\tc")
    assert shown == (
        r"a\x1b]0;x\x07\x1b[2J\x9b31m\x00\x7f\x85\x0d\u2028\u2029\u202e\u2066\u2069\u200f\u061c\udc80b"
        "\n\tc"
    )
    assert visible(shown) == shown
    assert visible_line("a\nb\x1b") == r"a\nb\x1b"
    assert without_direction_marks("a\u202eb\u200fc\x1b") == "abc\x1b"


def test_no_character_that_commands_is_forgotten():
    left = {chr(n) for n in range(sys.maxunicode + 1) if COMMANDS.search(visible(chr(n)))}
    assert left == set()


@pytest.mark.parametrize(
    "text",
    [
        "naïve – “quoted” …",
        "日本語 한국어 हिन्दी ไทย עברית العربية",
        "👩‍👩‍👧 🏴󠁧󠁢󠁥󠁮󠁧󠁿",
        "می‌خواهم",
        "C:\\x1b",
    ],
)
def test_ordinary_text_stays_as_it_is(text):
    assert visible(text) == text


def test_everything_is_printed_in_one_place():
    """``show`` makes text visible; a print of its own would not."""
    places = [
        f"{path.name}:{node.lineno}"
        for path in sorted(
            [
                *ROOT.glob("*.py"),
                *(m for p in ROOT.glob("*/__init__.py") for m in p.parent.glob("*.py")),
            ]
        )
        if path.name != "startup.py"  # it runs on any Python, before anything is imported
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and (
            ast.unparse(node.func)
            in ("print", "sys.stdout.write", "sys.stderr.write", "argparse.ArgumentParser")
        )
    ]
    assert len(places) == 1
    assert places[0].startswith("screen.py:")


# --- screens and log lines ----------------------------------------------------------------------------


def test_a_foreign_text_begins_no_record_of_its_own(tmp_path, capsys):
    path = logger.configure_root_logger(tmp_path)
    logging.getLogger("wiki").warning(
        "bad\n2026-01-01T00:00:00.000Z ERROR forecaster: forged%s", HOSTILE
    )
    try:
        raise ValueError(f"bad\n2026-01-01T00:00:00.000Z ERROR forecaster: forged{HOSTILE}")
    except ValueError:
        logging.getLogger("wiki").exception("failed")
    text = path.read_bytes().decode()
    assert not COMMANDS.search(text)
    records = [line for line in text.splitlines() if not line.startswith("    ")]
    assert len(records) == 2
    assert all(re.match(r"\S+Z (WARNING|ERROR) wiki: ", line) for line in records)
    screen = capsys.readouterr().err
    assert not COMMANDS.search(screen)
    assert screen.splitlines()[1].startswith("  2026")


def test_a_stage_shows_its_name_on_one_line(monkeypatch, caplog, capsys):
    monkeypatch.setattr(progress, "PLAIN_SECONDS", 0.0)
    caplog.set_level(logging.INFO)
    with progress.progress(f"scoring with {HOSTILE}\nx", 3, "forecast") as bar:
        bar.update()
    assert not COMMANDS.search(caplog.text)
    assert r"\x1b[2J" in caplog.text


@pytest.mark.parametrize("program", [forecaster, analysis])
def test_a_wrong_option_is_repeated_without_its_commands(program, capsys):
    with pytest.raises(SystemExit):
        program.main([f"--no-such{HOSTILE}"])
    screen = capsys.readouterr().err
    assert not COMMANDS.search(screen)
    assert r"\x1b[2J" in screen


class Failing(FakeAgent):
    """Fails with what a hostile server or model says."""

    def score(self, tasks):
        raise RuntimeError(f"the server says {HOSTILE}")


def test_a_run_shows_and_reports_hostile_text_written_out(tmp_path, monkeypatch, capsys):
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "note\x1b[2J\u202e.md").write_text(
        f"# Bridge {HOSTILE[:-1]}\n\nThe bridge will open.".replace(
            "\0", ""
        )  # no text file holds a NUL
    )
    question = f"Will the bridge {HOSTILE[:-1]} open?"
    code, database = stub_run(
        tmp_path, monkeypatch, "--question", question, "--documents", str(documents)
    )
    assert code == 0
    monkeypatch.setattr(Agent, "score", Failing.score)
    arguments = ["--question", "Will it fail?", "--no-retrieval", "--database", str(database)]
    assert forecaster.main(arguments, agent_factory=Failing) == 1
    page = tmp_path / "report.html"
    for job in (
        ["--report", str(page), "--run", "1"],
        ["--score"],
        ["--resolve-one", question, "maybe"],
    ):
        analysis.main([*job, "--database", str(database), "--plots", str(tmp_path / "plots")])
    said = capsys.readouterr()
    logged = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    for text in (said.out, said.err, logged, Page(page.read_text()).shown, page.read_text()):
        assert not COMMANDS.search(text)
    assert r"\x1b]0;x\x07\x1b[2J" in said.out
    assert "Failed: stub, 1 forecasts: RuntimeError: the server says \\x1b]0;x" in said.out
    assert r"\x1b]0;x\x07\x1b[2J" in page.read_text()
    assert r"note\x1b[2J\u202e.md" in page.read_text()


# --- figures ------------------------------------------------------------------------------------------


def figures(text):
    """Every kind of figure with ``text`` wherever a name or a question is written."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    point = HistoryPoint(moment, 30, 20, 40)
    interval = Interval(0.1, 0.2)
    distribution = Distribution(np.full(101, 1 / 101))
    yield distribution_figure(text, text, [Curve(text, distribution, text)])
    yield history_figure(text, {text: [point]}, [point])
    yield from overview_figures([OverviewRow(text, 30, 20, 40)], text)
    yield reliability_figure(text, text, {text: [ReliabilityBin(0, 1, 3, 0.5, 0.5, interval)]})
    yield score_figure(text, text, {text: [ScorePoint(moment, 3, 0.2, interval)]})


def texts(figure):
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text)]


@pytest.mark.parametrize("text", [FORMULA, "$x", r"\alpha $\undefined$", "$$", "100 $ or 200 $?"])
def test_a_formula_is_drawn_as_text(text):
    from matplotlib import rcParams

    rcParams["text.parse_math"] = True
    for figure in figures(text):
        assert "<svg" in render(figure)
        assert any(text in shown for shown in texts(figure))


def test_no_figure_holds_a_command():
    for figure in figures(f"Will{HOSTILE}it?"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert "<svg" in render(figure)
        assert not [text for text in texts(figure) if COMMANDS.search(text)]


def test_models_with_a_formula_in_their_name_are_drawn_and_redrawn(tmp_path, monkeypatch, capsys):
    draw = forecaster.draw
    folder = tmp_path / FORMULA
    folder.mkdir()
    code, database = stub_run(
        tmp_path, monkeypatch, "--question", f"Will {FORMULA} be?", "--no-retrieval"
    )
    assert code == 0
    monkeypatch.setattr(forecaster, "draw", draw)
    (folder / "config.json").write_text("{}")
    monkeypatch.setattr(config, "FORECAST_MODEL_PATHS_VLLM", {FORMULA: "owner/stub"})
    monkeypatch.setattr(config, "DEFAULT_MODEL_VLLM", FORMULA)
    from tests.support.kill_driver import Agent as Scripted

    arguments = [
        "--question",
        f"Will {FORMULA} be?",
        "--no-retrieval",
        "--database",
        str(database),
        "--plots",
    ]
    assert forecaster.main([*arguments, str(tmp_path / "plots")], agent_factory=Scripted) == 0
    assert "chance" in capsys.readouterr().out
    assert analysis.main(["--database", str(database), "--plots", str(tmp_path / "again")]) == 0
    assert len(list((tmp_path / "again").iterdir())) == 3
