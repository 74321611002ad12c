"""From markup to evidence passages: pure text functions, no network, no database, no model.

- clean wikitext or HTML into (section title, text) pairs;
- cut sections into overlapping passages of a stated token size;
- turn a forecasting question into keyword searches;
- recognise near-duplicate passages.

A room of its own because both the Wikipedia client and the document reader need it, and because text surgery is
easiest to test when nothing else is in the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple

import mwparserfromhell
from mwparserfromhell.nodes import (
    Argument,
    Comment,
    ExternalLink,
    Heading,
    HTMLEntity,
    Tag,
    Template,
    Text,
    Wikilink,
)
from mwparserfromhell.wikicode import Wikicode

from questions.characters import INVISIBLE, NOT_WORD, WORD, nfc

# Searches are made of no more of a question; ``questions`` allows half of it.
MAX_SEARCHED_CHARACTERS: Final = 4000
# A heading is cut after so many characters: it is stored with each passage below it.
MAX_HEADING_CHARACTERS: Final = 200


class Section(NamedTuple):
    """One section of an article: its heading path ("History – Early years", "" for the lead) and its plain text."""

    title: str
    text: str


class Cut(NamedTuple):
    """One passage before it is stored: section heading path, plain text, size in tokens."""

    section: str
    text: str
    tokens: int


# --- wikitext -----------------------------------------------------------------------------------------------------

# Sections that list sources or links: they match searches well and say nothing.
BOILERPLATE_SECTIONS = frozenset(
    {
        "references", "external links", "see also", "further reading", "notes", "bibliography", "sources",
        "citations", "footnotes", "notes and references", "references and notes", "works cited", "explanatory notes",
        "einzelnachweise", "weblinks", "literatur", "siehe auch", "notes et références", "liens externes",
        "voir aussi", "referencias", "enlaces externos", "véase también",
    }
)  # fmt: skip
# Extension and HTML tags whose content is not prose.
DROPPED_TAGS = frozenset(
    {
        "ref", "references", "table", "gallery", "timeline", "math", "chem", "syntaxhighlight", "source", "pre", "score",
        "imagemap", "graph", "mapframe", "maplink", "templatestyles", "style", "script", "noinclude", "includeonly",
        "hiero", "inputbox", "categorytree",
    }
)  # fmt: skip
# Inline templates that wrap visible words; everything else (infoboxes, navigation, citations) is dropped, because
# expanding it through the wiki would use *today's* template, not the one of the revision's date.
# The number is the positional parameter that holds the text, "join" means all of them.
TEXT_TEMPLATES: dict[str, str] = {
    "lang": "2", "nowrap": "1", "nobr": "1", "nobold": "1", "small": "1", "big": "1", "em": "1", "strong": "1",
    "abbr": "1", "visible anchor": "1", "vanchor": "1", "as of": "join", "circa": "c. ", "c.": "c. ", "ca.": "c. ",
    "convert": "join2", "cvt": "join2", "formatnum": "1", "val": "join2", "us$": "$", "usd": "$", "euro": "€",
    "transliteration": "2", "translit": "2", "ill": "1", "interlanguage link": "1", "snd": "–", "spnd": "–",
    "ndash": "–", "mdash": "—", "percent": "1%", "start date": "date", "end date": "date", "birth date": "date",
    "flagcountry": "1", "flag": "1", "flagu": "1", "frac": "frac", "fraction": "frac", "sic": "1", "'": "’",
    "blockquote": "1", "quote": "1", "cquote": "1", "increase": "", "decrease": "", "nbsp": " ",
}  # fmt: skip
# What {{convert}} may have between two numbers. Source: https://en.wikipedia.org/wiki/Template:Convert#Ranges_of_values
RANGE_WORDS = frozenset({"to", "-", "–", "and", "or", "by", "x", "×", "+", "±", "+/-"})
_DISAMBIGUATION_TEMPLATE = re.compile(
    r"^(?:.*\b)?(?:disambig(?:uation)?(?: page)?|dab|hndis|geodis|given name|surname|mathdab|numberdis|schooldis"
    r"|roaddis|shipindex|set index(?: article)?|begriffsklärung|homonymie|desambiguación)\b"
    # {{disambiguation needed}} marks one link of an ordinary article
    r"(?![\s-]*(?:needed|link|inline|redirect))",
    re.IGNORECASE,
)
_LIST_TITLE = re.compile(
    r"^(?:lists? of|outline of|index of|timeline of|glossary of|bibliography of)\b", re.IGNORECASE
)
_REDIRECT = re.compile(r"\s*+#\s*+([^\s\[\]:#|]++)\s*+(?::\s*+)?\[\[\s*+(?::\s*+)?([^\]|#\n]++)")
# What begins and ends a template, and what hides one.
_TEMPLATE_MARKS = re.compile(r"\{\{|\}\}|<!--|-->|<(/?)nowiki>", re.IGNORECASE)
_TEMPLATE_NAME = re.compile(r"[^|{}<>\[\]]{0,100}")
FILE_NAMESPACES = frozenset(
    {"file", "image", "media", "datei", "fichier", "archivo", "imagem", "bild", "plik", "файл"}
)
CATEGORY_NAMESPACES = frozenset({"category", "kategorie", "catégorie", "categoría", "категория"})


def redirect_target(wikitext: str, magic_words: Iterable[str] = ("redirect",)) -> str | None:
    """Return the title a redirect page points to, or None when the text is not a redirect.

    `magic_words` are the wiki's names for REDIRECT without "#" (siteinfo's magic word "redirect").
    Source: https://www.mediawiki.org/wiki/Help:Redirects
    """
    match = _REDIRECT.match(wikitext)
    if not match or match[1].casefold() not in {
        word.lstrip("#").casefold() for word in magic_words
    }:
        return None
    return match[2].replace("_", " ").strip() or None


def is_list_title(title: str) -> bool:
    """True for titles such as "List of wars": they match almost any search and hold no prose."""
    return bool(_LIST_TITLE.match(title))


def is_disambiguation(wikitext: str) -> bool:
    """True when this revision carries a disambiguation template or the __DISAMBIG__ magic word.

    Judged from the revision's own text, because the page property that the API reports is today's.
    """
    if "__DISAMBIG__" in wikitext:
        return True
    if "{{" not in wikitext or len(wikitext) > 60_000:  # no disambiguation page is that long
        return False
    return any(_DISAMBIGUATION_TEMPLATE.match(name) for name in _template_names(wikitext))


def _template_names(wikitext: str) -> Iterator[str]:
    """Names of the closed templates that are in no other; not by the parser, which can crash."""
    hidden: str | None = None  # what ends the comment or nowiki text we are in
    begun: list[int] = []
    closed: list[tuple[int, int]] = []
    for mark in _TEMPLATE_MARKS.finditer(wikitext):
        kind = mark[0].casefold()
        if hidden is not None:
            hidden = None if kind == hidden else hidden
        elif kind in ("<!--", "<nowiki>"):
            hidden = "-->" if kind == "<!--" else "</nowiki>"
        elif kind == "{{":
            begun.append(mark.end())
        elif kind == "}}" and begun:
            closed.append((begun.pop(), mark.start()))
    end = -1
    for start, stop in sorted(closed):
        if start > end:
            end = stop
            name = _TEMPLATE_NAME.match(wikitext, start, stop)
            yield name[0].strip() if name else ""


def sections_from_wikitext(
    wikitext: str,
    *,
    file_namespaces: Iterable[str] = FILE_NAMESPACES,
    category_namespaces: Iterable[str] = CATEGORY_NAMESPACES,
) -> list[Section]:
    """Clean one revision's wikitext into plain-text sections, in page order.

    References, files, tables, comments, categories and templates are dropped; the text of a few inline templates
    ({{lang}}, {{nowrap}}, {{convert}} …) is kept. Nothing is fetched or expanded, so nothing newer than the
    revision can enter. The title is the heading path joined with " – "; the lead's is "".
    """
    dropped_links = {name.casefold() for name in (*file_namespaces, *category_namespaces)}
    code = mwparserfromhell.parse(wikitext, skip_style_tags=False)
    path: list[tuple[int, str]] = []
    sections: list[tuple[str, list[str]]] = [("", [])]
    skip_below: int | None = None  # level of a boilerplate heading whose subsections go too
    for node in code.nodes:
        if isinstance(node, Heading):
            title = _heading("".join(_plain(child, dropped_links) for child in node.title.nodes))
            path = [(level, name) for level, name in path if level < node.level] + [
                (node.level, title)
            ]
            if skip_below is not None and node.level <= skip_below:
                skip_below = None
            if skip_below is None and title.casefold() in BOILERPLATE_SECTIONS:
                skip_below = node.level
            sections.append((" – ".join(name for _, name in path), []))
        elif skip_below is None:
            sections[-1][1].append(_plain(node, dropped_links))
    cleaned = [
        Section(title, tidy(_without_list_marks("".join(parts)))) for title, parts in sections
    ]
    return [section for section in cleaned if section.text]


def _heading(text: str) -> str:
    return tidy(text)[:MAX_HEADING_CHARACTERS].rstrip()


def _plain(node: object, dropped_links: set[str]) -> str:
    """Plain text of one mwparserfromhell node; "" for everything that is not prose."""
    if isinstance(node, Text):
        return str(node.value)
    if isinstance(node, HTMLEntity):
        return str(node.normalize() or "")
    if isinstance(node, Wikilink):
        return _plain_link(node, dropped_links)
    if isinstance(node, ExternalLink):
        return _plain_all(node.title, dropped_links) if node.title is not None else ""
    if isinstance(node, Template):
        return _plain_template(node, dropped_links)
    if isinstance(node, Tag):
        return _plain_tag(node, dropped_links)
    if isinstance(node, Heading):
        return f"\n{_plain_all(node.title, dropped_links)}\n"
    if isinstance(node, (Comment, Argument)):
        return ""
    return ""


def _plain_all(code: Wikicode | None, dropped_links: set[str]) -> str:
    return "" if code is None else "".join(_plain(node, dropped_links) for node in code.nodes)


def _plain_link(link: Wikilink, dropped_links: set[str]) -> str:
    target = str(link.title).strip()
    namespace, colon, rest = target.partition(":")
    if (
        colon and namespace.strip().casefold() in dropped_links
    ):  # [[File:…]]; [[:File:…]] is a visible link
        return ""
    if link.text is not None:
        return _plain_all(link.text, dropped_links)
    if re.fullmatch(r"[a-z]{2,3}(?:-[a-z]+)?", namespace) and colon and rest:  # interlanguage link
        return ""
    return target.lstrip(":")


def _plain_tag(tag: Tag, dropped_links: set[str]) -> str:
    name = str(tag.tag).strip().casefold()
    if name in DROPPED_TAGS:
        return ""
    if name in {"br", "hr", "p", "div", "blockquote", "poem", "li"}:
        return f"\n{_plain_all(tag.contents, dropped_links)}\n"
    if tag.wiki_markup in {"*", "#", ":", ";"}:
        return f"\n{tag.wiki_markup} "  # stripped, with the line break kept, once the section is put together
    return _plain_all(tag.contents, dropped_links)


def _plain_template(template: Template, dropped_links: set[str]) -> str:
    name, colon, argument = str(template.name).strip().partition(":")
    if colon and name.casefold() == "formatnum":  # a parser function: {{formatnum:1234567}}
        return argument.strip()
    kind = TEXT_TEMPLATES.get(str(template.name).strip().replace("_", " ").casefold())
    if kind is None:
        return ""
    values = _positional(template, dropped_links)
    if kind in {"1", "2"}:
        index = int(kind) - 1
        return values[index] if index < len(values) else ""
    if kind == "join":
        return "as of " + " ".join(values)
    if kind == "join2":
        # {{convert|5|km|mi}} reads "5 km", {{convert|3|to|5|km|mi}} "3 to 5 km"
        return " ".join(values[: 4 if len(values) > 3 and values[1] in RANGE_WORDS else 2])
    if kind == "date":
        return "-".join(f"{value:0>2}" for value in values[:3])
    if kind == "frac":
        # {{frac|3}} reads "1/3", {{frac|2|3}} "2/3", {{frac|1|2|3}} "1 2/3"
        parts = values if len(values) != 1 else ["1", *values]
        return " ".join([*parts[:-2], "/".join(parts[-2:])])
    if kind == "1%":
        return f"{values[0]}%" if values else ""
    return kind + (values[0] if values and kind in {"c. ", "$", "€"} else "")


def _positional(template: Template, dropped_links: set[str]) -> list[str]:
    """The values of a template's positional parameters, also where they are written "1=…" or "text=…"."""
    values: dict[int, str] = {}
    for parameter in template.params:
        name = "1" if str(parameter.name).strip() == "text" else str(parameter.name).strip()
        if name.isascii() and name.isdigit() and len(name) < 5:
            values[int(name)] = _plain_all(parameter.value, dropped_links).strip()
    return [values[position] for position in sorted(values)]


