"""Preflight of a checkpoint. A room of its own because no engine does it: the Run:ai streamer loads weights that lack tensors.

``inspect_checkpoint`` looks at a local folder or at ``s3://bucket/prefix`` before an engine starts: configuration,
tokenizer, index, every shard, each file's size against its safetensors header, and the tensors the architecture needs.
Nothing but headers and small files is read. Every problem is one line that names the address and the likely mend.
"""

from __future__ import annotations

import json
import operator
import os
import re
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from multiprocessing import TimeoutError as PoolTimeout
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import config
from logger import redact
from preflight.model_folders import is_local, not_a_model
from terminal.file_names import is_file_name

INDEX: Final = "model.safetensors.index.json"
# Any of them is a tokenizer; vocab.json needs merges.txt beside it.
TOKENIZER_FILES: Final = (
    "tokenizer.json", "tokenizer.model", "tekken.json", "spiece.model", "vocab.txt", "merges.txt", "tokenizer_config.json",
)  # fmt: skip
# Suffixes of the small files an engine reads beside the weights, and the largest of them in bytes
# (the tokenizer.json of Gemma 3 has 33 MB).
SMALL_SUFFIXES: Final = (".json", ".txt", ".model", ".jinja", ".py", ".tiktoken")
SMALL_FILE_BYTES: Final = 200_000_000
# Bytes read of each shard at first: the header of most shards; a longer one costs a second request.
HEADER_BYTES: Final = 65_536
# Bytes a header may have; the safetensors library's own limit.
MAX_HEADER_BYTES: Final = 100_000_000
# What torch.save writes.
PICKLED_SUFFIXES: Final = (".bin", ".pt", ".pth", ".ckpt")
# Requests made at the same time.
CONCURRENCY: Final = 16
# How the text begins that a clone without Git LFS has in place of a large file (git-lfs, docs/spec.md).
LFS_POINTER: Final = b"version https://git-lfs"
# What lies beside a quantized weight: scales, zero points, orders, shapes (vLLM, model_executor/layers/quantization).
BESIDE_WEIGHTS: Final = re.compile(r"scale|zero|g_idx|shape|bias|absmax|quant_map|quant_state")
# Names listed in one line before "and N more".
SHOWN: Final = 3

T = TypeVar("T")


class StoreError(Exception):
    """A file or a listing cannot be had; the message is one line that names the address and the mend."""


class Store(Protocol):
    """Where a checkpoint lies."""

    @property
    def address(self) -> str:
        """Folder or ``s3://bucket/prefix``, as it is shown to the user."""
        ...

    @property
    def left_out(self) -> Sequence[str]:
        """What the last listing named that is no plain file name: below a subfolder, or outside of the checkpoint."""
        ...

    def listing(self) -> dict[str, tuple[int, str]]:
        """Every file at the top of the checkpoint by name: its bytes, and a text that is another one once it was replaced."""
        ...

    def read(self, name: str, start: int, length: int) -> bytes:
        """At most ``length`` bytes of a file from ``start`` on."""
        ...


@dataclass(frozen=True)
class FolderStore:
    """A checkpoint in a local folder."""

    address: str
    left_out: tuple[str, ...] = ()

    def listing(self) -> dict[str, tuple[int, str]]:
        """Bytes, inode and time of every file; raises ``StoreError`` where the folder cannot be listed."""
        try:
            found = {p.name: p.stat() for p in Path(self.address).iterdir() if p.is_file()}
            return {
                name: (stat.st_size, f"{stat.st_ino} {stat.st_mtime_ns}")
                for name, stat in found.items()
            }
        except OSError as error:
            raise StoreError(
                f"{self.address}: cannot be read ({error.strerror}); correct the path or its rights"
            ) from error

    def read(self, name: str, start: int, length: int) -> bytes:
        """At most ``length`` bytes; raises ``StoreError``."""
        try:
            with (Path(self.address) / name).open("rb") as file:
                file.seek(start)
                return file.read(length)
        except OSError as error:
            raise StoreError(
                f"{self.address}/{name}: cannot be read ({error.strerror}); correct its rights"
            ) from error


