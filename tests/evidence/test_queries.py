"""Questions become keyword searches and words for the full-text ranking."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from database import Database
from evidence.chunking import cut_passages
from evidence.queries import build_queries, match_query, named_entities
from evidence.sections import tidy
from evidence.selection import shingles
from scoring.prompts import Passage
from storage.records import Article


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
            Passage(text=cut.text, tokens=cut.tokens)
            for cut in cut_passages([("", tidy(text))], size=50, overlap=0)
        ]
        article = db.articles.add(Article("w", "T", "1", "2026-01-01T00:00:00Z", "u", text), cuts)
        assert bool(db.articles.search_words(match_query(question), [article], limit=5)) == found
