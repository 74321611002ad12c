"""Find the documents of the user's folder and read them into titled sections."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from evidence.parser_process import ParserError, parse_document
from evidence.readers import READERS, DocumentError
from evidence.sections import Section
from questions.cells import counted, listed

logger = logging.getLogger(__name__)

# A file larger than this is no document an analyst wrote (bytes).
MAX_DOCUMENT_BYTES: Final = 50_000_000
# Why a file is left out whose name ends otherwise: .docx, .xlsx, pictures.
OTHER_KIND: Final = f"no {', '.join(READERS)}"


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
            DocumentError: it cannot be read as what its name says, or not within the limits, or
                holds no text.
        """
        try:
            sections = [Section(*section) for section in parse_document(self.path)]
        except ParserError as error:
            raise DocumentError(f"{self.title}: {error}") from error
        if not sections:
            raise DocumentError(f"{self.title}: holds no text")
        return sections


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

    Hidden files and links out of the folder are left out. What cannot be opened, is too large, of
    another kind or has no name in UTF-8 is logged and left out. Raises DocumentError as
    ``check_folder``.
    """
    root = check_folder(folder).resolve()
    others = list[str]()
    for path, problem in _files(root):
        title = f"{root.name}/{path.relative_to(root).as_posix()}"
        if problem == OTHER_KIND:
            others.append(title)
            continue
        try:
            if problem is None:
                yield _document(path, title)
        except OSError as error:
            problem = error.strerror or type(error).__name__
        except (OverflowError, ValueError) as error:
            problem = f"its time of modification is no date: {error}"
        if problem is not None:
            logger.warning("%s: left out (%s)", title, problem)
    if others:
        files = counted(len(others), "file")
        logger.warning("%s left out (%s): %s", files, OTHER_KIND, listed(others))


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
            if not _is_own_file(path, root):
                continue
            problem = None if _is_text(str(path)) else "its name is not UTF-8; rename it"
            other = path.suffix.casefold() not in READERS
            found.append((path, OTHER_KIND if other else problem))
    return sorted(found, key=lambda item: item[0])


def _is_own_file(path: Path, root: Path) -> bool:
    """Tell a file of the folder from devices and links out of it or in a circle."""
    try:
        return path.is_file() and path.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # a circle of links, or no right to look
        return False