class S3Store:
    """A checkpoint under ``s3://bucket/prefix``, read with boto3 under the timeouts of config.py.

    Endpoint, region, keys and addressing style are taken from the same environment variables as the
    Run:ai streamer's, so that what passes here is what it will meet.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self.bucket, _, prefix = self.address.removeprefix("s3://").partition("/")
        self.prefix = f"{prefix}/"
        self.left_out: list[str] = []
        self._client: Any = None

    @property
    def client(self) -> Any:
        """The boto3 client, made at first use from a session of its own (the default one would keep old keys)."""
        if self._client is None:
            import boto3
            from botocore import UNSIGNED
            from botocore.config import Config

            options: dict[str, Any] = {
                "connect_timeout": config.S3_CONNECT_TIMEOUT_SECONDS,
                "read_timeout": config.S3_READ_TIMEOUT_SECONDS,
                "retries": {"total_max_attempts": config.S3_MAX_ATTEMPTS, "mode": "standard"},
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

    def listing(self) -> dict[str, tuple[int, str]]:
        """Bytes and ETag by name, of every object directly under the prefix; raises ``StoreError``.

        Only plain file names are taken, whatever the store lists. An object's ETag changes with its content
        (Amazon S3 API reference, "Object").
        """
        found: dict[str, tuple[int, str]] = {}
        left_out: list[str] = []
        with _s3_errors(self, self.address, "s3:ListBucket", f"arn:aws:s3:::{self.bucket}"):
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix, Delimiter="/"
            )
            for page in pages:
                for entry in page.get("Contents", ()):
                    key = str(entry.get("Key", ""))
                    name = key.removeprefix(self.prefix)
                    if key.startswith(self.prefix) and is_file_name(name):
                        found[name] = (
                            int(entry.get("Size", 0)),
                            str(entry.get("ETag", "")).strip('"'),
                        )
                    elif not key.endswith("/"):  # a marker of a folder
                        left_out.append(name)
        self.left_out = left_out
        return found

    def read(self, name: str, start: int, length: int) -> bytes:
        """At most ``length`` bytes of an object; raises ``StoreError``."""
        address = f"{self.address}/{name}"
        with _s3_errors(
            self, address, "s3:GetObject", f"arn:aws:s3:::{self.bucket}/{self.prefix}*"
        ):
            answer = self.client.get_object(
                Bucket=self.bucket,
                Key=self.prefix + name,
                Range=f"bytes={start}-{start + length - 1}",
            )
            # A store that ignores the range sends the whole object; an answer that broke off is only noticed at its end.
            content: bytes = answer["Body"].read(length)
            while len(content) < length and (more := answer["Body"].read(length - len(content))):
                content += more
            return content


class _s3_errors:
    """Turns whatever boto3 raises into one ``StoreError`` line without addresses that could be signed."""

    def __init__(self, store: S3Store, address: str, action: str, resource: str) -> None:
        self.store, self.address, self.action, self.resource = store, address, action, resource

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None or not isinstance(error, Exception):
            return
        import botocore.exceptions as failures

        if isinstance(error, failures.ClientError):
            text = _refusal(error.response, self)
        elif isinstance(error, failures.NoCredentialsError | failures.PartialCredentialsError):
            text = "no AWS credentials were found; attach an instance role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        elif isinstance(
            error,
            failures.EndpointConnectionError | failures.ConnectTimeoutError | failures.SSLError,
        ):
            text = f"{_endpoint()} cannot be reached; check AWS_ENDPOINT_URL, AWS_REGION, the VPC endpoint and the route to it"
        elif isinstance(error, failures.ReadTimeoutError):
            text = (
                f"{_endpoint()} did not answer within {config.S3_READ_TIMEOUT_SECONDS} s; check the VPC endpoint and"
                " security groups, and try again"
            )
        elif isinstance(
            error,
            failures.HTTPClientError
            | failures.ResponseStreamingError
            | failures.IncompleteReadError,
        ):
            text = f"{_endpoint()} broke off its answer ({type(error).__name__}); try again, or check the endpoint"
        elif isinstance(error, failures.BotoCoreError | ValueError):
            text = f"{redact(' '.join(str(error).split()))[:200]}; correct the AWS_ variables or ~/.aws/config"
        else:
            return
        raise StoreError(f"{self.address}: {text}") from error


def _endpoint() -> str:
    endpoint = os.environ.get("RUNAI_STREAMER_S3_ENDPOINT") or os.environ.get("AWS_ENDPOINT_URL")
    return f"the endpoint {redact(endpoint)}" if endpoint else "Amazon S3"


def _refusal(response: Mapping[str, Any], asked: _s3_errors) -> str:
    """What an error answer of S3 means, and its mend. Error codes: Amazon S3 API reference, "Error responses"."""
    code = str(response.get("Error", {}).get("Code", ""))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    bucket = asked.store.bucket
    if code == "NoSuchBucket":
        return f"there is no bucket {bucket!r}; correct its name, the region or AWS_ENDPOINT_URL"
    if code in ("NoSuchKey", "404", "NotFound"):
        return "the object is gone; upload it again"
    if code in (
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "InvalidToken",
        "AuthFailure",
        "InvalidClientTokenId",
    ):
        return f"S3 does not accept the credentials ({code}); correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the role"
    if code in ("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"):
        return f"the credentials have expired ({code}); renew the session token"
    if code == "RequestTimeTooSkewed":
        return (
            "this machine's clock is wrong (RequestTimeTooSkewed); set it, for example with chrony"
        )
    if code.startswith("KMS") or "kms" in code.lower():
        return f"the object's KMS key may not be used ({code}); allow kms:Decrypt on it"
    if code in (
        "PermanentRedirect",
        "AuthorizationHeaderMalformed",
        "301",
        "IllegalLocationConstraintException",
    ):
        region = response.get("Error", {}).get("Region") or response.get(
            "ResponseMetadata", {}
        ).get("HTTPHeaders", {}).get("x-amz-bucket-region", "the bucket's region")
        return f"the bucket is in another region ({code}); set AWS_REGION to {region}"
    if code in ("AccessDenied", "403", "Forbidden", "AllAccessDisabled"):
        return f"access is denied ({code}); allow {asked.action} on {asked.resource}" + (
            ", or correct the bucket's name"
            if asked.action == "s3:ListBucket"
            else ", and kms:Decrypt where the bucket is encrypted with KMS"
        )
    if status in (500, 502, 503, 504) or code in (
        "SlowDown",
        "InternalError",
        "ServiceUnavailable",
    ):
        return (
            f"S3 answered {status} {code} {config.S3_MAX_ATTEMPTS} times; try again later, or lower"
            " VLLM_CONFIG['model_loader_extra_config']['concurrency']"
        )
    return f"S3 refused with {status} {code}; check {asked.action} on {asked.resource}"


# --- a load that failed after all --------------------------------------------------------------------

# What the streamer prints where it fails (RUNAI_STREAMER_LOG_TO_STDERR), the most telling first, and what it means.
STREAM_ERRORS: Final = (
    (r"Corrupted File|returned \d+ bytes, expected \d+|http_status=416",
     "is no longer what was inspected; upload it again, and leave it alone during a run"),
    (r"SLOW_DOWN|http_status=5\d\d",
     "S3 is too busy; try again later, or lower VLLM_CONFIG['model_loader_extra_config']['concurrency']"),
    (r"http_status=403", "access is denied (403); allow {action} on {resource}, and kms:Decrypt where it is encrypted with KMS"),
    (r"http_status=404", "the object is gone; upload it again"),
    (r"http_status=400", "S3 refused with 400, as it does when a session token has expired; renew the credentials"),
    (r"http_status=-1", "{endpoint} broke off its answer; try again, or check the endpoint"),
)  # fmt: skip
STREAMED_FILE: Final = re.compile(r"(?:Failed to read from file|in) s3://\S+/([^/\s]+)")


def streaming_failure(path: str, printed: Iterable[str]) -> str | None:
    """One line on a load from S3 that failed although the inspection found nothing; None where S3 has no part in it.

    Args:
        path: ``s3://bucket/prefix``.
        printed: what the engine's processes printed; the streamer raises no reasons.
    """
    store = S3Store(path)
    asked = _s3_errors(store, path, "s3:GetObject", f"arn:aws:s3:::{store.bucket}/{store.prefix}*")
    text = "\n".join(printed)
    for pattern, meaning in STREAM_ERRORS:
        if re.search(pattern, text):
            file = STREAMED_FILE.search(text)
            meaning = meaning.format(
                action=asked.action, resource=asked.resource, endpoint=_endpoint()
            )
            return f"{store.address}{f'/{file[1]}' if file else ''}: {meaning}"
    return None


# --- what was found ---------------------------------------------------------------------------------


@dataclass
class Inspection:
    """What the preflight saw.

    Attributes:
        problems: one line each; an engine must not be started while there is one.
        notes: what could not be checked, one line each.
        settings: the model's config.json; empty where it cannot be read.
        tensors: tensor name -> shape, over all weight files.
        files: file name -> its bytes and version at that time.
        folder: local copy of the small files of an ``s3://`` checkpoint; deleted by ``close()``.
    """

    address: str
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, tuple[int, ...]] = field(default_factory=dict)
    folder: Path | None = None
    files: dict[str, tuple[int, str]] = field(default_factory=dict)
    _temporary: Any = None

    def close(self) -> None:
        """Delete the local copy; may be called more than once."""
        temporary, self._temporary = self._temporary, None
        if temporary is not None:
            temporary.cleanup()


def is_checked(path: str) -> bool:
    """Whether a model path is one the preflight can look at; a Hugging Face id is vLLM's to download."""
    return path.startswith("s3://") or is_local(path)


