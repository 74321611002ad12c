"""Plots are whole or absent, and names keep what tells them apart."""

from __future__ import annotations

import pytest

from reporting.distribution_plot import distribution_figure
from reporting.plot_data import Curve, PlotError
from reporting.styles import LABEL_CHARACTERS, shorten
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
