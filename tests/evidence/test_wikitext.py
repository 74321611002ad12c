"""Wikitext becomes prose: what a section may lose and what it may not."""

from __future__ import annotations

import pytest

from evidence.wikitext import (
    _template_names,
    is_disambiguation,
    is_list_title,
    redirect_target,
    sections_from_wikitext,
)


def lead(wikitext):
    """The lead section's text."""
    sections = sections_from_wikitext(wikitext)
    return sections[0].text if sections else ""


@pytest.mark.parametrize(
    ("wikitext", "plain"),
    [
        ("'''Norway''' is ''a'' country.", "Norway is a country."),
        (
            "It grew<ref>Smith 2001</ref> fast<ref name=a /><ref name=b>x {{cite|y}}</ref>.",
            "It grew fast.",
        ),
        ("Before\n{| class=wikitable\n| cell || other\n|}\nafter", "Before\n\nafter"),
        ("{{Infobox country|name={{lang|no|Norge}}|pop=5}}Norway", "Norway"),
        ("a <!-- hidden --> b", "a b"),
        (
            "[[Oslo]], [[Oslo|the capital]], [[:Category:Cities]]",
            "Oslo, the capital, Category:Cities",
        ),
        ("[[File:Flag.svg|thumb|A [[flag]] in the wind]]Text [[Category:Norway]]", "Text"),
        ("see [http://example.org the report] and [http://example.org]", "see the report and"),
        ("fish &amp; chips &lt;5&nbsp;&euro; &#8364; &#x20AC;", "fish & chips <5 € € €"),
        ("<nowiki>[[not a link]]</nowiki>", "[[not a link]]"),
        ("H<sub>2</sub>O and <math>x^2</math> end", "H2O and end"),
        ("one<br/>two", "one\n\ntwo"),
        ("* first\n** second\n# third", "first\n\nsecond\n\nthird"),
        ("[[de:Norwegen]]text", "text"),
        ("Norway ({{IPA|no}}, {{audio|x.ogg}}) is", "Norway is"),
        ("__NOTOC__ text", "text"),
        ("; term\n: definition\nmore", "term\n\ndefinition\nmore"),
        ("[[File :Flag.svg|thumb]]Text", "Text"),
    ],
)
def test_markup_goes_and_prose_stays(wikitext, plain):
    assert lead(wikitext) == plain


@pytest.mark.parametrize(
    ("wikitext", "plain"),
    [
        ("{{lang|fr|République|italic=no}} française", "République française"),
        ("{{convert|5|km|mi}} long", "5 km long"),
        ("{{convert|3|to|5|km|mi}} long", "3 to 5 km long"),
        ("{{convert|5|km|mi|0}} long", "5 km long"),
        ("{{formatnum:5425270}} people", "5425270 people"),
        ("{{formatnum|5425270}} people", "5425270 people"),
        ("{{small|1=a = b}} c", "a = b c"),
        ("{{quote|text=Never again.}} he said", "Never again. he said"),
        ("{{as of|2024|6}} there", "as of 2024 6 there"),
        ("{{circa|1900}} and {{US$|5 million}} or {{percent|4}}", "c. 1900 and $5 million or 4%"),
        ("{{start date|2024|6|1}}", "2024-06-01"),
        ("{{start date|2024|6|1|12|30}}", "2024-06-01"),
        ("{{formatnum: 5 }}/km", "5/km"),
        ("{{frac|5|1|2}} km, {{frac|3}} and {{frac}} more", "5 1/2 km, 1/3 and more"),
        ("{{convert|3|to|5|km}} long", "3 to 5 km long"),
        ("{{circa}} 1900", "c. 1900"),
        ("{{frac|1|2}} of {{nowrap|two [[words]]}}", "1/2 of two words"),
        ("{{unknown template|with text}} stays out", "stays out"),
    ],
)
def test_inline_templates_keep_their_words(wikitext, plain):
    assert lead(wikitext) == plain


def test_sections_keep_their_heading_path_and_source_lists_go():
    text = (
        "Lead.\n== History ==\nOld.\n=== ''Early'' years ===\nOlder.\n== References ==\n{{reflist}}\nSmith 2001\n"
        "=== Notes ===\nNote.\n=== Primary ===\nListed.\n== Economy ==\nOil.\n== Empty ==\n"
    )
    assert sections_from_wikitext(text) == [
        ("", "Lead."),
        ("History", "Old."),
        ("History – Early years", "Older."),
        ("Economy", "Oil."),
    ]


def test_damaged_markup_loses_no_words():
    sections = sections_from_wikitext(
        "open {{template and [[link\n== Next ==\nmore <ref>never closed words"
    )
    words = " ".join(section.text for section in sections)
    assert all(word in words for word in ("open", "template", "link", "more", "never closed words"))


def test_the_wikis_own_namespace_names_are_used():
    assert "slika" in lead("[[Datoteka:A.png|okvir|slika]]tekst")  # unknown here: an ordinary link
    sections = sections_from_wikitext(
        "[[Datoteka:A.png|okvir|slika]]tekst", file_namespaces=("datoteka",)
    )
    assert sections[0].text == "tekst"


@pytest.mark.parametrize(
    ("wikitext", "magic", "target"),
    [
        ("#REDIRECT [[New title]]", ("redirect",), "New title"),
        ("  #redirect: [[:New_title#Part|x]]", ("#REDIRECT",), "New title"),
        ("#REDIRECT [[ New title #Part]]", ("redirect",), "New title"),
        ("#WEITERLEITUNG [[Ziel]]", ("redirect", "weiterleitung"), "Ziel"),
        ("#WEITERLEITUNG [[Ziel]]", ("redirect",), None),
        ("See #REDIRECT [[No]]", ("redirect",), None),
        ("# [[List item]]", ("redirect",), None),
    ],
)
def test_redirects(wikitext, magic, target):
    assert redirect_target(wikitext, magic) == target


@pytest.mark.parametrize(
    "wikitext",
    ["'''Mercury''' may be:\n* a\n{{disambiguation|planet}}", "{{Dab}}", "{{Human name disambiguation}}",
     "x __DISAMBIG__", "{{surname}}", "{{Begriffsklärung}}"],
)  # fmt: skip
def test_disambiguation_pages_are_known(wikitext):
    assert is_disambiguation(wikitext)


@pytest.mark.parametrize(
    ("wikitext", "names"),
    [
        ("{{a|{{b}}}} {{c}}", ["a", "c"]),
        ("{{open {{a}}", ["a"]),
        ("}} {{a}}", ["a"]),
        ("<!-- {{a}} --> <nowiki>{{b}}</nowiki> {{ c |d}}", ["c"]),
        ("<!-- never closed {{a}}", []),
        ("{{a}}<!-- <nowiki> -->{{b}}", ["a", "b"]),
        ("{{" * 5 + "a" + "}}" * 3, [""]),
    ],
)
def test_names_of_templates_are_read_without_the_parser(wikitext, names):
    assert list(_template_names(wikitext)) == names


@pytest.mark.parametrize(
    "wikitext",
    ["An article {{disambiguation needed|date=May 2020}} with a tag", "{{Disambiguation-needed}} x", "{{Infobox}}",
     "The word disambiguation alone"],
)  # fmt: skip
def test_articles_are_no_disambiguation_pages(wikitext):
    assert not is_disambiguation(wikitext)


def test_list_titles():
    assert is_list_title("List of wars")
    assert is_list_title("Outline of physics")
    assert not is_list_title("Listeria")
    assert not is_list_title("Wish list of a king")