def _store(path: str) -> Store:
    return S3Store(path) if path.startswith("s3://") else FolderStore(str(Path(path).expanduser()))


def changes(path: str, found: Inspection) -> list[str]:
    """What is no longer as it was inspected, one line each: to be asked once the weights are loaded.

    A shard that is deleted while it is streamed is not missed by anyone else.
    """
    try:
        now = _store(path).listing()
    except StoreError as error:
        return [str(error)]
    # Other files may come and go.
    names = [name for name in found.files if name.endswith((*SMALL_SUFFIXES, ".safetensors"))]
    names += [name for name in now if name.endswith(".safetensors") and name not in found.files]
    return [
        f"{found.address}/{name}: was {'replaced' if name in now else 'deleted'} while the model was loaded; upload the"
        " model again, and leave it alone during a run"
        for name in names
        if now.get(name) != found.files.get(name)
    ]


def inspect_checkpoint(
    path: str,
    *,
    load_format: str = "auto",
    trust_remote_code: bool = False,
    seconds: float | None = None,
) -> Inspection:
    """Look at everything of a checkpoint but its tensors' values.

    Args:
        path: local folder or ``s3://bucket/prefix``.
        load_format: as in ``VLLM_CONFIG``; the streamer loads every top-level ``*.safetensors``.
        trust_remote_code: whether the repository's own model code may be run to learn its tensors.
        seconds: limit for all of it; default ``config.CHECKPOINT_TIMEOUT_SECONDS``.

    Returns:
        The inspection; it never raises for what is wrong with the checkpoint. Call its ``close()``.
    """
    seconds = config.CHECKPOINT_TIMEOUT_SECONDS if seconds is None else seconds
    store = _store(path)
    found = Inspection(store.address)
    # Threads of a ThreadPool are daemons: one that hangs in a request keeps nobody from leaving.
    pool = ThreadPool(CONCURRENCY)

    def bounded(work: Callable[[Any], T], items: Sequence[Any]) -> list[T]:
        return pool.map_async(work, items, chunksize=1).get(timeout=seconds)

    try:
        # The whole inspection runs in the pool of its own thread, under one deadline.
        with ThreadPool(1) as outer:
            outer.apply_async(
                _inspect, (store, found, load_format, trust_remote_code, bounded)
            ).get(seconds)
    except PoolTimeout:
        found.problems.append(
            f"{store.address}: not inspected within {seconds:g} s (CHECKPOINT_TIMEOUT_SECONDS); check the connection to it, or"
            " raise the setting"
        )
    finally:
        pool.close()
    return found


