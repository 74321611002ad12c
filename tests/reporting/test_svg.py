"""SVG files are small, safe, and the same for the same data; a page can hold many."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from xml.etree import ElementTree

import numpy as np
import pytest

from reporting.distribution_plot import distribution_figure
from reporting.history_plot import history_figure
from reporting.overview_plot import overview_figures
from reporting.plot_data import Curve, HistoryPoint, OverviewRow
from reporting.styles import DARK, LEFT, RIGHT, SMALL_SIZE, WIDTH
from reporting.svg import inline, render
from tests.support.record_database import around

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '<script>alert(1)</script> & "\'><style>*{}</style> ]]> d="M 1.23456 2.3456" 3.14159'
UNPRINTABLE = "a\x00b\x1b[2J\ufffe\ud800c"


def year():
    """A year of weekly forecasts by three models and their pool."""
    random = np.random.default_rng(1)
    start = datetime(2026, 1, 5)

    def points():
        means = np.clip(40 + np.cumsum(random.normal(0, 2, 52)), 5, 95)
        return [
            HistoryPoint(start + timedelta(weeks=n), mean, mean - 5, mean + 5)
            for n, mean in enumerate(means)
        ]

    return history_figure("Will A happen?", {name: points() for name in "abc"}, points())


def distributions(title="Will A happen?"):
    curves = [Curve(name, around(30, 12)) for name in "abc"]
    return distribution_figure(
        title, "run 1", [*curves, Curve("ensemble", around(31, 12), "", True)]
    )


def texts(svg):
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def test_figures_are_small():
    assert len(render(distributions())) < 12_000
    assert len(render(year())) < 20_000


def test_equal_data_give_equal_bytes_without_a_date():
    first, second = render(distributions()), render(distributions())
    assert first == second
    assert "metadata" not in first
    assert not re.search(r"20\d\d-\d\d", first)


@pytest.mark.parametrize("text", [HOSTILE, UNPRINTABLE])
def test_text_is_text_and_nothing_else(text):
    (figure,) = overview_figures([OverviewRow(text, 30, 10, 50)], "Latest")
    for svg in (render(figure), render(distributions(text)), str(inline(figure, "a", '<b> & "'))):
        tree = ElementTree.fromstring(svg)
        names = {node.tag.removeprefix(SVG) for node in tree.iter()}
        assert names <= {"svg", "g", "defs", "path", "text", "use", "clipPath", "rect"}
        for node in tree.iter():
            assert not [name for name in node.attrib if name.lower().startswith("on")]
            links = [value for name, value in node.attrib.items() if name.endswith("href")]
            assert all(value.startswith("#") for value in links)
    if text is HOSTILE:
        assert " ".join(texts(render(figure))).count("3.14159") == 1
        assert "<script>alert(1)</script> & " in " ".join(texts(render(figure)))


def test_text_can_be_read_on_a_phone():
    """At 360 CSS pixels, a unit is a pixel."""
    svg = render(distributions())
    assert f'viewBox="0 0 {72 * WIDTH:g} ' in svg
    sizes = {float(size) for size in re.findall(r"font-size:([\d.]+)px", svg)}
    assert min(sizes) == SMALL_SIZE >= 9


def test_figures_of_one_page_share_no_id_and_take_the_pages_colours():
    pages = [str(inline(distributions(), name, "Distribution")) for name in ("run 1 a", "run 1 b")]
    first, second = (set(re.findall(r' id="([^"]*)"', page)) for page in pages)
    assert first
    assert not first & second
    for page in pages:
        assert page.startswith('<svg role="img" aria-label="Distribution"')
        used = set(re.findall(r"(?:url\(|href=\")#([^\"')]*)", page))
        assert used <= set(re.findall(r' id="([^"]*)"', page))
        assert "var(--c1a1a1a)" in page
        assert not [colour for colour in DARK if f":{colour.lower()}" in page]
        assert "width=" not in page.partition(">")[0]


def test_paths_are_those_of_the_figure():
    """Steps in tenths add up: the bars' outline ends on its base at 100.5 %."""
    svg = render(distributions())
    outline = max(re.findall(r' d="([^"]*)"', svg), key=len)
    x = y = 0.0
    for command, numbers in re.findall(r"([Mhvl])([-\d. ]*)", outline):
        a = [float(number) for number in numbers.split()]
        x += a[0] if command in "Mhl" else 0
        y += a[-1] if command in "Mvl" else 0
    base = float(re.match(r"M[\d.]+ ([\d.]+)", outline)[1])
    scale = 72 * WIDTH * (RIGHT - LEFT) / 103
    assert [x, y] == pytest.approx([72 * WIDTH * LEFT + scale * 102, base], abs=0.051)
