"""A loopback HTTP server that answers from a script, for tests of the wiki client's manners and of what it survives."""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.support.loopback_server import LoopbackServer, QuietHandler


class Clock:
    """Time that passes only by sleeping, so that waiting is measured and costs nothing."""

    def __init__(self) -> None:
        self.time = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds


class WikiServer(LoopbackServer):
    """Each request takes the next step of ``script``; the last step answers all further ones.

    A step is a JSON-able object, bytes (sent as they are), or a function of the handler that writes the answer itself.
    ``requests`` holds (path, parameters, headers) of everything that came in.
    """

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.requests: list[tuple[str, dict[str, str], dict[str, str]]] = []
        self.together = 0
        self.most_together = 0
        lock = threading.Lock()
        outer = self

        class Handler(QuietHandler):
            def do_GET(self) -> None:
                with lock:
                    outer.together += 1
                    outer.most_together = max(outer.most_together, outer.together)
                    parts = urlsplit(self.path)
                    outer.requests.append(
                        (parts.path, dict(parse_qsl(parts.query)), dict(self.headers))
                    )
                    step = outer.script.pop(0) if len(outer.script) > 1 else outer.script[0]
                try:
                    if callable(step):
                        step(self)
                    else:
                        answer(step)(self)
                except OSError:
                    pass  # the client has gone
                finally:
                    with lock:
                        outer.together -= 1

        super().__init__(Handler)


def answer(
    content: Any, *, status: int = 200, headers: dict[str, str] | None = None, zipped: bool = False
) -> Callable[[BaseHTTPRequestHandler], None]:
    """A step that sends JSON (or bytes), with a status and headers."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()

    def send(handler: BaseHTTPRequestHandler) -> None:
        data = gzip.compress(body) if zipped else body
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        if zipped:
            handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return send


def truncated(content: Any) -> Callable[[BaseHTTPRequestHandler], None]:
    """A step with good headers whose body breaks off half-way."""
    body = json.dumps(content).encode()

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: len(body) // 2])
        handler.close_connection = True

    return send


class SmallWiki(WikiServer):
    """A wiki of a few pages that may change while it serves.

    ``pages`` maps a title to its revisions (timestamp, text), oldest first; a revision's id is its place from 1 with the title.
    A search finds the pages whose newest text holds any of its words.
    """

    def __init__(self, pages: dict[str, list[tuple[str, str]]]) -> None:
        super().__init__(self.serve)
        self.pages = pages

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        _, asked, _ = self.requests[-1]
        found: list[dict[str, Any]] = []
        if asked.get("generator") == "search":
            words = set(asked["gsrsearch"].casefold().split())
            for title, revisions in self.pages.items():
                if words & set(re.findall(r"\w+", revisions[-1][1].casefold())):
                    found.append(self._page(title, {}) | {"index": len(found) + 1})
        elif "titles" in asked:
            found = [self._page(asked["titles"], asked)]
        return answer({"query": {"pages": found}, "batchcomplete": True})(handler)

    def _page(self, title: str, asked: dict[str, str]) -> dict[str, Any]:
        if title not in self.pages:
            return {"title": title, "missing": True}
        revisions = [
            {"revid": f"{title} {number}", "timestamp": timestamp}
            | (
                {"slots": {"main": {"content": text}}}
                if "content" in asked.get("rvprop", "")
                else {}
            )
            for number, (timestamp, text) in enumerate(self.pages[title], start=1)
            if timestamp <= asked.get("rvstart", "9999")
        ]
        return {"title": title, "revisions": revisions[-1:]}

    def asked_for(self, *, text: bool) -> list[str]:
        """Titles of the articles asked for one by one: with their text, or for their newest revision's id alone."""
        asked = [parameters for _, parameters, _ in self.requests if "titles" in parameters]
        return [one["titles"] for one in asked if ("content" in one["rvprop"]) == text]