def _inspect(
    store: Store,
    found: Inspection,
    load_format: str,
    trust_remote_code: bool,
    bounded: Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]],
) -> None:
    try:
        found.files = store.listing()
        sizes = {name: size for name, (size, _) in found.files.items()}
        if not sizes:
            found.problems.append(
                f"{store.address}: nothing lies there; correct the prefix, or upload the model to it"
            )
            return
        if load_format != "dummy" and (problem := not_a_model(sizes, partial(_text, store, sizes))):
            found.problems.append(f"{store.address}: {problem}")
            return
        if store.left_out:
            found.notes.append(
                f"{store.address}: {len(store.left_out)} objects below other folders are left out"
                f" ({_some([ascii(name) for name in store.left_out])})"
            )
        found.folder = _local_copy(store, sizes, found, trust_remote_code, bounded)
        found.problems += _small_file_problems(store, sizes, found)
        if load_format == "dummy":
            return
        found.problems += _weight_problems(store, sizes, found, load_format, bounded)
    except StoreError as error:
        found.problems.append(str(error))
        return
    if (
        found.tensors
        and found.settings
        and not found.problems
        and not load_format.endswith(("sharded", "sharded_state"))
    ):
        found.problems += _missing_tensors(found, trust_remote_code)


def _local_copy(
    store: Store,
    sizes: Mapping[str, int],
    found: Inspection,
    trust_remote_code: bool,
    bounded: Callable[..., list[Any]],
) -> Path:
    """The folder with the small files: the checkpoint's own, or a temporary one they are downloaded to.

    Python code of a store is only downloaded where ``trust_remote_code`` allows it to run.
    """
    if isinstance(store, FolderStore):
        return Path(store.address)
    suffixes = tuple(s for s in SMALL_SUFFIXES if trust_remote_code or s != ".py")
    names = [
        n for n, size in sizes.items() if n.endswith(suffixes) and 0 < size <= SMALL_FILE_BYTES
    ]
    contents = bounded(lambda name: store.read(name, 0, sizes[name]), names)
    try:
        found._temporary = tempfile.TemporaryDirectory(prefix="forecaster-model-")
        folder = Path(found._temporary.name)
        for name, content in zip(names, contents, strict=True):
            (folder / name).write_bytes(content)
    except OSError as error:
        raise StoreError(
            f"{store.address}: its small files cannot be written to a temporary folder ({error.strerror}); make room"
            " or set TMPDIR"
        ) from error
    return folder


