"""A HTTP server on loopback in a thread of its own: what the stand-ins for a wiki and for a store share."""

from __future__ import annotations

import sys
import threading
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any, Self


class QuietHandler(BaseHTTPRequestHandler):
    """Keeps connections open, and writes nothing to the screen of the tests."""

    protocol_version = "HTTP/1.1"
    # Headers and body are two writes: without this the client's delayed acknowledgement costs 40 ms.
    disable_nagle_algorithm = True

    def log_message(self, *_: object) -> None:
        """Keep the tests quiet."""


class Server(ThreadingTCPServer):
    """Says nothing of a client that has gone in the middle of an answer."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """As its base, where the fault is not the client's."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class LoopbackServer:
    """Serves while it is entered; ``released`` is set at the end, for handlers that wait on purpose."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self.released = threading.Event()
        # Not http.server's own class: it looks up the host's name in the DNS, a second each time.
        self.server = Server(("127.0.0.1", 0), handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
