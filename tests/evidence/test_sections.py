"""HTML becomes titled sections; text is tidied and loses no words."""

from __future__ import annotations

import pytest

from evidence.sections import plain_text_from_html, sections_from_html, tidy


def test_html_is_cut_at_headings_and_loses_only_what_is_no_prose():
    page = """<!doctype html><html><head><title>T</title><style>p{}</style></head><body>
    <nav>Home</nav><!-- note --><form action="/"><input value="v"><select><option>pick</option></select>
    <h1>Report</h1><p>First&nbsp;<b>bold</b> &amp; plain.</p><ul><li>one</li><li>two</li></ul>
    <h2>Data</h2><table><tr><td>A</td><td>1</td></tr></table><script>evil()</script></form>
    <h2>End</h2><p>Last</p><footer>imprint</footer></body></html>"""
    sections = sections_from_html(page)
    assert [section.title for section in sections] == ["Report", "Report – Data", "Report – End"]
    assert [section.text.split() for section in sections] == [
        ["First", "bold", "&", "plain.", "one", "two"],
        ["A", "1"],
        ["Last"],
    ]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<![{x} <p>one", "<![{x}\none"),
        ("<![if !IE]>one<![endif]>", "one"),
        ("<![CDATA[x]]>one", "one"),
        ("one <![", "one <!["),
    ],
)
def test_declarations_that_nobody_knows_are_text(html, text):
    assert sections_from_html(html) == [("", text)]


def test_deeply_nested_html_is_read():
    assert sections_from_html("<div>" * 5000 + "deep" + "</div>" * 5000) == [("", "deep")]


def test_plain_text_of_a_fragment():
    assert plain_text_from_html("no markup  here") == "no markup here"
    assert plain_text_from_html("fish &amp; chips") == "fish & chips"
    assert plain_text_from_html("<em>total:</em> 5&nbsp;km<br>next") == "total: 5 km\n\nnext"


def test_tidy_drops_what_shows_nothing_and_keeps_what_shapes_words():
    assert tidy("a\u00ad\u200e\u202eb\x00c\ufeff\u2060d") == "abcd"
    assert tidy("one\x85two\u2028three\x0cfour\rfive") == "one\ntwo\nthree\nfour\nfive"
    persian, emoji = "می\u200cخواهم", "\u2764\ufe0f"
    assert tidy(f"{persian} {emoji}") == f"{persian} {emoji}"
