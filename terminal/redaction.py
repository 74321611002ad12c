"""Replace secrets in text that leaves the process: logs, screens, errors, rows."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, unquote

REDACTED: Final = "***"
# Environment variables whose values are secret: HF_TOKEN, AWS_SECRET_ACCESS_KEY, OPENAI_API_KEY …
SECRET_VARIABLE: Final = re.compile(
    r"(?:^|_)(?:TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY(?:_ID)?|SECRET_KEY|PRIVATE_KEY"
    r"|CREDENTIALS)$",
    re.IGNORECASE,
)
# Characters. A shorter value is no real secret, and replacing it would damage ordinary words.
MIN_SECRET_LENGTH: Final = 8
# An address that begins with user and password, or with a token alone: a proxy, store or mirror.
_ADDRESS: Final = re.compile(r"\A[a-z][a-z0-9+.-]{1,20}://([^\s/@:]*)(?::(\S*))?@", re.IGNORECASE)
# Clients take a proxy's address without its scheme too.
_PROXY: Final = re.compile(
    r"\A(?:[a-z][a-z0-9+.-]{1,20}://)?([^\s/@:]*)(?::(\S*))?@", re.IGNORECASE
)
# Each match is replaced, except for its group: what stays before the secret.
_PATTERNS: Final = tuple(
    re.compile(pattern)
    for pattern in (
        # Hugging Face tokens; a name such as hf_transformers has neither digit nor capital.
        r"\b()hf_(?:(?=[a-z]*[A-Z0-9])[A-Za-z0-9]{8,}|[a-z]{24,})",
        # AWS access key ids: long-lived (AKIA) and temporary (ASIA).
        r"(?<![A-Za-z0-9])()(?:AKIA|ASIA)[A-Z0-9]{12,}",
        # Signed URLs: AWS signature versions 4 and 2, CloudFront, Azure; also in a header.
        r"(?i)\b((?:X-Amz-(?:Signature|Credential|Security-Token)|Signature|Credential"
        r"|AWSAccessKeyId|Key-Pair-Id)[\"']?\s*[=:]\s*[\"']?)[^\s&\"'<>,;]+",
        r"(?i)([?&](?:sig|policy|token|access_token|api_key|key)=)[^\s&\"'<>]+",
        r"(?i)((?:proxy-)?authorization[\"']?\s*[=:]\s*[\"']?)"
        r"(?:(?:bearer|basic|token|digest)\s+)?[^\s\"',]+",
        r"(?i)\b(bearer\s+)[A-Za-z0-9._~+/=-]{8,}",
        # Settings in dictionaries, INI files and commands.
        r"(?i)((?:secret_?access_?key|session_?token|security_?token|hf_token|hub_token|api_?key"
        r"|password)[\"']?\s*[=:]\s*[\"']?)[^\s\"',;&]{4,}",
        # https://user:password@host
        r"(?i)(\b[a-z][a-z0-9+.-]{1,20}://)[^\s/?#\"'<>]+(?=@)",
        # The same with a slash in a password that is not percent-encoded; host:8080/ is none.
        r"(?i)(\b[a-z][a-z0-9+.-]{1,20}://)[^\s/?#:@\"'<>]{1,100}:(?!\d{1,5}(?:[/?#]|$))"
        r"[^\s@\"'<>]{1,200}(?=@)",
    )
)

_known_secrets: set[str] = set()


def keep_secret(*values: str) -> None:
    """Have ``redact`` replace these values too, if they are long enough."""
    _known_secrets.update(value for value in values if len(value) >= MIN_SECRET_LENGTH)


def redact(text: str) -> str:
    """Return ``text`` with every secret replaced by ``***``.

    Secrets are the current values of environment variables such as ``HF_TOKEN`` and
    ``AWS_SECRET_ACCESS_KEY``, Hugging Face tokens, AWS key ids, signatures of signed URLs,
    passwords in URLs, ``Authorization`` headers and what ``keep_secret`` was given.
    """
    # Longest first: a secret that contains another is replaced whole.
    for value in sorted(set(_secret_values()), key=len, reverse=True):
        text = text.replace(value, REDACTED)
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\1{REDACTED}", text)
    return text


def redacted(document: Any) -> Any:
    """Return a JSON document with every secret in its texts replaced."""
    if isinstance(document, Mapping):
        return {name: redacted(value) for name, value in document.items()}
    if isinstance(document, list | tuple):
        return [redacted(value) for value in document]
    return redact(document) if isinstance(document, str) else document


def _secret_values() -> Iterator[str]:
    """List the environment's and the known secrets, plain and as inside a URL."""
    found = set(_known_secrets)
    for name, value in os.environ.items():
        address = _PROXY if name.upper().endswith("_PROXY") else _ADDRESS
        if SECRET_VARIABLE.search(name):
            found.add(value)
        elif match := address.match(value):
            user, password = match[1], match[2] or ""
            found |= {password, unquote(password)} if password else {user, unquote(user)}
            found.add(base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode())
    for value in found:
        if len(value) >= MIN_SECRET_LENGTH:
            yield value
            yield quote(value, safe="")