def _without_list_marks(text: str) -> str:
    return re.sub(r"(?m)^[ \t]*[*#:;][*#:; \t]*", "", text)


_LINE_BREAK = re.compile(r"\r\n?|[\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
# Joiners and variation selectors stay: they shape Persian and Hindi words and emoji.
_SHOWS_NOTHING = re.compile(rf"(?![\u200c\u200d\ufe00-\ufe0f\U000e0020-\U000e007f])[{INVISIBLE}]")


def tidy(text: str) -> str:
    """Normalise Unicode (NFC) and whitespace, drop invisible characters.

    Single spaces, at most one empty line, no space before punctuation or in empty brackets.
    """
    text = _LINE_BREAK.sub("\n", text.replace("\u00a0", " "))
    text = nfc(_SHOWS_NOTHING.sub("", text))
    text = re.sub(r"__[A-Z]{4,}+__", "", text)
    text = re.sub(r"\(\s*+(?:[,;:]\s*+)?\)", "", text)  # "( )" left where a template stood
    text = re.sub(r"\(\s*+[,;]\s*+", "(", text)
    text = re.sub(r"[ \t]+", " ", text)
    text = re.sub(r" ([,.;:)\]])", r"\1", text)
    text = re.sub(r" ?\n ?", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


# --- HTML ---------------------------------------------------------------------------------------------------------

_HTML_DROPPED = (
    "script",
    "style",
    "noscript",
    "template",
    "nav",
    "footer",
    "aside",
    "input",
    "select",
    "textarea",
    "button",
    "svg",
    "iframe",
    "head",
)
_HTML_BLOCKS = (
    "p", "div", "li", "ul", "ol", "dl", "dt", "dd", "tr", "table", "section", "article", "main", "header", "br", "hr",
    "blockquote", "pre", "figure", "figcaption", "td", "th",
)  # fmt: skip


# Declarations that html.parser knows; any other "<![" ends it with an exception.
_UNKNOWN_DECLARATION = re.compile(
    r"<!(?=\[)(?!\[\s*+(?:cdata|temp|ignore|include|rcdata|if|else|endif)\b)", re.IGNORECASE
)


def sections_from_html(html: str) -> list[Section]:
    """Clean an HTML page or fragment into sections cut at h1…h6; scripts, styles, navigation and form controls are dropped."""
    from bs4 import BeautifulSoup
    from bs4.element import NavigableString, PreformattedString
    from bs4.element import Tag as HtmlTag

    # Halves of characters, which a decoder of foreign bytes can leave, would end the parser.
    html = html.encode("utf-8", "replace").decode()
    soup = BeautifulSoup(_UNKNOWN_DECLARATION.sub("&lt;!", html), "html.parser")
    for element in soup(list(_HTML_DROPPED)):
        element.decompose()
    path: list[tuple[int, str]] = []
    sections: list[tuple[str, list[str]]] = [("", [])]

    pending: list[object] = [soup]  # a stack of its own: pages nest deeper than Python recurses
    while pending:
        node = pending.pop()
        if isinstance(node, HtmlTag):
            name = node.name.casefold()
            if re.fullmatch(r"h[1-6]", name):
                title, level = _heading(node.get_text(" ")), int(name[1])
                path = [(lvl, text) for lvl, text in path if lvl < level] + [(level, title)]
                sections.append((" – ".join(text for _, text in path if text), []))
                continue
            edge = ["\n"] if name in _HTML_BLOCKS else []
            pending += [*edge, *reversed(node.contents), *edge]
        elif isinstance(node, NavigableString):
            if not isinstance(node, PreformattedString):  # comments, doctypes, CDATA
                sections[-1][1].append(re.sub(r"\s+", " ", str(node)))
        else:
            sections[-1][1].append(str(node))

    cleaned = [Section(title, tidy("".join(parts))) for title, parts in sections]
    return [section for section in cleaned if section.text]


def plain_text_from_html(html: str) -> str:
    """Text of an HTML fragment without its tags (entities decoded), headings included as lines."""
    if "<" not in html and "&" not in html:
        return tidy(html)
    return "\n".join("\n".join(filter(None, section)) for section in sections_from_html(html))


# --- cutting ------------------------------------------------------------------------------------------------------

_SENTENCE_END = re.compile(r"(?<=[.!?。！？;])[\"'”’)\]]*\s+(?=\S)|(?<=[。！？])")
# Runs of one alphabet; a mark, an underscore and every character from the Chinese radicals on stand alone.
_WORD = re.compile(r"[A-Za-z0-9]+|[^\W_A-Za-z0-9\u2e80-\U0010ffff]+|\S")


def estimate_tokens(text: str) -> int:
    """Size of a text in tokens, without a tokenizer: one per 6 characters of a word begun, one per punctuation mark.

    Errs on the high side for English with a WordPiece vocabulary. Other alphabets count one per two characters,
    Chinese, Japanese and Korean one per character.
    """
    return sum(-(-len(w) // (6 if w.isascii() else 2)) for w in _WORD.findall(text))


def cut_passages(
    sections: Iterable[tuple[str, str]],
    *,
    size: int,
    overlap: int,
    count_tokens: Callable[[Sequence[str]], Sequence[int]] | None = None,
) -> list[Cut]:
    """Cut sections into passages of at most `size` tokens; neighbours in a section share up to `overlap` tokens.

    A passage never spans two sections, and nothing is left out. Cuts fall between sentences; a sentence longer than
    `size` is cut between words, a word longer than `size` within. `count_tokens` maps texts to their token counts
    (default: `estimate_tokens`). Counts of joined units are sums, which for word-based tokenizers is the count of
    the joined text.
    Raises ValueError when `overlap` is not smaller than `size`.
    """
    if size < 1 or not 0 <= overlap < size:
        raise ValueError(
            f"passage size {size} and overlap {overlap} tokens: expected 0 <= overlap < size"
        )
    counter = partial(_counts, count_tokens or (lambda texts: [*map(estimate_tokens, texts)]))
    titles_and_sentences = [(title, _sentences(text)) for title, text in sections]
    counts = iter(
        counter([sentence for _, sentences in titles_and_sentences for sentence in sentences])
    )
    cuts: list[Cut] = []
    for title, sentences in titles_and_sentences:
        units: list[tuple[str, int]] = []
        for sentence in sentences:
            tokens = next(counts)
            units.extend(
                [(sentence, tokens)] if tokens <= size else _split_long(sentence, size, counter)
            )
        cuts.extend(
            Cut(
                title,
                "".join(text for text, _ in group).strip(),
                sum(tokens for _, tokens in group),
            )
            for group in _pack(units, size, overlap)
        )
    return cuts


def _counts(counter: Callable[[Sequence[str]], Sequence[int]], texts: Sequence[str]) -> list[int]:
    """Count tokens, at least 1 in each text.

    A tokenizer may count 0 for characters it drops; a passage of such texts would have no end.
    """
    return [max(n, 1) if text.strip() else n for text, n in zip(texts, counter(texts), strict=True)]


def _sentences(text: str) -> list[str]:
    """Sentences and lines of a text, each with the whitespace that follows it."""
    sentences: list[str] = []
    for line in re.split(r"(?<=\n)", text):
        start = 0
        for match in _SENTENCE_END.finditer(line):
            sentences.append(line[start : match.end()])
            start = match.end()
        sentences.append(line[start:])
    return [sentence for sentence in sentences if sentence.strip()]


def _split_long(
    sentence: str, size: int, counter: Callable[[Sequence[str]], Sequence[int]]
) -> list[tuple[str, int]]:
    """Split one over-long sentence at spaces; a "word" that is itself too long (no spaces) at characters."""
    words = re.findall(r"\S+\s*", sentence)
    units: list[tuple[str, int]] = []
    for word, tokens in zip(words, counter(words), strict=True):
        if tokens <= size:
            units.append((word, tokens))
            continue
        width = max(1, len(word) * size // tokens)
        pieces = [word[start : start + width] for start in range(0, len(word), width)]
        while True:  # halve until every piece fits; a single character cannot be halved
            counts = counter(pieces)
            if all(n <= size or len(piece) < 2 for piece, n in zip(pieces, counts, strict=True)):
                break
            pieces = [
                half
                for piece in pieces
                for half in (piece[: len(piece) // 2], piece[len(piece) // 2 :])
                if half
            ]
        units.extend(zip(pieces, counts, strict=True))
    return units


def _pack(units: Sequence[tuple[str, int]], size: int, overlap: int) -> list[list[tuple[str, int]]]:
    """Group units greedily up to `size` tokens; each group starts with the last <= `overlap` tokens of the one before."""
    groups: list[list[tuple[str, int]]] = []
    current: list[tuple[str, int]] = []
    total = fresh = 0  # fresh: units in `current` that are not overlap
    for unit in units:
        if current and total + unit[1] > size and fresh:
            groups.append(current)
            tail: list[tuple[str, int]] = []
            room = min(overlap, size - unit[1])
            for previous in reversed(current):
                if previous[1] > room:
                    break
                tail.append(previous)
                room -= previous[1]
            current, fresh = tail[::-1], 0
            total = sum(n for _, n in current)
        current.append(unit)
        total += unit[1]
        fresh += 1
    if current and fresh:
        groups.append(current)
    return groups


# --- from a question to searches ----------------------------------------------------------------------------------

_MONTHS = (
    "january|february|march|april|may|june|july|august|september|october|november|december"
    "|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec"
)
_DATES = re.compile(
    rf"""\b(?:(?:before|by|until|till|after|since|during|in|on|from|to|through|between|as\s++of|no\s++later\s++than)\s++)?
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
# English function words plus the vocabulary of forecasting questions ("Will …", "at least", "according to").
STOP_WORDS = frozenset(
    (  # noqa: SIM905 - a word list reads better as text
        "a an and any are as at be been being both but by can could did do does doing done down during each either for from "
        "had has have having he her hers him his how i if in into is it its itself just may me might more most must my near "
        "neither no nor not of off on once only or other our out over own per same shall she should so some such than that "
        "the their them then there these they this those through to too under until up us very was we were what when where "
        "whether which while who whom whose why will with within without would you your before after between above below "
        "least occur happen happens take place become becomes remain remains still ever announce announced official "
        "officially according reported report resolve question end start beginning year years month months week weeks day "
        "days next yes percent probability likely chance approximately less fewer greater higher lower exceed exceeds reach "
        "following current currently new"
    ).split()
)
# Capitalised inside a question these are names (Theresa May, Will Smith): dates and the leading "Will" are gone by then.
NAMES_LIKE_STOP_WORDS = frozenset({"May", "Will"})
_TOKEN = re.compile(rf"[^\W_]{WORD}*+(?:[.&'’/-]++{WORD}++)*+")
# Words that may also begin with a mark, and the punctuation that ends a name.
_NAME_PART = re.compile(rf"(?:(?<![.&'’/-])[.&'’/-]++)?{WORD}++(?:[.&'’/-]++{WORD}++)*+|[,;:()?!]")
_AMOUNTS = re.compile(r"[$€£¥]?\b\d[\d,.]*\d?\b\s*%?|[$€£¥]")
_LEADING = re.compile(
    r"^(?:will|would|is|are|does|do|did|has|have|can|could|should|shall|what|when|who|which|how|if)\b",
    re.IGNORECASE,
)


def build_queries(question: str, *, limit: int = 4) -> list[str]:
    """Turn a question into at most `limit` keyword searches, most specific first.

    Dates ("before 2030", "by 31 December 2026") and question words are removed and named entities (capitalised runs,
    acronyms, quoted phrases) kept whole. The searches: all entities and keywords; the entities alone; then each entity
    by itself; a question without entities gives its keywords. Several narrow searches merged find more than one long
    one, because a search engine that requires every word answers a long query with nothing.
    """
    question = " ".join(nfc(question[:MAX_SEARCHED_CHARACTERS]).split())
    text = _without_dates(question)
    capitals = text.isupper()
    entities = named_entities(text)
    named = {match[0].casefold() for match in _TOKEN.finditer(" ".join(entities))}
    found: dict[str, str] = {}
    for match in _TOKEN.finditer(text):
        word = match[0].removesuffix("'s").removesuffix("’s")
        folded = word.casefold()
        if (
            len(word) < 2
            or (folded in STOP_WORDS and not _is_acronym(word, capitals))
            or folded in named
        ):
            continue
        if not re.fullmatch(r"[\d.,%$€-]+", word):
            found.setdefault(folded, word)
    keywords = list(found.values())
    everything = " ".join([*entities, *keywords[:8]])
    head = " ".join([entities[0], *keywords[:2]]) if entities and keywords else ""
    queries = [everything, " ".join(entities), head, *entities]
    if not entities:
        queries += [" ".join(keywords[:4]), " ".join(keywords[:2])]
    unique = list(dict.fromkeys(q for q in map(str.strip, queries) if q))
    return unique[:limit] or [question[:300]][: 1 if question else 0]


def named_entities(text: str) -> list[str]:
    """Capitalised runs, acronyms and quoted phrases of a text, in order, without the sentence's first question word.

    A rule, not a model: "of", "the", "for", "de" … may join two capitalised words ("Bank of England"); "and" does not
    ("Russia and Ukraine").
    """
    quoted = [m.strip() for m in re.findall(r"[\"“]([^\"”]{2,80})[\"”]", text)]
    text = re.sub(r"[\"“][^\"”]{2,80}[\"”]", " ", text)
    capitals = text.isupper()
    runs: list[str] = []
    for sentence in re.split(r"(?<=[.!?])\s+", text):
        body = _LEADING.sub("", sentence.strip()).strip()
        # a sentence that starts with a plain capitalised word ("Inflation in …") proves nothing about that word
        words = _NAME_PART.findall(body)
        run: list[str] = []
        for word in [*words, "."]:
            bare = word.removesuffix("'s").removesuffix("’s")
            plain = bare.casefold() in STOP_WORDS and bare not in NAMES_LIKE_STOP_WORDS
            if (bare[:1].isupper() or (run and bare[:1].isdigit())) and (
                not plain or _is_acronym(bare, capitals)
            ):
                run.append(bare)
                if bare != word:  # a possessive ends the name: "Russia's President" is two
                    runs.append(" ".join(run))
                    run = []
            elif run and word.casefold() in {
                "of",
                "the",
                "for",
                "de",
                "del",
                "la",
                "al",
                "bin",
                "van",
                "von",
            }:
                run.append(word)
            elif run:
                runs.append(_without_joiners(run))
                run = []
    return list(dict.fromkeys(e for e in [*quoted, *runs] if e))


def _without_dates(text: str) -> str:
    """A question without its dates; a year that ends a name stays ("Agenda 2030", "Euro 2028")."""

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


def _is_acronym(word: str, capitals: bool) -> bool:
    """Whether a word in capitals ("US", "WHO") is one; in a text all in ``capitals`` none can be told."""
    return len(word) > 1 and word.isupper() and not capitals


def _without_joiners(run: list[str]) -> str:
    end = len(run)
    while end and run[end - 1][:1].islower():
        end -= 1
    return " ".join(run[:end])


def match_query(text: str) -> list[str]:
    """Words of a question for the full-text (BM25) stage: lower case, unique, without stop words, dates and amounts."""
    text = " ".join(nfc(text[:MAX_SEARCHED_CHARACTERS]).split())
    # Thresholds ("exceed 30 %") are not what evidence is about.
    text = _AMOUNTS.sub(" ", _DATES.sub(" ", text))
    capitals = text.isupper()
    words = (m[0].removesuffix("'s").removesuffix("’s") for m in _TOKEN.finditer(text))
    parts = (part for word in words for part in re.split(rf"{NOT_WORD}+", word))
    kept = (
        p
        for p in parts
        if len(p) > 1 and (p.casefold() not in STOP_WORDS or _is_acronym(p, capitals))
    )
    return list(dict.fromkeys(map(str.casefold, kept)))


# --- near-duplicates ----------------------------------------------------------------------------------------------


def shingles(text: str, width: int = 4) -> frozenset[int]:
    """Hashes of all `width`-word runs of a text (lower case, punctuation ignored)."""
    words = re.findall(rf"{WORD}+", text.casefold())
    if len(words) <= width:
        return frozenset({hash(tuple(words))}) if words else frozenset()
    return frozenset(hash(tuple(words[i : i + width])) for i in range(len(words) - width + 1))


def containment(a: frozenset[int], b: frozenset[int]) -> float:
    """Share (0–1) of the smaller shingle set found in the larger: 1 when one text repeats the other.

    Broder (1997), "On the resemblance and containment of documents".
    """
    smaller = min(len(a), len(b))
    return len(a & b) / smaller if smaller else 0.0


def drop_near_duplicates(
    texts: Sequence[str], threshold: float = 0.6, *, dates: Sequence[str] | None = None
) -> list[int]:
    """Indices of the texts to keep, in order: each whose containment with every kept one is below `threshold`.

    An overlap of neighbouring passages (a fifth of the text) stays below the default; a copied paragraph does not.
    With `dates` (ISO, one a text) a newer text takes the place of a kept older one that it repeats: an updated figure
    must not lose to the page or report it was copied from.
    """
    kept: list[int] = []
    sets: list[frozenset[int]] = []
    for index, text in enumerate(texts):
        current = shingles(text)
        place = next(
            (n for n, other in enumerate(sets) if containment(current, other) >= threshold), None
        )
        if place is None:
            kept.append(index)
            sets.append(current)
        elif (
            dates
            and dates[index] > dates[kept[place]]
            # A sentence that stands in an older, longer text does not replace the whole of it.
            and len(current & sets[place]) >= threshold * len(sets[place])
        ):
            kept[place], sets[place] = index, current
    return kept
