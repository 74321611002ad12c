"""Turn a forecasting question into keyword searches and full-text words.

Named entities are found by rules, not by a model.
"""

from __future__ import annotations

import re
from typing import Final

from questions.characters import NOT_WORD, WORD, nfc

# Searches are made of no more of a question; ``questions`` allows half of it.
MAX_SEARCHED_CHARACTERS: Final = 4000

_MONTHS = (
    "january|february|march|april|may|june|july|august|september|october|november|december"
    "|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec"
)
_DATES = re.compile(
    rf"""\b(?:(?:before|by|until|till|after|since|during|in|on|from|to|through|between|as\s++of
        |no\s++later\s++than)\s++)?
    (?:the\s++)?(?:end|start|beginning|middle|close|first\s++half|second\s++half)?\s*+(?:of\s++)?
    (?:
        \d{{4}}-\d{{2}}-\d{{2}}
      | (?:{_MONTHS})\.?\s++\d{{1,2}}(?:st|nd|rd|th)?,?(?:\s++(?:19|20)\d{{2}})?
      | \d{{1,2}}(?:st|nd|rd|th)?\s++(?:{_MONTHS})\b\.?,?(?:\s++(?:19|20)\d{{2}})?
      | (?:{_MONTHS})\.?,?\s++(?:19|20)\d{{2}}
      | (?:Q[1-4]|H[12])\s++(?:19|20)\d{{2}}
      | (?:19|20)\d{{2}}s?
    )(?![\w%-])
    | \b(?:before|by|until|in|end\s++of)\s++(?:{_MONTHS})\b(?!\s++[A-Z])""",
    re.IGNORECASE | re.VERBOSE,
)
# English function words plus the vocabulary of forecasting questions ("at least", "according to").
STOP_WORDS = frozenset(
    (  # noqa: SIM905 - a word list reads better as text
        "a an and any are as at be been being both but by can could did do does doing done down"
        " during each either for from had has have having he her hers him his how i if in into is"
        " it its itself just may me might more most must my near neither no nor not of off on once"
        " only or other our out over own per same shall she should so some such than that the"
        " their them then there these they this those through to too under until up us very was we"
        " were what when where whether which while who whom whose why will with within without"
        " would you your before after between above below least occur happen happens take place"
        " become becomes remain remains still ever announce announced official officially according"
        " reported report resolve question end start beginning year years month months week weeks"
        " day days next yes percent probability likely chance approximately less fewer greater"
        " higher lower exceed exceeds reach following current currently new"
    ).split()
)
# Capitalised inside a question these are names (Theresa May, Will Smith): dates and the leading
# "Will" are gone by then.
NAMES_LIKE_STOP_WORDS = frozenset({"May", "Will"})
# Lower-case words inside a name ("Bank of England"); "and" is none ("Russia and Ukraine").
JOINING_WORDS = frozenset({"of", "the", "for", "de", "del", "la", "al", "bin", "van", "von"})
_TOKEN = re.compile(rf"[^\W_]{WORD}*+(?:[.&'’/-]++{WORD}++)*+")
# Words that may also begin with a mark, and the punctuation that ends a name.
_NAME_PART = re.compile(rf"(?:(?<![.&'’/-])[.&'’/-]++)?{WORD}++(?:[.&'’/-]++{WORD}++)*+|[,;:()?!]")
_AMOUNTS = re.compile(r"[$€£¥]?\b\d[\d,.]*\d?\b\s*%?|[$€£¥]")
_QUOTED = re.compile(r"[\"“]([^\"”]{2,80})[\"”]")
_LEADING = re.compile(
    r"^(?:will|would|is|are|does|do|did|has|have|can|could|should|shall|what|when|who|which|how"
    r"|if)\b",
    re.IGNORECASE,
)


