"""Read servers' addresses without their secrets, and what a busy server asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
# Answers to a request that may succeed later.
RETRIED_STATUS: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class WebAddress:
    """An http address without its credentials, which are in ``auth``."""

    url: str
    auth: tuple[str, str] | None = field(default=None, repr=False)


def web_address(text: str) -> WebAddress:
    """Split an address (RFC 3986, 3.2); user and password may be percent-encoded.

    Raises:
        ValueError: it is no http or https address, or an @, a / or a ? of a password is not
            percent-encoded.
    """
    if re.search(r"[^\x21-\x7e]", text):
        raise ValueError("holds spaces or other characters that no address has")
    parts = urlsplit(text)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise ValueError("is no http or https address")
    port = parts.port  # raises ValueError itself
    if "@" in parts.path + parts.query + parts.fragment or parts.netloc.count("@") > 1:
        raise ValueError("holds a second @, or one behind a / or ?")
    auth = None
    if "@" in parts.netloc:
        auth = unquote(parts.username or ""), unquote(parts.password or "")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    netloc = host if port is None else f"{host}:{port}"
    return WebAddress(urlunsplit(parts._replace(netloc=netloc)), auth)


def same_server(url: str, other: str) -> bool:
    """Return whether two addresses are of one server, or of its https twin.

    https to http does not: passwords would be sent unencrypted.
    """
    try:
        first, second = urlsplit(url), urlsplit(other)
    except ValueError:
        return False
    if second.scheme not in DEFAULT_PORTS or first.hostname != second.hostname:
        return False
    ports = _port(first), _port(second)
    upgraded = (first.scheme, second.scheme) == ("http", "https")
    return (first.scheme == second.scheme and ports[0] == ports[1]) or (
        upgraded and ports == (80, 443)
    )


def _port(parts: SplitResult) -> int | None:
    try:
        return parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Return the seconds of a Retry-After header, None if it cannot be read.

    A number of seconds or an HTTP date. Source: RFC 9110, section 10.2.3.
    """
    value = (value or "").strip()
    if re.fullmatch(r"\d{1,9}(?:\.\d+)?", value):
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except (TypeError, ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
