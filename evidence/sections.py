"""Collect plain text under headings, tidy it, read HTML into such sections."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from questions.characters import INVISIBLE, LINE_BREAK, nfc

# A heading is cut after so many characters: it is stored with each passage below it.
MAX_HEADING_CHARACTERS: Final = 200


class Section(NamedTuple):
    """Plain text under its heading path ("History – Early years"; "" for the lead)."""

    title: str
    text: str


class Outline:
    """Collect text as it comes, under the path of the headings above it."""

    def __init__(self) -> None:
        self._path: list[tuple[int, str]] = []
        self._sections: list[tuple[str, list[str]]] = [("", [])]

    def heading(self, level: int, text: str) -> str:
        """Begin a section below the headings of a smaller ``level``; return its own title."""
        title = tidy(text)[:MAX_HEADING_CHARACTERS].rstrip()
        self._path = [*((n, name) for n, name in self._path if n < level), (level, title)]
        self._sections.append((" – ".join(name for _, name in self._path if name), []))
        return title

    def add(self, text: str) -> None:
        """Append text to the section begun last."""
        self._sections[-1][1].append(text)

    def sections(self) -> list[Section]:
        """Return the sections that hold text, in order."""
        tidied = [Section(title, tidy("".join(parts))) for title, parts in self._sections]
        return [section for section in tidied if section.text]


# Joiners and variation selectors stay: they shape Persian and Hindi words and emoji.
_SHOWS_NOTHING = re.compile(rf"(?![\u200c\u200d\ufe00-\ufe0f\U000e0020-\U000e007f])[{INVISIBLE}]")


def tidy(text: str) -> str:
    """Normalise Unicode (NFC) and whitespace, drop invisible characters.

    Single spaces, at most one empty line, no space before punctuation or in empty brackets.
    """
    text = LINE_BREAK.sub("\n", text.replace("\u00a0", " "))
    text = nfc(_SHOWS_NOTHING.sub("", text))
    text = re.sub(r"__[A-Z]{4,}+__", "", text)
    text = re.sub(r"\(\s*+(?:[,;:]\s*+)?\)", "", text)  # "( )" left where a template was
    text = re.sub(r"\(\s*+[,;]\s*+", "(", text)
    text = re.sub(r"[ \t]+", " ", text)
    text = re.sub(r" ([,.;:)\]])", r"\1", text)
    text = re.sub(r" ?\n ?", "\n", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


# --- HTML -----------------------------------------------------------------------------------------

_HTML_DROPPED = (
    "script", "style", "noscript", "template", "nav", "footer", "aside", "input", "select",
    "textarea", "button", "svg", "iframe",
)  # fmt: skip
_HTML_BLOCKS = frozenset(
    {
        "p", "div", "li", "ul", "ol", "dl", "dt", "dd", "tr", "table", "section", "article", "main",
        "header", "br", "hr", "blockquote", "pre", "figure", "figcaption", "td", "th",
    }
)  # fmt: skip
# Declarations that html.parser knows; any other "<![" ends it with an exception.
_UNKNOWN_DECLARATION = re.compile(
    r"<!(?=\[)(?!\[\s*+(?:cdata|temp|ignore|include|rcdata|if|else|endif)\b)", re.IGNORECASE
)


def sections_from_html(html: str) -> list[Section]:
    """Clean an HTML page or fragment into sections, one for each of its h1…h6.

    Scripts, styles, navigation and form controls are dropped.
    """
    from bs4 import BeautifulSoup
    from bs4.element import NavigableString, PreformattedString, Tag

    # Halves of characters, which a decoder of foreign bytes can leave, would end the parser.
    html = html.encode("utf-8", "replace").decode()
    soup = BeautifulSoup(_UNKNOWN_DECLARATION.sub("&lt;!", html), "html.parser")
    # A head need not be closed, and then holds the page.
    titles = soup.head("title") if soup.head else []
    for element in [*titles, *soup(list(_HTML_DROPPED))]:
        element.decompose()
    outline = Outline()
    pending: list[object] = [soup]  # a stack of its own: pages nest deeper than Python recurses
    while pending:
        node = pending.pop()
        if isinstance(node, Tag):
            name = node.name.casefold()
            if re.fullmatch(r"h[1-6]", name):
                outline.heading(int(name[1]), node.get_text(" "))
                continue
            edge = ["\n"] if name in _HTML_BLOCKS else []
            pending += [*edge, *reversed(node.contents), *edge]
        elif not isinstance(node, NavigableString):
            outline.add(str(node))
        elif not isinstance(node, PreformattedString):  # comments, doctypes, CDATA
            outline.add(re.sub(r"\s+", " ", str(node)))
    return outline.sections()


def plain_text_from_html(html: str) -> str:
    """Return the text of an HTML fragment, headings included as lines."""
    if "<" not in html and "&" not in html:
        return tidy(html)
    return "\n".join("\n".join(filter(None, section)) for section in sections_from_html(html))
