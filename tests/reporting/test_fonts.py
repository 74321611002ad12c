"""Fonts of plots: every character is drawn with an installed font that has it, or one line names what is missing."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

import analysis
from database import Database
from questions.question import Question
from reporting import fonts as plot_fonts
from reporting.distribution_plot import distribution_figure
from reporting.overview_plot import overview_figures
from reporting.plot_data import Curve, OverviewRow
from reporting.styles import TITLE_CHARACTERS, wrap
from reporting.svg import render
from tests.support.record_database import add_run, around

ARABIC = "هل ستفوز مصر بكأس الأمم الأفريقية 2027؟"
JAPANESE = "日本銀行は2027年末までに政策金利を2％超に引き上げるか？"
EMOJI = "Will 🇳🇴 join the 🇪🇺 before 2030? 🤝"
HINDI = "क्या भारत विश्व कप जीतेगा?"


@pytest.fixture
def fonts(monkeypatch):
    """Nothing was said yet, and the fonts of this machine are the files given."""
    monkeypatch.setattr(plot_fonts, "_missing", {})
    monkeypatch.setattr(plot_fonts, "_reported", set())

    def installed(*paths):
        monkeypatch.setattr(plot_fonts, "_installed", lambda: tuple(map(str, paths)))

    installed()
    return installed


def missing_glyphs(text):
    """What matplotlib warns of when a figure with this title is drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = distribution_figure(text, "", [Curve("m", around(30))])
    plot_fonts.set_fonts(figure)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        FigureCanvasAgg(figure).draw()
    return [str(one.message) for one in caught if "lyph" in str(one.message)]


def test_the_usual_font_has_arabic_and_what_it_has_needs_no_other(fonts):
    assert plot_fonts.families([ARABIC, "Will $B$ happen? – ½ € Ж"]) == ["DejaVu Sans"]
    assert missing_glyphs(ARABIC) == []


def test_a_font_of_this_machine_is_taken_for_what_the_usual_one_lacks(fonts):
    import matplotlib

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    other = folder / "STIXGeneral.ttf"
    lacks = sorted(
        plot_fonts._coverage(str(other)) - plot_fonts._coverage(str(folder / "DejaVuSans.ttf"))
    )
    text = next(c for c in lacks if c.isprintable() and ord(c) < 0xE000)
    assert missing_glyphs(text) != []
    fonts(folder / "none.ttf", folder / "DejaVuSerif.ttf", other)
    assert plot_fonts.families([text]) == ["DejaVu Sans", "STIXGeneral"]
    assert missing_glyphs(text) == []


@pytest.mark.parametrize("text", [JAPANESE, EMOJI, HINDI])
def test_fonts_of_this_machine_draw_every_character(monkeypatch, text):
    monkeypatch.setattr(plot_fonts, "_missing", {})
    plot_fonts.families([text])
    if plot_fonts._missing:
        pytest.skip(f"not installed: a font with {', '.join(plot_fonts._missing)}")
    assert missing_glyphs(text) == []


def test_what_no_font_has_is_one_line_with_the_package_and_said_once(fonts, caplog):
    for _ in range(2):
        for text in (JAPANESE, EMOJI, HINDI, "\ue000"):
            render(distribution_figure(text, "", [Curve("m", around(30))]))
        plot_fonts.report_missing_scripts()
    (record,) = [r for r in caplog.records if r.name == "reporting.fonts"]
    line = record.getMessage()
    assert line.startswith("plots: no installed font has CJK (")
    assert "Devanagari (" in line
    assert "emoji and symbols (" in line
    assert "🤝" in line
    assert "apt-get install fonts-noto-cjk fonts-noto-core fonts-symbola" in line
    assert "\ue000" not in line


def test_the_command_line_says_it_once_for_all_plots(fonts, tmp_path, caplog):
    with Database(tmp_path / "d.db") as database:
        questions = [
            Question(JAPANESE, id="ja"),
            Question("日本?", id="j2"),
            Question("Will A?", id="a"),
        ]
        add_run(database, questions, {"m": [around(30)] * 3})
    arguments = ["--database", str(tmp_path / "d.db"), "--plots", str(tmp_path / "plots")]
    assert analysis.main(arguments) == 0
    lines = [r.getMessage() for r in caplog.records if r.name == "reporting.fonts"]
    assert len(lines) == 1
    assert "fonts-noto-cjk" in lines[0]


def test_direction_marks_are_never_drawn(fonts):
    text = "Will \u202eNorway\u202c \u2066join\u2069\u200e?\u200f\u061c"
    figure = overview_figures([OverviewRow(text, 30, 10, 50)], text)[0]
    render(figure)
    from matplotlib.text import Text

    drawn = "".join(t.get_text() for t in figure.findobj(Text))
    assert "Will Norway join?" in drawn
    assert not set("\u202e\u202c\u2066\u2069\u200e\u200f\u061c") & set(drawn)


def test_wide_characters_are_wrapped_by_their_width():
    lines = wrap("日" * 60).splitlines()
    assert [len(line) for line in lines] == [TITLE_CHARACTERS // 2] * 2 + [14]
    assert wrap("a" * 100).splitlines()[0] == "a" * TITLE_CHARACTERS


def test_a_title_of_wide_characters_stays_inside_the_figure(monkeypatch):
    monkeypatch.setattr(plot_fonts, "_missing", {})
    figure = distribution_figure(JAPANESE * 5, "", [Curve("m", around(30))])
    plot_fonts.set_fonts(figure)
    if plot_fonts._missing:
        pytest.skip("not installed: a font with CJK; boxes are wider than its characters")
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        canvas.draw()
        assert figure.texts[0].get_window_extent(canvas.get_renderer()).x1 <= figure.bbox.x1
