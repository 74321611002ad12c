"""Read the user's folder of .txt, .md, .html and .pdf files into titled sections.

Markdown is parsed by markdown-it-py, HTML by Beautiful Soup, PDF by pypdf; they are imported only
when such a file is met, in the process of ``parser_process``.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from evidence.parser_process import ParserError, parse_document
from evidence.sections import Section, sections_from_html, tidy

logger = logging.getLogger(__name__)

# A file larger than this is no document an analyst wrote (bytes).
MAX_DOCUMENT_BYTES: Final = 50_000_000


class DocumentError(Exception):
    """A folder or file that cannot be used; the message is one line for the user."""


@dataclass(frozen=True)
class Document:
    """One file of the folder.

    ``title`` is its path from the folder's name on, ``timestamp`` its modification time (UTC, Z).
    """

    path: Path
    title: str
    timestamp: str
    sha256: str

    def sections(self) -> list[Section]:
        """Parse the file in another process.

        Raises:
            DocumentError: it cannot be read as what its name says, or not within the limits.
        """
        try:
            return [Section(*section) for section in parse_document(self.path)]
        except ParserError as error:
            raise DocumentError(f"{self.title}: {error}") from error


def check_folder(folder: str | Path) -> Path:
    """Return the folder as a path; raises DocumentError if it holds no document."""
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise DocumentError(f"--documents {folder}: there is no such folder")
    if not _is_text(str(path.resolve())):
        raise DocumentError(f"--documents {folder}: its name is not UTF-8; rename it")
    if all(problem for _, problem in _files(path.resolve())):
        raise DocumentError(f"--documents {folder}: holds no {', '.join(READERS)} file")
    return path


def find_documents(folder: str | Path) -> Iterator[Document]:
    """Yield the documents of a folder and its subfolders, by name.

    Hidden files and links out of the folder are left out. What cannot be opened, is too large or
    has no name in UTF-8 is logged and left out. Raises DocumentError as ``check_folder``.
    """
    root = check_folder(folder).resolve()
    for path, problem in _files(root):
        title = f"{root.name}/{path.relative_to(root).as_posix()}"
        try:
            if problem is None:
                yield _document(path, title)
        except OSError as error:
            problem = error.strerror or type(error).__name__
        except (OverflowError, ValueError) as error:
            problem = f"its time of modification is no date: {error}"
        if problem is not None:
            logger.warning("%s: left out (%s)", title, problem)


def _document(path: Path, title: str) -> Document:
    status = path.stat()
    if status.st_size > MAX_DOCUMENT_BYTES:
        raise OSError(errno.EFBIG, f"larger than {MAX_DOCUMENT_BYTES // 1_000_000} MB")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    modified = datetime.fromtimestamp(status.st_mtime, UTC).isoformat(timespec="seconds")
    return Document(path, title, modified.replace("+00:00", "Z"), digest)


def _is_text(name: str) -> bool:
    """Tell whether a file's name is UTF-8: what is not comes as halves of characters."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _files(root: Path) -> list[tuple[Path, str | None]]:
    """List files that look like documents, each with a reason to leave it out."""
    found: list[tuple[Path, str | None]] = []

    def unreadable(error: OSError) -> None:
        found.append((Path(error.filename), error.strerror))

    for place, folders, names in os.walk(root, onerror=unreadable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(place, name) for name in names if not name.startswith(".")):
            if path.suffix.casefold() in READERS and _is_own_file(path, root):
                problem = None if _is_text(str(path)) else "its name is not UTF-8; rename it"
                found.append((path, problem))
    return sorted(found, key=lambda item: item[0])


def _is_own_file(path: Path, root: Path) -> bool:
    """Tell a file of the folder from devices and links out of it or in a circle."""
    try:
        return path.is_file() and path.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # a circle of links, or no right to look
        return False


# --- readers, in the parser's process -------------------------------------------------------------


def read_sections(path: Path) -> list[Section]:
    """Read one file in this process; raises DocumentError, or what its parser raises."""
    return READERS[path.suffix.casefold()](path)


def read_text(path: Path) -> str:
    """Read a text file as UTF-8, UTF-16 (by its mark) or else Windows-1252.

    Raises DocumentError when it holds zero bytes, as binary files do.
    """
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    if b"\x00" in data:
        raise DocumentError("not a text file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _read_plain(path: Path) -> list[Section]:
    text = tidy(read_text(path))
    return [Section("", text)] if text else []


def _read_html(path: Path) -> list[Section]:
    return sections_from_html(read_text(path))


def _read_markdown(path: Path) -> list[Section]:
    """Render to HTML first: links, tables and lists become text by the same rules."""
    from markdown_it import MarkdownIt

    text = read_text(path)
    if text.startswith("---\n"):  # front matter
        end = text.find("\n---\n", 4)
        text = text[end + 5 :] if end >= 0 else text
    return sections_from_html(MarkdownIt("commonmark").enable("table").render(text))


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
