"""Plots are whole or absent, and names keep what tells them apart."""

from __future__ import annotations

import re
from datetime import datetime

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from reporting.distribution_plot import distribution_figure
from reporting.plot_data import Curve, PlotError
from reporting.styles import LABEL_CHARACTERS, new_axes, shorten, time_axis
from reporting.svg import file_part, save
from tests.support.record_database import around


def test_a_plot_that_cannot_be_written_is_one_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    figure = distribution_figure("Q", "", [Curve("m", around(10))])
    with pytest.raises(PlotError, match="could not be written"):
        save(figure, tmp_path / "file" / "p.svg")
    path = save(figure, tmp_path / "new" / "p.svg")
    assert "<svg" in path.read_text()
    assert [p.name for p in path.parent.iterdir()] == ["p.svg"]  # no draft is left


def test_file_names_come_from_ids_only():
    assert file_part("abc-1_2") == "abc-1_2"
    hostile = file_part("../../etc/passwd")
    assert "/" not in hostile
    assert "." not in hostile
    assert file_part("a:b") != file_part("a/b")  # cleaned alike, but told apart
    assert len(file_part("x" * 500)) < 80
    assert file_part("日本") != file_part("本日")


def test_shortened_names_keep_both_ends():
    assert shorten("short") == "short"
    name = shorten("organisation/Model-Name-With-Many-Parts-v3")
    assert len(name) == LABEL_CHARACTERS
    assert name.startswith("organisation/")
    assert name.endswith("v3")


def test_every_date_of_an_axis_is_inside_the_figure_and_names_its_year_or_day():
    for last in (datetime(2026, 3, 23), datetime(2027, 1, 15), datetime(2031, 1, 1)):
        figure, axes = new_axes("Title", "", 2.1, 0.5)
        time_axis(axes, [datetime(2026, 3, 2), last])
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        labels = [label for label in axes.get_xticklabels() if label.get_text()]
        assert len(labels) > 1
        assert axes.xaxis.get_offset_text().get_text() == ""
        low, high = axes.get_xlim()
        for label in labels:
            assert re.fullmatch(r"\d{4}|[A-Z][a-z]{2} \d{4}|\d\d [A-Z][a-z]{2}", label.get_text())
            box = label.get_window_extent(canvas.get_renderer())
            if low <= label.get_position()[0] <= high:
                assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