def build_queries(question: str, *, limit: int = 4) -> list[str]:
    """Turn a question into at most ``limit`` keyword searches, most specific first.

    Dates ("before 2030", "by 31 December 2026") and question words are removed, named entities
    kept whole. The searches: all entities and keywords; the entities alone; then each entity by
    itself; a question without entities gives its keywords. Several narrow searches merged find more
    than one long one: an engine that requires every word answers a long query with nothing.
    """
    question = " ".join(nfc(question[:MAX_SEARCHED_CHARACTERS]).split())
    text = _without_dates(question)
    capitals = text.isupper()
    entities = named_entities(text)
    named = {match[0].casefold() for match in _TOKEN.finditer(" ".join(entities))}
    found: dict[str, str] = {}
    for word in map(_without_possessive, _TOKEN.findall(text)):
        stop = word.casefold() in STOP_WORDS and not _is_acronym(word, capitals)
        number = re.fullmatch(r"[\d.,%$€-]+", word)
        if len(word) > 1 and not stop and word.casefold() not in named and not number:
            found.setdefault(word.casefold(), word)
    keywords = list(found.values())
    everything = " ".join([*entities, *keywords[:8]])
    head = " ".join([entities[0], *keywords[:2]]) if entities and keywords else ""
    queries = [everything, " ".join(entities), head, *entities]
    if not entities:
        queries += [" ".join(keywords[:4]), " ".join(keywords[:2])]
    unique = list(dict.fromkeys(q for q in map(str.strip, queries) if q))
    return unique[:limit] or [question[:300]][: 1 if question else 0]


def match_query(text: str) -> list[str]:
    """Return the words of a question for the full-text (BM25) ranking.

    Lower case, unique, without stop words, dates and amounts: thresholds ("exceed 30 %") are not
    what evidence is about.
    """
    text = " ".join(nfc(text[:MAX_SEARCHED_CHARACTERS]).split())
    text = _AMOUNTS.sub(" ", _DATES.sub(" ", text))
    capitals = text.isupper()
    words = map(_without_possessive, _TOKEN.findall(text))
    parts = [part for word in words for part in re.split(rf"{NOT_WORD}+", word) if len(part) > 1]
    return list(
        dict.fromkeys(
            part.casefold()
            for part in parts
            if part.casefold() not in STOP_WORDS or _is_acronym(part, capitals)
        )
    )


def named_entities(text: str) -> list[str]:
    """Return capitalised runs, acronyms and quoted phrases of a text, in order.

    The question word at the head of a sentence is no part of a name.
    """
    names = [quoted.strip() for quoted in _QUOTED.findall(text)]
    text = _QUOTED.sub(" ", text)
    capitals = text.isupper()
    for sentence in re.split(r"(?<=[.!?])\s+", text):
        body = _LEADING.sub("", sentence.strip()).strip()
        run: list[str] = []
        for word in [*_NAME_PART.findall(body), "."]:
            bare = _without_possessive(word)
            plain = bare.casefold() in STOP_WORDS and bare not in NAMES_LIKE_STOP_WORDS
            capital = bare[:1].isupper() or (run and bare[:1].isdigit())
            if capital and (not plain or _is_acronym(bare, capitals)):
                run.append(bare)
                if bare != word:  # a possessive ends the name: "Russia's President" is two
                    names.append(" ".join(run))
                    run = []
            elif run and word.casefold() in JOINING_WORDS:
                run.append(word)
            elif run:
                names.append(_without_joiners(run))
                run = []
    return list(dict.fromkeys(filter(None, names)))


def _without_dates(text: str) -> str:
    """Remove the dates of a question; a year that ends a name stays ("Agenda 2030")."""

    def replacement(match: re.Match[str]) -> str:
        # No name is longer than the window.
        window = text[max(0, match.start() - 100) : match.start()].rstrip()
        before = re.search(rf"(?<!{WORD})({WORD}+)\Z", window)
        year_of_name = (
            re.fullmatch(r"(?:19|20)\d{2}", match[0].strip())
            and before
            and before[1][:1].isupper()
            and before[1].casefold() not in STOP_WORDS
        )
        return match[0] if year_of_name else " "

    return _DATES.sub(replacement, text)


def _without_possessive(word: str) -> str:
    return word.removesuffix("'s").removesuffix("’s")


def _is_acronym(word: str, capitals: bool) -> bool:
    """Tell acronyms ("US", "WHO"); there are none in a text all in capitals."""
    return len(word) > 1 and word.isupper() and not capitals


def _without_joiners(run: list[str]) -> str:
    end = len(run)
    while end and run[end - 1][:1].islower():
        end -= 1
    return " ".join(run[:end])