def _text(store: Store, sizes: Mapping[str, int], name: str) -> str:
    """A small file's text, wherever it is."""
    return store.read(name, 0, min(sizes[name], HEADER_BYTES)).decode()


def _json_file(store: Store, folder: Path, name: str) -> tuple[dict[str, Any], str | None]:
    try:
        value = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        return (
            {},
            f"{store.address}/{name}: is not readable JSON ({error}); download the model again",
        )
    if not isinstance(value, dict):
        return {}, f"{store.address}/{name}: is not a JSON object; download the model again"
    return value, None


def _small_file_problems(
    store: Store, sizes: Mapping[str, int], found: Inspection
) -> Iterator[str]:
    assert found.folder is not None
    if "config.json" not in sizes:
        yield f"{store.address}: config.json is missing; upload it with the weights, or correct the prefix"
    else:
        found.settings, problem = _json_file(store, found.folder, "config.json")
        if problem:
            yield problem
        elif not _named(found.settings.get("architectures")):
            yield f"{store.address}/config.json: names no architecture; download the model again"
    tokenizers = [
        name for name in TOKENIZER_FILES if name in sizes and name != "tokenizer_config.json"
    ]
    tokenizers += [
        name for name in sizes if name.endswith((".tiktoken", ".py")) and "token" in name
    ]
    if not tokenizers:
        yield f"{store.address}: no tokenizer ({', '.join(TOKENIZER_FILES[:3])} …); upload the tokenizer's files too"
    for name in tokenizers:
        if sizes[name] == 0:
            yield f"{store.address}/{name}: is empty; upload it again"
        elif name.endswith(".json"):
            _, problem = _json_file(store, found.folder, name)
            if problem:
                yield problem


def _named(architectures: Any) -> bool:
    return (
        isinstance(architectures, list)
        and bool(architectures)
        and isinstance(architectures[0], str)
    )


