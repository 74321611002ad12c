"""Inspect a model's checkpoint before an engine starts on it.

``inspect_checkpoint`` looks at a local folder or at ``s3://bucket/prefix``: configuration,
tokenizer, index, every shard. Nothing but headers and small files is read. Every problem is one
line that names the address and the likely remedy.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import TimeoutError as PoolTimeout
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, Final

from preflight.model_folders import is_local, not_a_model
from preflight.store_errors import StoreError
from preflight.stores import CONCURRENCY, FolderStore, Limits, Store, open_store
from preflight.weights import (
    HEADER_BYTES,
    Fetch,
    UnknownArchitecture,
    inspect_weights,
    json_file,
    missing_tensors,
    some,
)

# Any of them is a tokenizer; vocab.json needs merges.txt beside it.
TOKENIZER_FILES: Final = (
    "tokenizer.json", "tokenizer.model", "tekken.json", "spiece.model", "vocab.txt", "merges.txt",
)  # fmt: skip
# Suffixes of the small files an engine reads beside the weights, and the largest of them in bytes
# (the tokenizer.json of Gemma 3 has 33 MB).
SMALL_SUFFIXES: Final = (".json", ".txt", ".model", ".jinja", ".py", ".tiktoken")
SMALL_FILE_BYTES: Final = 200_000_000


@dataclass(frozen=True)
class Inspection:
    """What was found in a checkpoint.

    Attributes:
        problems: one line each; an engine must not be started while there is one.
        notes: what could not be checked, one line each.
        settings: the model's config.json; empty where it cannot be read.
        files: file name -> its bytes and version at that time.
        folder: the small files: a folder's own, or a copy that ``close()`` deletes.
    """

    address: str
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    files: dict[str, tuple[int, str]] = field(default_factory=dict)
    temporary: tempfile.TemporaryDirectory[str] | None = None

    @property
    def weight_bytes(self) -> int:
        """Bytes of all safetensors files."""
        return sum(n for name, (n, _) in self.files.items() if name.endswith(".safetensors"))

    def close(self) -> None:
        """Delete the local copy; may be called more than once."""
        if self.temporary is not None:
            self.temporary.cleanup()


def is_checked(path: str) -> bool:
    """Return whether a path is a folder or an S3 address, not an id of the hub."""
    return path.startswith("s3://") or is_local(path)


def inspect_checkpoint(
    path: str, limits: Limits, *, load_format: str = "auto", trust_remote_code: bool = False
) -> Inspection:
    """Look at everything of a checkpoint but its tensors' values.

    Nothing that is wrong with the checkpoint raises. ``close()`` the inspection.
    ``trust_remote_code`` says whether the model's own code may be run to learn its tensors.
    """
    return inspect_store(
        open_store(path, limits),
        limits.seconds,
        load_format=load_format,
        trust_remote_code=trust_remote_code,
    )


def inspect_store(
    store: Store, seconds: float, *, load_format: str = "auto", trust_remote_code: bool = False
) -> Inspection:
    """Do the same for a store that is open."""
    # Threads of a ThreadPool are daemons: one that hangs in a request keeps nobody from leaving.
    readers = ThreadPool(CONCURRENCY)
    fetch = partial(readers.map, chunksize=1)
    try:
        with ThreadPool(1) as whole:
            work = whole.apply_async(_inspect, (store, load_format, trust_remote_code, fetch))
            return work.get(seconds)
    except PoolTimeout:
        line = (
            f"{store.address}: not inspected within {seconds:g} s (CHECKPOINT_TIMEOUT_SECONDS);"
            " check the connection to it, or raise the setting"
        )
        return Inspection(store.address, (line,))
    finally:
        readers.close()


def _inspect(store: Store, load_format: str, trust_remote_code: bool, fetch: Fetch) -> Inspection:
    address = store.address
    try:
        files = store.listing()
        sizes = {name: size for name, (size, _) in files.items()}
        if problem := _not_a_model(store, sizes, load_format):
            return Inspection(address, (f"{address}: {problem}",), files=files)
        notes = _left_out(store)
        folder, temporary = _small_files(store, sizes, trust_remote_code, fetch)
    except StoreError as error:
        return Inspection(address, (str(error),))
    settings, problems = _settings(store, sizes, folder)
    problems += _tokenizer_problems(store, sizes, folder)
    if load_format != "dummy":
        weights = inspect_weights(store, sizes, folder, load_format, fetch)
        problems += weights.problems
        if not problems and not load_format.endswith(("sharded", "sharded_state")):
            try:
                problems += missing_tensors(
                    address, settings, weights.shapes, folder, trust_remote_code
                )
            except UnknownArchitecture as error:
                notes.append(
                    f"{address}: {error}; its tensors were compared with its own index only"
                )
    return Inspection(address, tuple(problems), tuple(notes), settings, folder, files, temporary)


def _left_out(store: Store) -> list[str]:
    if not store.left_out:
        return []
    names = some([ascii(name) for name in store.left_out])
    return [
        f"{store.address}: {len(store.left_out)} objects below other folders are left out ({names})"
    ]


def _not_a_model(store: Store, sizes: Mapping[str, int], load_format: str) -> str | None:
    if not sizes:
        return "nothing is stored there; correct the prefix, or upload the model to it"
    if load_format == "dummy":
        return None
    return not_a_model(
        sizes, lambda name: store.read(name, 0, min(sizes[name], HEADER_BYTES)).decode()
    )


def _small_files(
    store: Store, sizes: Mapping[str, int], trust_remote_code: bool, fetch: Fetch
) -> tuple[Path, tempfile.TemporaryDirectory[str] | None]:
    """Return a folder with the small files; those of S3 are downloaded.

    Python code of a store is only downloaded where ``trust_remote_code`` allows it to run.
    """
    if isinstance(store, FolderStore):
        return Path(store.address), None
    suffixes = tuple(s for s in SMALL_SUFFIXES if trust_remote_code or s != ".py")
    names = [
        n for n, size in sizes.items() if n.endswith(suffixes) and 0 < size <= SMALL_FILE_BYTES
    ]
    contents = fetch(lambda name: store.read(name, 0, sizes[name]), names)
    try:
        temporary = tempfile.TemporaryDirectory(prefix="forecaster-model-")
        for name, content in zip(names, contents, strict=True):
            (Path(temporary.name) / name).write_bytes(content)
    except OSError as error:
        raise StoreError(
            f"{store.address}: its small files cannot be written to a temporary folder"
            f" ({error.strerror}); make room or set TMPDIR"
        ) from error
    return Path(temporary.name), temporary


def _settings(
    store: Store, sizes: Mapping[str, int], folder: Path
) -> tuple[dict[str, Any], list[str]]:
    """Return config.json and what is wrong with it."""
    if "config.json" not in sizes:
        return {}, [
            f"{store.address}: config.json is missing; upload it with the weights, or correct the"
            " prefix"
        ]
    settings, problem = json_file(store, folder, "config.json")
    if problem:
        return {}, [problem]
    named = settings.get("architectures")
    if isinstance(named, list) and named and isinstance(named[0], str):
        return settings, []
    return settings, [
        f"{store.address}/config.json: names no architecture; download the model again"
    ]


def _tokenizer_problems(store: Store, sizes: Mapping[str, int], folder: Path) -> Iterator[str]:
    names = [name for name in TOKENIZER_FILES if name in sizes]
    names += [n for n in sizes if n.endswith((".tiktoken", ".py")) and "token" in n]
    if not names:
        yield (
            f"{store.address}: no tokenizer ({', '.join(TOKENIZER_FILES[:3])} …); upload the"
            " tokenizer's files too"
        )
    for name in names:
        if sizes[name] == 0:
            yield f"{store.address}/{name}: is empty; upload it again"
        elif name.endswith(".json"):
            _, problem = json_file(store, folder, name)
            if problem:
                yield problem


def changes(path: str, found: Inspection, limits: Limits) -> list[str]:
    """Name what has changed since the inspection, once the weights are loaded.

    Nobody else misses a shard that is deleted while it is streamed.
    """
    try:
        now = open_store(path, limits).listing()
    except StoreError as error:
        return [str(error)]
    # Other files may come and go.
    names = [name for name in found.files if name.endswith((*SMALL_SUFFIXES, ".safetensors"))]
    names += [name for name in now if name.endswith(".safetensors") and name not in found.files]
    return [
        f"{found.address}/{name}: was {'replaced' if name in now else 'deleted'} while the model"
        " was loaded; upload the model again, and leave it alone during a run"
        for name in names
        if now.get(name) != found.files.get(name)
    ]
