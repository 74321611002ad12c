"""Read .txt, .md, .html and .pdf files into titled sections, in the parser child.

Markdown is parsed by markdown-it-py, HTML by Beautiful Soup, PDF by pypdf; they are imported only
when such a file is met.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from evidence.sections import Section, sections_from_html, tidy

# Pages are written in the wider encoding than they declare (WHATWG Encoding Standard, labels).
WIDER_ENCODINGS: Final[Mapping[str, str]] = {
    "iso-8859-1": "cp1252", "ascii": "cp1252", "us-ascii": "cp1252", "iso-8859-9": "cp1254",
    "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "x-sjis": "cp932",
    "euc-kr": "cp949", "ks_c_5601-1987": "cp949",
}  # fmt: skip
# Most of a text in Windows-1252 is ASCII: in French one letter in twenty is not. In Russian, Greek,
# Japanese or Chinese encodings it is the other way round.
MAX_BEYOND_ASCII: Final = 0.3
_ASCII: Final = bytes(range(0x80))
_SPACE: Final = b" \t\r\n"
# A line of YAML: "key: value", a list's entry, a comment, or what is set in below a key.
_YAML: Final = re.compile(r"[\w\"'][^:]*:(?:\s.*)?|[\s#-].*|", re.DOTALL)


class DocumentError(Exception):
    """A folder or file that cannot be used; the message is one line for the user."""


def read_sections(path: Path) -> list[Section]:
    """Read one file in this process; raises DocumentError, or what its parser raises."""
    return READERS[path.suffix.casefold()](path)


def read_text(path: Path, declared: Callable[[bytes], str | None] = lambda _: None) -> str:
    """Read a text file as UTF-8, UTF-16 (by its mark) or else Windows-1252.

    What is no UTF-8 is read in its ``declared`` encoding where that names one. Raises DocumentError
    when it holds zero bytes, as binary files do, or is written in no Latin alphabet's encoding.
    """
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    if b"\x00" in data:
        raise DocumentError("not a text file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        if encoding := declared(data):
            return data.decode(encoding, errors="replace")
    if len(data.translate(None, _ASCII)) > MAX_BEYOND_ASCII * len(data.translate(None, _SPACE)):
        raise DocumentError("neither UTF-8 nor Windows-1252; save it as UTF-8")
    return data.decode("cp1252", errors="replace")


def _declared_encoding(page: bytes) -> str | None:
    """Return Python's name of a page's encoding, None for UTF-8 and unknown ones."""
    from bs4.dammit import EncodingDetector

    name = EncodingDetector.find_declared_encoding(page, is_html=True) or ""
    try:
        known = codecs.lookup(WIDER_ENCODINGS.get(name, name)).name
        b"x".decode(known, errors="ignore")
    except LookupError:  # also a codec that makes no text, such as "hex"
        return None
    return None if known in ("utf-8", "utf-8-sig") else known


def _read_plain(path: Path) -> list[Section]:
    text = tidy(read_text(path))
    return [Section("", text)] if text else []


def _read_html(path: Path) -> list[Section]:
    return sections_from_html(read_text(path, _declared_encoding))


def _read_markdown(path: Path) -> list[Section]:
    """Render to HTML first: links, tables and lists become text by the same rules."""
    from markdown_it import MarkdownIt

    text = read_text(path)
    text = _without_front_matter(text)
    return sections_from_html(MarkdownIt("commonmark").enable("table").render(text))


def _without_front_matter(text: str) -> str:
    """Cut off the YAML between two rules at the beginning; other text there stays."""
    lines = text.replace("\r\n", "\n").split("\n")
    if lines[0] != "---":
        return text
    for number, line in enumerate(lines[1:], 1):
        if line in ("---", "..."):
            return "\n".join(lines[number + 1 :])
        if not _YAML.fullmatch(line):
            break
    return text


def _read_pdf(path: Path) -> list[Section]:
    """Read one section a page ("page 3"); raises DocumentError without text (scans)."""
    from pypdf import PdfReader

    reader = PdfReader(path)
    if reader.is_encrypted and not reader.decrypt(""):
        raise DocumentError("protected by a password")
    texts = [_pdf_text(page.extract_text()) for page in reader.pages]
    pages = [Section(f"page {number}", text) for number, text in enumerate(texts, 1) if text]
    if not pages:
        raise DocumentError("holds no text (scanned pages need text recognition first)")
    return pages


def _pdf_text(text: str) -> str:
    """Join the lines of a page into paragraphs, and words hyphenated at a line's end."""
    joined: list[str] = []
    for line in map(str.strip, text.splitlines()):
        last = joined[-1] if joined else ""
        if last.endswith("-") and line[:1].islower():
            joined[-1] = last[:-1]
        elif line and last and last != "\n\n":
            joined.append(" ")
        joined.append(line or "\n\n")
    return tidy("".join(joined))


READERS: Final[dict[str, Callable[[Path], list[Section]]]] = {
    ".txt": _read_plain,
    ".md": _read_markdown,
    ".html": _read_html,
    ".htm": _read_html,
    ".pdf": _read_pdf,
}