def _weight_problems(
    store: Store,
    sizes: Mapping[str, int],
    found: Inspection,
    load_format: str,
    bounded: Callable[..., list[Any]],
) -> Iterator[str]:
    weights = sorted(name for name in sizes if name.endswith(".safetensors"))
    streamed = load_format.startswith("runai_streamer")
    if not weights:
        if pickled := sorted(name for name in sizes if name.endswith(PICKLED_SUFFIXES)):
            yield (
                f"{store.address}/{pickled[0]}: weights in PyTorch's format are pickles, which may hold a program, and are not"
                " loaded; take the model's safetensors files, or convert them where you trust them"
                " (from_pretrained, then save_pretrained)"
            )
            return
        yield f"{store.address}: no *.safetensors; upload the weights (`hf download` without --include takes all)"
        return
    indexed: dict[str, str] = {}
    if INDEX in sizes:
        index, problem = _json_file(store, found.folder or Path(), INDEX)
        if problem:
            yield problem
        weight_map = index.get("weight_map")
        if isinstance(weight_map, dict):
            indexed = {str(tensor): str(shard) for tensor, shard in weight_map.items()}
        elif not problem:
            yield f"{store.address}/{INDEX}: has no weight_map; download the model again"
        for shard in sorted(set(indexed.values()) - sizes.keys()):
            yield f"{store.address}/{shard}: the index names this shard and it is missing; upload it"
    elif any(match := [re.fullmatch(r".*-(\d+)-of-(\d+)\.safetensors", name) for name in weights]):
        yield from _missing_shards(store, [(int(m[1]), int(m[2])) for m in match if m])
    stray = sorted(set(weights) - set(indexed.values())) if indexed else []
    if not indexed and len(weights) > 1:
        stray = [name for name in weights if name.startswith("consolidated")]
    if streamed:  # the streamer takes the store's word for what is below the prefix
        stray += sorted(name for name in store.left_out if name.endswith(".safetensors"))
    for name in stray if streamed else ():
        yield (
            f"{store.address}/{name}: a stray weight file that the streamer would load on top of the model; delete it or"
            " move it into a folder of its own"
        )
    wanted = [name for name in weights if name not in stray]
    headers = bounded(lambda name: _header(store, name, sizes[name]), wanted)
    for _, problem in headers:
        if problem:
            yield problem
    for header, _ in headers:
        found.tensors.update(header)
    by_file = {name: header for name, (header, _) in zip(wanted, headers, strict=True)}
    lost = sorted(
        tensor
        for tensor, shard in indexed.items()
        if by_file.get(shard) and tensor not in by_file[shard]
    )
    if lost:
        yield (
            f"{store.address}: the index names {_some(lost)}, which the shards' headers do not hold; upload shards and"
            " index from the same revision"
        )


def _missing_shards(store: Store, numbered: Sequence[tuple[int, int]]) -> Iterator[str]:
    """One line for each missing shard, of many for the first few and their number.

    Args:
        store: where the shards are.
        numbered: number and count that the names of the shards say; any text can stand there.
    """
    total = numbered[0][1]
    there = {number for number, _ in numbered if 1 <= number <= total}
    lacking = total - len(there)
    first = islice((n for n in range(1, total + 1) if n not in there), SHOWN)
    for missing in first:
        yield f"{store.address}: shard {missing} of {total} is missing; upload it, and {INDEX} too"
    if lacking > SHOWN:
        yield f"{store.address}: {lacking - SHOWN} more shards are missing; upload the complete checkpoint"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


