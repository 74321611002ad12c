"""Judge file names from outside, and write files whole.

A store's listing, a question's id or a name in a shared folder must not decide where this program
writes: ``is_file_name`` says which names may become a path, ``write_whole`` never follows a link.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from terminal.text import visible_line

# Bytes of a name on the file systems of Linux (NAME_MAX, limits.h).
MAX_NAME_BYTES: Final = 255


def is_file_name(name: str) -> bool:
    """Return whether a name is one plain part: no drive, all visible, not too long."""
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        return False
    plain = name not in ("", ".", "..") and not any(mark in name for mark in "/\\:\n\t")
    return plain and length <= MAX_NAME_BYTES and visible_line(name) == name


@contextlib.contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Yield a new file that replaces ``target`` at the end, or goes on an error.

    It is in the same folder. Its name is random and must not exist yet, so that nobody can put a
    link in its place.

    Raises:
        OSError: the folder cannot be written, or ``target`` is a device, a pipe or a socket.
    """
    with contextlib.suppress(FileNotFoundError):
        mode = os.lstat(target).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode) or stat.S_ISDIR(mode)):
            raise OSError(errno.EINVAL, "not a regular file")
    draft = target.with_name(f".{target.name[:150]}.{secrets.token_hex(8)}.part")
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666))
    try:
        yield draft
        os.replace(draft, target)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def write_whole(target: Path, content: bytes) -> None:
    """Write a file whole or not at all; replace a link, never follow it.

    Raises:
        OSError: it cannot be written.
    """
    with new_file(target) as draft:
        draft.write_bytes(content)
