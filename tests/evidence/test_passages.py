"""Cleaning, cutting, keyword searches and near-duplicates: what a passage may lose and what it may not."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from database import Article, Database, NewPassage
from evidence import passages
from evidence.passages import (
    build_queries,
    containment,
    cut_passages,
    drop_near_duplicates,
    estimate_tokens,
    is_disambiguation,
    is_list_title,
    match_query,
    named_entities,
    plain_text_from_html,
    redirect_target,
    sections_from_html,
    sections_from_wikitext,
    shingles,
    tidy,
)


def lead(wikitext):
    """The lead section's text."""
    sections = sections_from_wikitext(wikitext)
    return sections[0].text if sections else ""


# --- wikitext -----------------------------------------------------------------------------------------------------


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
    assert list(passages._template_names(wikitext)) == names


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


# --- HTML ---------------------------------------------------------------------------------------------------------


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


# --- cutting ------------------------------------------------------------------------------------------------------


def words_counted(texts):
    """One token a word: sizes can be counted by hand."""
    return [len(text.split()) for text in texts]


def test_passages_overlap_and_stay_in_their_section():
    text = "A b c d. E f g h. I j k l. M n o p."
    cuts = cut_passages(
        [("One", text), ("Two", "Q r.")], size=10, overlap=4, count_tokens=words_counted
    )
    assert cuts == [
        ("One", "A b c d. E f g h.", 8),
        ("One", "E f g h. I j k l.", 8),
        ("One", "I j k l. M n o p.", 8),
        ("Two", "Q r.", 2),
    ]


def test_a_sentence_longer_than_a_passage_is_cut_between_words():
    cuts = cut_passages([("", "a b c d e f g h")], size=3, overlap=1, count_tokens=words_counted)
    assert [cut.text for cut in cuts] == ["a b c", "c d e", "e f g", "g h"]


def test_a_sentence_as_long_as_a_passage_stays_whole():
    cuts = cut_passages([("", "A b c d. E f g h.")], size=4, overlap=2, count_tokens=words_counted)
    assert [cut.text for cut in cuts] == ["A b c d.", "E f g h."]


def test_a_character_longer_than_a_passage_is_not_cut_for_ever():
    cuts = cut_passages(
        [("", "ab")], size=3, overlap=0, count_tokens=lambda texts: [5 * len(t) for t in texts]
    )
    assert cuts == [("", "a", 5), ("", "b", 5)]


def test_a_word_longer_than_a_passage_is_cut_within():
    cuts = cut_passages([("", "x" * 100)], size=3, overlap=0)
    assert "".join(cut.text for cut in cuts) == "x" * 100
    assert all(estimate_tokens(cut.text) <= 3 for cut in cuts)


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (10, 10), (10, -1)])
def test_impossible_sizes_are_refused(size, overlap):
    with pytest.raises(ValueError, match="expected 0 <= overlap < size"):
        cut_passages([("", "text")], size=size, overlap=overlap)


TEXTS = st.lists(
    st.one_of(
        st.text(alphabet="abcdeABC12.,;!?()-\"'_ \n", max_size=60),
        st.text(alphabet=st.characters(blacklist_categories=("Cs", "Cc")), max_size=40),
        st.sampled_from(["W" * 90, "東京は日本の首都。", "Zürich's 3.5 %", "\n\n", "No. 5 of 7. "]),
    ),
    max_size=8,
).map("".join)


@given(text=TEXTS, size=st.integers(1, 30), overlap=st.integers(0, 29))
@example(text="(__AA__ABCD__AA__)", size=2, overlap=0)
@example(text="1;1;1;1;1 1;1;1;0:0:0::0。1", size=24, overlap=0)
@example(text="111111000000000000000000¹", size=3, overlap=0)  # a word of two alphabets
def test_nothing_is_lost_and_no_passage_is_too_long(text, size, overlap):
    overlap = min(overlap, size - 1)
    cleaned = tidy(text)
    cuts = cut_passages([("S", cleaned)], size=size, overlap=overlap)
    for cut in cuts:
        assert cut.text
        assert cut.tokens <= size
        assert estimate_tokens(cut.text) <= size
    for word in filter(
        None, re.split(r"\s+|(?<=[。！？])", cleaned)
    ):  # such a mark ends a sentence without a space
        if estimate_tokens(word) <= size:  # a longer one is cut within
            assert any(word in cut.text for cut in cuts), word
    unbroken = cut_passages([("S", cleaned)], size=size, overlap=0)
    assert "".join("".join(cut.text.split()) for cut in unbroken) == "".join(cleaned.split())


