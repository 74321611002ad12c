"""Say in one line why S3 refused, fell silent or broke off, and what to do."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from terminal.redaction import redact


class StoreError(Exception):
    """A file or listing cannot be read; one line: address, cause, remedy."""


@dataclass(frozen=True)
class Access:
    """One kind of request to S3, and the permission (``action``) it needs.

    It is given up after ``read_seconds`` without a byte, and tried ``attempts`` times.
    """

    address: str
    action: str
    read_seconds: float = 0
    attempts: int = 0

    @property
    def values(self) -> dict[str, Any]:
        """What the texts below may name."""
        bucket, _, prefix = self.address.removeprefix("s3://").partition("/")
        whole = self.action == "s3:ListBucket"
        return {
            "action": self.action,
            "resource": f"arn:aws:s3:::{bucket}" + ("" if whole else f"/{prefix}/*"),
            "bucket": repr(bucket),
            "seconds": self.read_seconds,
            "attempts": self.attempts,
            "endpoint": _endpoint(),
        }


def _endpoint() -> str:
    endpoint = os.environ.get("RUNAI_STREAMER_S3_ENDPOINT") or os.environ.get("AWS_ENDPOINT_URL")
    return f"the endpoint {redact(endpoint)}" if endpoint else "Amazon S3"


# Error codes: Amazon S3 API reference, "Error responses".
REFUSALS: Final = (
    (
        ("NoSuchBucket",),
        "there is no bucket {bucket}; correct its name, the region or AWS_ENDPOINT_URL",
    ),
    (("NoSuchKey", "404", "NotFound"), "the object is gone; upload it again"),
    (
        (
            "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "AuthFailure",
            "InvalidClientTokenId",
        ),
        "S3 does not accept the credentials ({code}); correct AWS_ACCESS_KEY_ID and"
        " AWS_SECRET_ACCESS_KEY, or the role",
    ),
    (
        ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"),
        "the credentials have expired ({code}); renew the session token",
    ),
    (
        ("RequestTimeTooSkewed",),
        "this machine's clock is wrong (RequestTimeTooSkewed); set it, for example with chrony",
    ),
    (
        (
            "PermanentRedirect", "AuthorizationHeaderMalformed", "301",
            "IllegalLocationConstraintException",
        ),
        "the bucket is in another region ({code}); set AWS_REGION to {region}",
    ),
)  # fmt: skip
KMS: Final = "the object's KMS key may not be used ({code}); allow kms:Decrypt on it"
DENIED: Final = ("AccessDenied", "403", "Forbidden", "AllAccessDisabled")
DENIED_LISTING: Final = (
    "access is denied ({code}); allow {action} on {resource}, or correct the bucket's name"
)
DENIED_OBJECT: Final = (
    "access is denied ({code}); allow {action} on {resource}, and kms:Decrypt where the bucket is"
    " encrypted with KMS"
)
BUSY: Final = ("SlowDown", "InternalError", "ServiceUnavailable")
BUSY_TEXT: Final = (
    "S3 answered {status} {code} {attempts} times; try again later, or lower"
    " VLLM_CONFIG['model_loader_extra_config']['concurrency']"
)
OTHER_REFUSAL: Final = "S3 refused with {status} {code}; check {action} on {resource}"

NO_CREDENTIALS: Final = (
    "no AWS credentials were found; attach an instance role, or set AWS_ACCESS_KEY_ID and"
    " AWS_SECRET_ACCESS_KEY"
)
UNREACHABLE: Final = (
    "{endpoint} cannot be reached; check AWS_ENDPOINT_URL, AWS_REGION, the VPC endpoint and the"
    " route to it"
)
SILENT: Final = (
    "{endpoint} did not answer within {seconds} s; check the VPC endpoint and security groups, and"
    " try again"
)
BROKEN_OFF: Final = "{endpoint} broke off its answer ({kind}); try again, or check the endpoint"


@contextlib.contextmanager
def store_errors(access: Access, address: str) -> Iterator[None]:
    """Turn what boto3 raises into a ``StoreError`` without signed addresses."""
    try:
        yield
    except Exception as error:
        text = _text(error, access)
        if text is None:
            raise
        raise StoreError(f"{address}: {text}") from error


def _text(error: Exception, access: Access) -> str | None:
    import botocore.exceptions as failures

    if isinstance(error, failures.ClientError):
        return _refusal(error.response, access)
    for kinds, text in (
        ((failures.NoCredentialsError, failures.PartialCredentialsError), NO_CREDENTIALS),
        (
            (
                failures.EndpointConnectionError,
                failures.ConnectTimeoutError,
                failures.SSLError,
            ),
            UNREACHABLE,
        ),
        ((failures.ReadTimeoutError,), SILENT),
        (
            (
                failures.HTTPClientError,
                failures.ResponseStreamingError,
                failures.IncompleteReadError,
            ),
            BROKEN_OFF,
        ),
    ):
        if isinstance(error, kinds):
            return text.format(kind=type(error).__name__, **access.values)
    if isinstance(error, failures.BotoCoreError | ValueError):
        words = redact(" ".join(str(error).split()))[:200]
        return f"{words}; correct the AWS_ variables or ~/.aws/config"
    return None


def _refusal(response: Mapping[str, Any], access: Access) -> str:
    """Say what an error answer of S3 means."""
    meta = response.get("ResponseMetadata", {})
    error = response.get("Error", {})
    code, status = str(error.get("Code", "")), meta.get("HTTPStatusCode", 0)
    known = [text for codes, text in REFUSALS if code in codes]
    if known:
        text = known[0]
    elif "kms" in code.lower():
        text = KMS
    elif code in DENIED:
        text = DENIED_LISTING if access.action == "s3:ListBucket" else DENIED_OBJECT
    else:
        text = BUSY_TEXT if status in (500, 502, 503, 504) or code in BUSY else OTHER_REFUSAL
    region = error.get("Region") or meta.get("HTTPHeaders", {}).get("x-amz-bucket-region")
    return text.format(
        code=code, status=status, region=region or "the bucket's region", **access.values
    )


# What the streamer prints where it fails (RUNAI_STREAMER_LOG_TO_STDERR), the most telling first.
STREAM_ERRORS: Final = (
    (
        r"Corrupted File|returned \d+ bytes, expected \d+|http_status=416",
        "is no longer what was inspected; upload it again, and leave it alone during a run",
    ),
    (
        r"SLOW_DOWN|http_status=5\d\d",
        "S3 is too busy; try again later, or lower"
        " VLLM_CONFIG['model_loader_extra_config']['concurrency']",
    ),
    (
        r"http_status=403",
        "access is denied (403); allow {action} on {resource}, and kms:Decrypt where it is"
        " encrypted with KMS",
    ),
    (r"http_status=404", "the object is gone; upload it again"),
    (
        r"http_status=400",
        "S3 refused with 400, as it does when a session token has expired; renew the credentials",
    ),
    (r"http_status=-1", "{endpoint} broke off its answer; try again, or check the endpoint"),
)
STREAMED_FILE: Final = re.compile(r"(?:Failed to read from file|in) s3://\S+/([^/\s]+)")


def streaming_failure(path: str, printed: Iterable[str]) -> str | None:
    """Explain a load from S3 that failed; None if S3 had no part in it.

    The streamer raises no reasons: they are in what the engine's processes ``printed``.
    """
    access = Access(path.rstrip("/"), "s3:GetObject")
    text = "\n".join(printed)
    for pattern, meaning in STREAM_ERRORS:
        if re.search(pattern, text):
            file = STREAMED_FILE.search(text)
            where = f"{access.address}/{file[1]}" if file else access.address
            return f"{where}: {meaning.format(**access.values)}"
    return None