def _header(store: Store, name: str, size: int) -> tuple[dict[str, tuple[int, ...]], str | None]:
    """Tensor names and shapes of one shard, and what is wrong with it.

    Format (safetensors documentation): 8 bytes little-endian header length, the header as JSON, the tensors' bytes;
    so a file has 8 + header length + largest data offset bytes.
    """
    address = f"{store.address}/{name}"
    broken = f"{address}: is not a whole safetensors file"
    try:
        head = store.read(name, 0, min(HEADER_BYTES, size)) if size else b""
        if head.startswith(LFS_POINTER):
            return (
                {},
                f"{address}: is a Git LFS pointer, not the weights; run git lfs pull, then upload the file itself",
            )
        if len(head) < 8:
            return {}, f"{broken} ({size} bytes); upload it again"
        (length,) = struct.unpack("<Q", head[:8])
        if length > min(MAX_HEADER_BYTES, size):
            return {}, f"{broken} (its header would have {length} bytes); upload it again"
        if len(head) < 8 + length:
            head += store.read(name, len(head), 8 + length - len(head))
        if len(head) < 8 + length:
            return {}, f"{broken} (it ends within its header); upload it again"
        header = json.loads(head[8 : 8 + length])
        header.pop("__metadata__", None)
        end = max(
            (operator.index(entry["data_offsets"][1]) for entry in header.values()), default=0
        )
        shapes = {
            tensor: tuple(map(operator.index, entry["shape"])) for tensor, entry in header.items()
        }
    except StoreError as error:
        return {}, str(error)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        return {}, f"{broken} (its header cannot be read: {type(error).__name__}); upload it again"
    if size != 8 + length + end:
        return (
            shapes,
            f"{address}: has {size} bytes, its header says {8 + length + end}; upload it again",
        )
    return shapes, None


def _missing_tensors(found: Inspection, trust_remote_code: bool) -> list[str]:
    """Tensors the architecture has and the checkpoint lacks, or has in another shape."""
    try:
        missing, reshaped = _compared(found, trust_remote_code)
    except _UnknownArchitecture as error:
        found.notes.append(
            f"{found.address}: {error}; its tensors were compared with its own index only"
        )
        return []
    problems = []
    if missing:
        problems.append(
            f"{found.address}: {len(missing)} tensors that {found.settings['architectures'][0]} needs are missing"
            f" ({_some(missing)}); upload the complete checkpoint"
        )
    if reshaped:
        problems.append(
            f"{found.address}: {len(reshaped)} tensors have another shape than config.json says ({_some(reshaped)});"
            " upload weights and config.json of the same model"
        )
    return problems


class _UnknownArchitecture(Exception):
    """Transformers cannot build this model."""


def _compared(found: Inspection, trust_remote_code: bool) -> tuple[list[str], list[str]]:
    """Load shapes without data into the model on torch's meta device, renamed, merged and tied as transformers does it."""
    import torch
    import transformers
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import convert_and_load_state_dict_in_model
    from transformers.modeling_utils import LoadStateDictConfig

    name = found.settings["architectures"][0]
    bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    try:
        settings = transformers.AutoConfig.from_pretrained(
            found.folder, trust_remote_code=trust_remote_code
        )
        with torch.device("meta"):
            if hasattr(transformers, name):
                model = getattr(transformers, name)(settings)
            else:
                model = transformers.AutoModelForCausalLM.from_config(
                    settings, trust_remote_code=trust_remote_code
                )
        state = {
            tensor: torch.empty(shape, device="meta") for tensor, shape in found.tensors.items()
        }
        loading = LoadStateDictConfig(
            device_map={"": torch.device("meta")},
            ignore_mismatched_sizes=True,
            weight_mapping=get_model_conversion_mapping(model),
        )
        report, _ = convert_and_load_state_dict_in_model(
            model=model, state_dict=state, load_config=loading, disk_offload_index=None
        )
        model.tie_weights(missing_keys=report.missing_keys, recompute_mapping=False)
        model._adjust_missing_and_unexpected_keys(report)
    except Exception as error:  # whatever remote code or an unknown architecture raises: it is a note, not a verdict
        raise _UnknownArchitecture(
            f"transformers cannot build {name} ({redact(' '.join(str(error).split()))[:120]})"
        ) from error
    finally:
        if bars:
            transformers.utils.logging.enable_progress_bar()
    if "quantization_config" not in found.settings:
        return sorted(report.missing_keys), sorted(str(key[0]) for key in report.mismatched_keys)
    # A quantized layer keeps its weight under other names (qweight, weight_packed, _blocks …) and in other shapes; its
    # scales alone are no weight.
    weights = [
        tensor for tensor in found.tensors if not BESIDE_WEIGHTS.search(tensor.rpartition(".")[2])
    ]
    lacking = [
        key
        for key in report.missing_keys
        if not any(t.startswith((f"{key.rpartition('.')[0]}.", f"{key}_")) for t in weights)
    ]
    return sorted(lacking), []
