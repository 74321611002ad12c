"""Clean wikitext into sections; recognise redirects and disambiguations.

Nothing is fetched or expanded through the wiki, which would use *today's* templates: so nothing
newer than the revision can enter its text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import mwparserfromhell
from mwparserfromhell.nodes import ExternalLink, Heading, HTMLEntity, Tag, Template, Text, Wikilink
from mwparserfromhell.wikicode import Wikicode

from evidence.sections import Outline, Section

# Sections that list sources or links: they match searches well and say nothing.
BOILERPLATE_SECTIONS = frozenset(
    {
        "references", "external links", "see also", "further reading", "notes", "bibliography",
        "sources", "citations", "footnotes", "notes and references", "references and notes",
        "works cited", "explanatory notes", "einzelnachweise", "weblinks", "literatur",
        "siehe auch", "notes et références", "liens externes", "voir aussi", "referencias",
        "enlaces externos", "véase también",
    }
)  # fmt: skip
# Extension and HTML tags whose content is not prose.
DROPPED_TAGS = frozenset(
    {
        "ref", "references", "table", "gallery", "timeline", "math", "chem", "syntaxhighlight",
        "source", "pre", "score", "imagemap", "graph", "mapframe", "maplink", "templatestyles",
        "style", "script", "noinclude", "includeonly", "hiero", "inputbox", "categorytree",
    }
)  # fmt: skip
# Inline templates that wrap visible words; everything else (infoboxes, navigation, citations) is
# dropped. The number is the positional parameter that holds the text, "join" means all of them.
TEXT_TEMPLATES: dict[str, str] = {
    "lang": "2", "nowrap": "1", "nobr": "1", "nobold": "1", "small": "1", "big": "1", "em": "1",
    "strong": "1", "abbr": "1", "visible anchor": "1", "vanchor": "1", "as of": "join",
    "circa": "c. ", "c.": "c. ", "ca.": "c. ", "convert": "join2", "cvt": "join2", "formatnum": "1",
    "val": "join2", "us$": "$", "usd": "$", "euro": "€", "transliteration": "2", "translit": "2",
    "ill": "1", "interlanguage link": "1", "snd": "–", "spnd": "–", "ndash": "–", "mdash": "—",
    "percent": "1%", "start date": "date", "end date": "date", "birth date": "date",
    "flagcountry": "1", "flag": "1", "flagu": "1", "frac": "frac", "fraction": "frac", "sic": "1",
    "'": "’", "blockquote": "1", "quote": "1", "cquote": "1", "increase": "", "decrease": "",
    "nbsp": " ",
}  # fmt: skip
# What {{convert}} may have between two numbers.
# Source: https://en.wikipedia.org/wiki/Template:Convert#Ranges_of_values
RANGE_WORDS = frozenset({"to", "-", "–", "and", "or", "by", "x", "×", "+", "±", "+/-"})
FILE_NAMESPACES = frozenset(
    {"file", "image", "media", "datei", "fichier", "archivo", "imagem", "bild", "plik", "файл"}
)
CATEGORY_NAMESPACES = frozenset({"category", "kategorie", "catégorie", "categoría", "категория"})


# --- kinds of pages -------------------------------------------------------------------------------

_REDIRECT = re.compile(r"\s*+#\s*+([^\s\[\]:#|]++)\s*+(?::\s*+)?\[\[\s*+(?::\s*+)?([^\]|#\n]++)")
_LIST_TITLE = re.compile(
    r"^(?:lists? of|outline of|index of|timeline of|glossary of|bibliography of)\b", re.IGNORECASE
)
_DISAMBIGUATION_TEMPLATE = re.compile(
    r"^(?:.*\b)?(?:disambig(?:uation)?(?: page)?|dab|hndis|geodis|given name|surname|mathdab"
    r"|numberdis|schooldis|roaddis|shipindex|set index(?: article)?|begriffsklärung|homonymie"
    r"|desambiguación)\b"
    # {{disambiguation needed}} marks one link of an ordinary article
    r"(?![\s-]*(?:needed|link|inline|redirect))",
    re.IGNORECASE,
)
# What begins and ends a template, and what hides one.
_TEMPLATE_MARKS = re.compile(r"\{\{|\}\}|<!--|-->|<(/?)nowiki>", re.IGNORECASE)
_TEMPLATE_NAME = re.compile(r"[^|{}<>\[\]]{0,100}")


def redirect_target(wikitext: str, magic_words: Iterable[str] = ("redirect",)) -> str | None:
    """Return the title a redirect page points to, None for other pages.

    ``magic_words`` are the wiki's names for REDIRECT (siteinfo's magic word "redirect").
    Source: https://www.mediawiki.org/wiki/Help:Redirects
    """
    match = _REDIRECT.match(wikitext)
    words = {word.lstrip("#").casefold() for word in magic_words}
    if not match or match[1].casefold() not in words:
        return None
    return match[2].replace("_", " ").strip() or None


def is_list_title(title: str) -> bool:
    """Tell titles such as "List of wars", which match any search without prose."""
    return bool(_LIST_TITLE.match(title))


def is_disambiguation(wikitext: str) -> bool:
    """Tell whether a revision has a disambiguation template or the word __DISAMBIG__.

    Judged from the revision's own text, because the page property that the API reports is today's.
    """
    if "__DISAMBIG__" in wikitext:
        return True
    if "{{" not in wikitext or len(wikitext) > 60_000:  # no disambiguation page is that long
        return False
    return any(_DISAMBIGUATION_TEMPLATE.match(name) for name in _template_names(wikitext))


def _template_names(wikitext: str) -> Iterator[str]:
    """Yield names of closed outermost templates, not by the parser: it can crash."""
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


# --- plain text -----------------------------------------------------------------------------------


def sections_from_wikitext(
    wikitext: str,
    *,
    file_namespaces: Iterable[str] = FILE_NAMESPACES,
    category_namespaces: Iterable[str] = CATEGORY_NAMESPACES,
) -> list[Section]:
    """Clean one revision's wikitext into plain-text sections, in page order.

    References, files, tables, comments, categories and templates are dropped; the text of a few
    inline templates ({{lang}}, {{nowrap}}, {{convert}} …) is kept.
    """
    dropped_links = {name.casefold() for name in (*file_namespaces, *category_namespaces)}
    outline = Outline()
    skip_below: int | None = None  # level of a boilerplate heading whose subsections go too
    text: list[str] = []
    for node in mwparserfromhell.parse(wikitext, skip_style_tags=False).nodes:
        if isinstance(node, Heading):
            outline.add(_without_list_marks("".join(text)))
            text = []
            title = outline.heading(node.level, _plain_all(node.title, dropped_links))
            if skip_below is not None and node.level <= skip_below:
                skip_below = None
            if skip_below is None and title.casefold() in BOILERPLATE_SECTIONS:
                skip_below = node.level
        elif skip_below is None:
            text.append(_plain(node, dropped_links))
    outline.add(_without_list_marks("".join(text)))
    return outline.sections()


def _plain(node: object, dropped_links: set[str]) -> str:
    """Return the plain text of one node; "" for everything that is not prose."""
    if isinstance(node, Text):
        return str(node.value)
    if isinstance(node, HTMLEntity):
        return str(node.normalize() or "")
    if isinstance(node, Wikilink):
        return _plain_link(node, dropped_links)
    if isinstance(node, ExternalLink):
        return _plain_all(node.title, dropped_links)
    if isinstance(node, Template):
        return _plain_template(node, dropped_links)
    if isinstance(node, Tag):
        return _plain_tag(node, dropped_links)
    if isinstance(node, Heading):
        return f"\n{_plain_all(node.title, dropped_links)}\n"
    return ""  # comments, arguments


def _plain_all(code: Wikicode | None, dropped_links: set[str]) -> str:
    return "" if code is None else "".join(_plain(node, dropped_links) for node in code.nodes)


def _plain_link(link: Wikilink, dropped_links: set[str]) -> str:
    target = str(link.title).strip()
    namespace, colon, rest = target.partition(":")
    # [[File:…]]; [[:File:…]] is a visible link
    if colon and namespace.strip().casefold() in dropped_links:
        return ""
    if link.text is not None:
        return _plain_all(link.text, dropped_links)
    if re.fullmatch(r"[a-z]{2,3}(?:-[a-z]+)?", namespace) and colon and rest:  # another language
        return ""
    return target.lstrip(":")


def _plain_tag(tag: Tag, dropped_links: set[str]) -> str:
    name = str(tag.tag).strip().casefold()
    if name in DROPPED_TAGS:
        return ""
    if name in {"br", "hr", "p", "div", "blockquote", "poem", "li"}:
        return f"\n{_plain_all(tag.contents, dropped_links)}\n"
    if tag.wiki_markup in {"*", "#", ":", ";"}:
        return f"\n{tag.wiki_markup} "  # stripped, with the line break kept, from the whole section
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
        return "".join(values[int(kind) - 1 : int(kind)])
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
    """Return the positional parameters, also those written "1=…" or "text=…"."""
    values: dict[int, str] = {}
    for parameter in template.params:
        name = "1" if str(parameter.name).strip() == "text" else str(parameter.name).strip()
        if name.isascii() and name.isdigit() and len(name) < 5:
            values[int(name)] = _plain_all(parameter.value, dropped_links).strip()
    return [values[position] for position in sorted(values)]


def _without_list_marks(text: str) -> str:
    return re.sub(r"(?m)^[ \t]*[*#:;][*#:; \t]*", "", text)
