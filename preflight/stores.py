"""List and read the files of a checkpoint in a local folder or on S3."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, Self

from preflight.store_errors import Access, StoreError, store_errors
from terminal.file_names import is_file_name

# Requests made at the same time.
CONCURRENCY: Final = 16


@dataclass(frozen=True)
class Limits:
    """How patiently a checkpoint is inspected: ``seconds`` for all of it.

    ``read_seconds`` are those without a byte, ``attempts`` the tries of one request.
    """

    connect_seconds: float
    read_seconds: float
    attempts: int
    seconds: float

    @classmethod
    def of(cls, settings: Any) -> Self:
        """Take them from the settings named as in config.py."""
        return cls(
            settings.S3_CONNECT_TIMEOUT_SECONDS,
            settings.S3_READ_TIMEOUT_SECONDS,
            settings.S3_MAX_ATTEMPTS,
            settings.CHECKPOINT_TIMEOUT_SECONDS,
        )


class Store(Protocol):
    """Where a checkpoint is kept."""

    @property
    def address(self) -> str:
        """Folder or ``s3://bucket/prefix``, as the user sees it."""
        ...

    @property
    def left_out(self) -> Sequence[str]:
        """Names of the last listing that are no plain file names."""
        ...

    def listing(self) -> dict[str, tuple[int, str]]:
        """Return every file at the top by name: bytes, and a text that changes with it."""
        ...

    def read(self, name: str, start: int, length: int) -> bytes:
        """Return at most ``length`` bytes of a file from ``start`` on."""
        ...


def open_store(path: str, limits: Limits) -> Store:
    """Return the store behind a local folder or an ``s3://`` address."""
    if path.startswith("s3://"):
        return S3Store(path, limits)
    return FolderStore(str(Path(path).expanduser()))


@dataclass(frozen=True)
class FolderStore:
    """A checkpoint in a local folder."""

    address: str
    left_out: tuple[str, ...] = ()

    def listing(self) -> dict[str, tuple[int, str]]:
        """Return bytes, inode and time of every file; raises ``StoreError``."""
        try:
            found = {p.name: p.stat() for p in Path(self.address).iterdir() if p.is_file()}
        except OSError as error:
            raise StoreError(
                f"{self.address}: cannot be read ({error.strerror}); correct the path or its rights"
            ) from error
        return {
            name: (stat.st_size, f"{stat.st_ino} {stat.st_mtime_ns}")
            for name, stat in found.items()
        }

    def read(self, name: str, start: int, length: int) -> bytes:
        """Return at most ``length`` bytes; raises ``StoreError``."""
        try:
            with (Path(self.address) / name).open("rb") as file:
                file.seek(start)
                return file.read(length)
        except OSError as error:
            raise StoreError(
                f"{self.address}/{name}: cannot be read ({error.strerror}); correct its rights"
            ) from error


class S3Store:
    """A checkpoint under ``s3://bucket/prefix``, read with boto3.

    Endpoint, region, keys and addressing style come from the environment variables of the Run:ai
    streamer, so that what passes here is what it will meet.
    """

    def __init__(self, address: str, limits: Limits) -> None:
        self.address = address.rstrip("/")
        self.limits = limits
        self.bucket, _, prefix = self.address.removeprefix("s3://").partition("/")
        self.prefix = f"{prefix}/"
        self.left_out: list[str] = []
        self._client: Any = None

    @property
    def client(self) -> Any:
        """The boto3 client, from a new session (the default one would keep old keys)."""
        if self._client is None:
            import boto3
            from botocore import UNSIGNED
            from botocore.config import Config

            options: dict[str, Any] = {
                "connect_timeout": self.limits.connect_seconds,
                "read_timeout": self.limits.read_seconds,
                "retries": {"total_max_attempts": self.limits.attempts, "mode": "standard"},
                "max_pool_connections": CONCURRENCY,
            }
            if os.environ.get("RUNAI_STREAMER_S3_USE_VIRTUAL_ADDRESSING", "1") == "0":
                options["s3"] = {"addressing_style": "path"}
            if os.environ.get("RUNAI_STREAMER_S3_UNSIGNED", "0") == "1":
                options["signature_version"] = UNSIGNED
            endpoint = os.environ.get("RUNAI_STREAMER_S3_ENDPOINT") or None
            self._client = boto3.session.Session().client(
                "s3", endpoint_url=endpoint, config=Config(**options)
            )
        return self._client

    def _access(self, action: str) -> Access:
        return Access(self.address, action, self.limits.read_seconds, self.limits.attempts)

    def listing(self) -> dict[str, tuple[int, str]]:
        """Return bytes and ETag of every object under the prefix; raises ``StoreError``.

        Only plain file names are taken, whatever the store lists. An object's ETag changes with
        its content (Amazon S3 API reference, "Object").
        """
        found: dict[str, tuple[int, str]] = {}
        left_out: list[str] = []
        with store_errors(self._access("s3:ListBucket"), self.address):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix, Delimiter="/"
            )
            for entry in (entry for page in pages for entry in page.get("Contents", ())):
                key = str(entry.get("Key", ""))
                name = key.removeprefix(self.prefix)
                if key.startswith(self.prefix) and is_file_name(name):
                    tag = str(entry.get("ETag", "")).strip('"')
                    found[name] = (int(entry.get("Size", 0)), tag)
                elif not key.endswith("/"):  # a marker of a folder
                    left_out.append(name)
        self.left_out = left_out
        return found

    def read(self, name: str, start: int, length: int) -> bytes:
        """Return at most ``length`` bytes of an object; raises ``StoreError``."""
        with store_errors(self._access("s3:GetObject"), f"{self.address}/{name}"):
            body = self.client.get_object(
                Bucket=self.bucket,
                Key=self.prefix + name,
                Range=f"bytes={start}-{start + length - 1}",
            )["Body"]
            # A store that ignores the range sends the whole object; an answer that broke off is
            # only noticed at its end.
            content: bytes = body.read(length)
            while len(content) < length and (more := body.read(length - len(content))):
                content += more
            return content