@given(text=TEXTS, size=st.integers(2, 30), overlap=st.integers(0, 29))
def test_neighbours_share_at_most_the_overlap(text, size, overlap):
    overlap = min(overlap, size - 1)
    cuts = cut_passages([("", tidy(text))], size=size, overlap=overlap)
    alone = cut_passages([("", tidy(text))], size=size, overlap=0)
    assert sum(cut.tokens for cut in cuts) <= sum(cut.tokens for cut in alone) + overlap * max(
        0, len(cuts) - 1
    )


def test_token_estimates():
    assert estimate_tokens("the cat") == 2
    assert estimate_tokens("internationalisation") == 4  # 20 letters
    assert estimate_tokens("a_b, c") == 5
    assert estimate_tokens("東京都") == 3
    assert estimate_tokens("_" * 50) == 50


# --- questions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "queries"),
    [
        (
            "Will Russia and Ukraine sign a ceasefire before 2030?",
            ["Russia Ukraine sign ceasefire", "Russia Ukraine", "Russia sign ceasefire", "Russia"],
        ),
        (
            "Will the Bank of England cut its policy rate by 31 December 2026?",
            ["Bank of England cut policy rate", "Bank of England", "Bank of England cut policy"],
        ),
        ("Will inflation in Turkey exceed 30% in 2026?", ["Turkey inflation", "Turkey"]),
        ("Will the US attack Iran?", ["US Iran attack", "US Iran", "US attack", "US"]),
        ("Will the WHO declare a pandemic?", ["WHO declare pandemic", "WHO", "WHO declare pandemic"]),
        ("Will Theresa May resign by May 2027?", ["Theresa May resign", "Theresa May"]),
        ("Will Agenda 2030 be replaced by 2030?", ["Agenda 2030 replaced", "Agenda 2030"]),
        ('Will "Dune: Part Three" be released in Q4 2026?', ["Dune: Part Three released", "Dune: Part Three"]),
        ("Will China invade Taiwan by the end of March?", ["China Taiwan invade", "China Taiwan", "China invade"]),
        ("Will it rain tomorrow in the capital?", ["rain tomorrow capital", "rain tomorrow"]),
        ("Will rain follow rain in the capital?", ["rain follow capital", "rain follow"]),
        ("Will it go viral in Norway?", ["Norway go viral", "Norway"]),
        ("Will x inflation rise?", ["inflation rise"]),
        ("2027: will Norway join the EU?", ["Norway EU join", "Norway EU"]),
        ("Will alpha beta gamma delta epsilon zeta eta theta iota kappa happen in Norway?",
         ["Norway alpha beta gamma delta epsilon zeta eta theta", "Norway", "Norway alpha beta"]),
        ("it " * 200, [("it " * 100).strip() + " "]),
        ("Will it be?", ["Will it be?"]),
        ("", []),
        ("   ", []),
    ],
)  # fmt: skip
def test_searches_of_a_question(question, queries):
    found = build_queries(question)
    assert found[: len(queries)] == list(dict.fromkeys(queries))
    assert len(found) <= 4


def test_a_possessive_ends_a_name():
    assert named_entities("Will Russia's President Putin resign?") == ["Russia", "President Putin"]


def test_a_stop_word_ends_a_name_even_with_a_capital():
    assert named_entities("Will Norway Before Sweden leave?") == ["Norway", "Sweden"]


def test_a_number_belongs_to_the_name_before_it():
    assert named_entities("Will Agenda 5G or 7 win?") == ["Agenda 5G"]


@given(st.text(max_size=200), st.integers(1, 6))
def test_searches_are_few_unique_and_never_empty(question, limit):
    found = build_queries(question, limit=limit)
    assert len(found) <= limit
    assert len(set(found)) == len(found)
    assert all(query.strip() for query in found)
    assert bool(found) == bool(question.strip())


@pytest.mark.parametrize(
    "date",
    ["before 2030", "by 31 December 2026", "by December 31, 2026", "by the end of 2027", "in Q3 2026", "on 2026-05-01",
     "between 2026 and 2028", "in the 2030s", "by March 1st, 2027", "until June 2026", "before the end of May"],
)  # fmt: skip
def test_dates_are_no_keywords(date):
    question = f"Will Norway join the European Union {date}?"
    assert build_queries(question)[0] == "Norway European Union join"
    assert match_query(question) == ["norway", "join", "european", "union"]


