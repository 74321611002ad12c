"""An S3 endpoint on loopback that lists whatever a test tells it to: a store that is hostile, old or broken."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.support.loopback_server import LoopbackServer, QuietHandler
from tests.support.s3_server import use_s3

BUCKET = "models"


class ObjectStore(LoopbackServer):
    """Lists every key of ``objects`` (key → bytes), whatever prefix or delimiter is asked for, and sends it."""

    def __init__(self, objects: Mapping[str, bytes]) -> None:
        self.objects = dict(objects)
        self.read: list[str] = []
        outer = self

        class Handler(QuietHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                asked = parse_qs(parts.query, keep_blank_values=True)
                key = unquote(parts.path).removeprefix(f"/{BUCKET}").removeprefix("/")
                if "list-type" in asked:
                    return self.send(outer.listing().encode())
                outer.read.append(key)
                return self.send(outer.objects.get(key, b""), 200 if key in outer.objects else 404)

            do_HEAD = do_GET

            def send(self, body: bytes, status: int = 200) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        super().__init__(Handler)

    def listing(self) -> str:
        """A ListBucketResult (Amazon S3 API reference, ListObjectsV2)."""
        entries = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(content)}</Size><ETag>&quot;e&quot;</ETag></Contents>"
            for key, content in self.objects.items()
        )
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"

    def use(self, monkeypatch: Any, folder: Path) -> str:
        """Point boto3 and the streamer at this store; returns the address of the model below ``m``."""
        use_s3(monkeypatch, self.url, folder)
        return f"s3://{BUCKET}/m"
