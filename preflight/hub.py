"""Ask the Hugging Face hub about a model: there, allowed, enough disk?

A model that is complete in the cache is not asked for. The hub's address, token, cache and the
seconds for one request come from the library's variables (HF_ENDPOINT, HF_TOKEN, HF_HUB_CACHE,
HF_HUB_ETAG_TIMEOUT).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import TimeoutError as PoolTimeout
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, Final

from preflight.checkpoint import TOKENIZER_FILES
from preflight.weights import INDEX
from terminal.redaction import redact

# What vLLM downloads of a model, by suffix.
DOWNLOADED: Final = (".safetensors", ".json", ".txt", ".model", ".jinja", ".tiktoken", ".py")
GIB: Final = 1 << 30


@dataclass(frozen=True)
class HubModel:
    """What is known of a model of the hub.

    Attributes:
        problems: one line each; an engine must not be started while there is one.
        weight_bytes: bytes of its safetensors files; 0 where they are not known.
    """

    problems: tuple[str, ...] = ()
    weight_bytes: int = 0


def inspect_hub_model(path: str, seconds: float) -> HubModel:
    """Look at a model by its id, ``owner/name``, in at most ``seconds``."""
    from huggingface_hub import constants

    if (folder := cached_snapshot(path)) is not None:
        return HubModel(weight_bytes=sum(f.stat().st_size for f in folder.glob("*.safetensors")))
    if constants.is_offline_mode():
        line = (
            f"{path}: is not complete in the cache and HF_HUB_OFFLINE is set (a replay and --why"
            f" set it); allowed:"
            f" models that are; download it first (hf download {path}), or unset it"
        )
        return HubModel((line,))
    try:
        # A thread of a ThreadPool is a daemon: one that hangs keeps nobody from leaving.
        with ThreadPool(1) as pool:
            return pool.apply_async(_ask, (path,)).get(seconds)
    except PoolTimeout:
        line = (
            f"{path}: {_endpoint()} did not answer within {seconds:g} s"
            " (CHECKPOINT_TIMEOUT_SECONDS); check the connection to it, or raise the setting"
        )
        return HubModel((line,))


def cached_snapshot(path: str) -> Path | None:
    """Return the folder of a model that is complete in the hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    settings = (try_to_load_from_cache(path, name) for name in ("config.json", "params.json"))
    found = next((file for file in settings if isinstance(file, str)), None)
    if found is None:
        return None
    folder = Path(found).parent
    names = {file.name for file in folder.iterdir() if file.exists()}
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        shards = {str(shard) for shard in index["weight_map"].values()}
    except FileNotFoundError:
        shards = {name for name in names if name.endswith(".safetensors")}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    tokenizer = any(name in TOKENIZER_FILES or "token" in name for name in names)
    return folder if shards and shards <= names and tokenizer else None


def _ask(path: str) -> HubModel:
    from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_url

    timeout = constants.HF_HUB_ETAG_TIMEOUT
    try:
        info = HfApi().model_info(path, files_metadata=True, timeout=timeout)
        if info.gated:  # what it is made of is public, its files are not
            get_hf_file_metadata(hf_hub_url(path, "config.json"), timeout=timeout)
    except Exception as error:  # the library's transport has exceptions of its own
        return HubModel((f"{path}: {_refusal(path, error)}",))
    files = [(str(f.rfilename), f) for f in info.siblings or ()]
    weights = sum(_size(file) for name, file in files if name.endswith(".safetensors"))
    if not any(name.endswith(".safetensors") for name, _ in files):
        line = (
            f"{path}: has no *.safetensors files; allowed: models that have (weights in PyTorch's"
            " format are pickles, which may hold a program); choose another one"
        )
        return HubModel((line,))
    wanted = [file for name, file in files if name.endswith(DOWNLOADED)]
    problem = _disk_problem(path, wanted)
    return HubModel((problem,) if problem else (), weights)


def _refusal(path: str, error: Exception) -> str:
    """Say what an error of the library means, without its text: it has addresses."""
    from huggingface_hub import errors, get_token

    hub = _endpoint()
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    token = "set HF_TOKEN to a token that may read it" if get_token() else "set HF_TOKEN"
    if isinstance(error, errors.GatedRepoError):
        return (
            f"is gated at {hub}; allowed: models whose licence your account has accepted;"
            f" accept it on the page of {path} and {token}"
        )
    unknown = status == 401 and not get_token()
    if unknown or isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"is no model that {hub} shows you; allowed: a public one, or a private"
            f" one with a token; correct the name, or {token}"
        )
    if status == 401:
        return f"{hub} does not accept the token (401); correct HF_TOKEN, or unset it"
    if status == 403:
        return f"{hub} denies access (403); {token}"
    if status is not None:
        return f"{hub} answered {status}; try again later, or check HF_ENDPOINT"
    if isinstance(error, ValueError | LookupError | TypeError | AttributeError):
        return f"{hub} gave no answer of a hub ({type(error).__name__}); correct HF_ENDPOINT"
    return (
        f"{hub} cannot be reached ({type(error).__name__}); check the network, the proxy and"
        f" HF_ENDPOINT, or download it elsewhere and give the folder"
    )


def _endpoint() -> str:
    from huggingface_hub import constants

    return redact(constants.ENDPOINT)


def _size(file: Any) -> int:
    return file.size if isinstance(file.size, int) and file.size > 0 else 0


def _disk_problem(path: str, wanted: Sequence[Any]) -> str | None:
    """Say whether the files that are not cached yet fit on the disk of the cache."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    cache = Path(constants.HF_HUB_CACHE).expanduser()
    blobs = cache / repo_folder_name(repo_id=path, repo_type="model") / "blobs"
    missing = sum(
        _size(file)
        for file in wanted
        if not (blobs / str(file.lfs.sha256 if file.lfs else file.blob_id)).is_file()
    )
    place = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if missing <= free:
        return None
    return (
        f"{path}: {missing / GIB:.1f} GiB are to be downloaded and {cache} has {free / GIB:.1f} GiB"
        " free; allowed: what fits; make space, or set HF_HOME to a larger disk"
    )