def test_words_for_the_full_text_search():
    assert match_query("Will Brazil's GDP growth exceed 3.5% in 2026?") == [
        "brazil",
        "gdp",
        "growth",
    ]
    assert match_query("Will the US leave the WHO?") == ["us", "leave", "who"]
    assert match_query("Will it tell us who?") == ["tell"]
    assert match_query("Will plan B fail?") == ["plan", "fail"]


HINDI = "क्या भारत की जनसंख्या 2030 से पहले 150 करोड़ से अधिक होगी?"
THAI = "ธนาคารแห่งประเทศไทยจะปรับขึ้นอัตราดอกเบี้ยหรือไม่"


def test_words_keep_their_combining_marks():
    assert build_queries(HINDI)[0].split()[:4] == ["क्या", "भारत", "की", "जनसंख्या"]
    assert match_query(HINDI)[:4] == ["क्या", "भारत", "की", "जनसंख्या"]
    assert match_query(THAI) == [THAI]
    assert len(shingles("जनसंख्या बढ़ रही है अब")) == 2


def test_composed_and_decomposed_spellings_are_one():
    text = "Will São Tomé and Príncipe hold an election?"
    decomposed = unicodedata.normalize("NFD", text)
    assert decomposed != text
    assert build_queries(decomposed) == build_queries(text)
    assert (
        match_query(decomposed)
        == match_query(text)
        == ["são", "tomé", "príncipe", "hold", "election"]
    )
    assert tidy(decomposed) == text


@pytest.mark.parametrize(
    ("text", "question", "found"),
    [
        ("भारत की जनसंख्या बढ़ रही है", HINDI, True),
        ("भरत जन सख", HINDI, False),  # the same consonants without their vowel signs
        (unicodedata.normalize("NFD", "Príncipe holds a vote"), "Will Príncipe vote?", True),
        (f"ข่าว {THAI} วันนี้", THAI, True),
    ],
)
def test_words_with_marks_are_found_in_the_store(tmp_path, text, question, found):
    with Database(tmp_path / "store.db") as db:
        cuts = [
            NewPassage("", cut.text, cut.tokens)
            for cut in cut_passages([("", tidy(text))], size=50, overlap=0)
        ]
        article = db.add_article(Article("w", "T", "1", "2026-01-01T00:00:00Z", "u", text), cuts)
        assert bool(db.search_words(match_query(question), [article], limit=5)) == found


def test_tidy_drops_what_shows_nothing_and_keeps_what_shapes_words():
    assert tidy("a\u00ad\u200e\u202eb\x00c\ufeff\u2060d") == "abcd"
    assert tidy("one\x85two\u2028three\x0cfour\rfive") == "one\ntwo\nthree\nfour\nfive"
    persian, emoji = "می\u200cخواهم", "\u2764\ufe0f"
    assert tidy(f"{persian} {emoji}") == f"{persian} {emoji}"


# --- near-duplicates ----------------------------------------------------------------------------------------------

STORY = "The central bank raised its rate to four percent on Thursday because inflation stayed above the target again."


def test_copies_are_dropped_and_the_first_is_kept():
    near = STORY.replace("again", "once more").upper()
    other = "Wheat exports fell by half after the drought, and the government opened its reserves to the mills."
    assert drop_near_duplicates(
        [STORY, other, near, STORY + " More followed in an hour.", other]
    ) == [0, 1]


def test_the_newer_of_two_near_duplicates_is_kept_in_the_place_of_the_older():
    updated = STORY.replace("four percent", "five percent")
    other = "Wheat exports fell by half after the drought."
    assert drop_near_duplicates(
        [STORY, other, updated], dates=["2026-01", "2026-03", "2026-02"]
    ) == [2, 1]
    assert drop_near_duplicates(
        [updated, other, STORY], dates=["2026-02", "2026-03", "2026-01"]
    ) == [0, 1]
    assert drop_near_duplicates([STORY, updated], dates=["2026-01", "2026-01"]) == [0]
    # A newer sentence does not push out the older text that holds it and more.
    longer = f"{STORY} {other} The mills closed, the trains stood still, and nobody knew what the winter would bring."
    assert drop_near_duplicates([longer, STORY], dates=["2026-01", "2026-02"]) == [0]


def test_overlapping_neighbours_are_kept():
    words = [f"word{i}" for i in range(400)]
    first, second = " ".join(words[:200]), " ".join(words[160:360])
    assert drop_near_duplicates([first, second]) == [0, 1]
    assert containment(shingles(first), shingles(second)) == pytest.approx(37 / 197)


def test_texts_without_words():
    assert shingles("—!") == frozenset()
    assert containment(shingles(""), shingles("a b")) == 0.0
    assert drop_near_duplicates(["", "", "a", "a"]) == [0, 1, 2]
