"""Inspect a checkpoint's weights: index, shards, headers, tensors.

Only headers are read. The Run:ai streamer loads weights that lack tensors, and loads every
safetensors file it finds, so no engine does this.
"""

from __future__ import annotations

import contextlib
import json
import operator
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from preflight.store_errors import StoreError
from preflight.stores import Store
from terminal.redaction import redact

INDEX: Final = "model.safetensors.index.json"
# Bytes read of each shard at first: the header of most shards; a longer one costs a second request.
HEADER_BYTES: Final = 65_536
# Bytes a header may have; the safetensors library's own limit.
MAX_HEADER_BYTES: Final = 100_000_000
# What torch.save writes.
PICKLED_SUFFIXES: Final = (".bin", ".pt", ".pth", ".ckpt")
# The start of the text that a clone without Git LFS has in place of a large file (docs/spec.md).
LFS_POINTER: Final = b"version https://git-lfs"
# What accompanies a quantized weight: scales, zero points, orders, shapes
# (vLLM, model_executor/layers/quantization).
BESIDE_WEIGHTS: Final = re.compile(r"scale|zero|g_idx|shape|bias|absmax|quant_map|quant_state")
# Names listed in one line before "and N more".
SHOWN: Final = 3

Shape = tuple[int, ...]
# Calls a function with each of many items, in parallel, and returns the results in order.
Fetch = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]


@dataclass(frozen=True)
class Weights:
    """The shape of every tensor, and one line for each problem."""

    shapes: dict[str, Shape] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def inspect_weights(
    store: Store, sizes: Mapping[str, int], folder: Path, load_format: str, fetch: Fetch
) -> Weights:
    """Compare index, shards and headers with one another.

    ``sizes`` are bytes by file; ``folder`` has the small files, the index among them. The streamer
    (a ``load_format``) loads every top-level ``*.safetensors``.
    """
    files = sorted(name for name in sizes if name.endswith(".safetensors"))
    if not files:
        return Weights(problems=(_no_weights(store, sizes),))
    problems: list[str] = []
    indexed: dict[str, str] = {}
    if INDEX in sizes:
        indexed, problem = _indexed(store, folder)
        problems += [problem] if problem else []
        problems += [
            f"{store.address}/{shard}: the index names this shard and it is missing; upload it"
            for shard in sorted(set(indexed.values()) - sizes.keys())
        ]
    else:
        problems += _missing_shards(store, files)
    streamed = load_format.startswith("runai_streamer")
    stray = _stray(store, files, indexed, streamed)
    problems += [
        f"{store.address}/{name}: a stray weight file that the streamer would load on top of the"
        " model; delete it or move it into a folder of its own"
        for name in (stray if streamed else ())
    ]
    wanted = [name for name in files if name not in stray]
    headers = fetch(lambda name: read_header(store, name, sizes[name]), wanted)
    problems += [problem for _, problem in headers if problem]
    by_file = {name: header for name, (header, _) in zip(wanted, headers, strict=True)}
    problems += _lost_tensors(store, indexed, by_file)
    return Weights(
        {tensor: shape for header in by_file.values() for tensor, shape in header.items()},
        tuple(problems),
    )


def _no_weights(store: Store, sizes: Mapping[str, int]) -> str:
    if pickled := sorted(name for name in sizes if name.endswith(PICKLED_SUFFIXES)):
        return (
            f"{store.address}/{pickled[0]}: weights in PyTorch's format are pickles, which may hold"
            " a program, and are not loaded; take the model's safetensors files, or convert them"
            " where you trust them (from_pretrained, then save_pretrained)"
        )
    return (
        f"{store.address}: no *.safetensors; upload the weights (`hf download` without --include"
        " takes all)"
    )


def json_file(store: Store, folder: Path, name: str) -> tuple[dict[str, Any], str | None]:
    """Return the object in a JSON file, and what is wrong with the file."""
    address = f"{store.address}/{name}"
    try:
        value = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        return {}, f"{address}: is not readable JSON ({error}); download the model again"
    if not isinstance(value, dict):
        return {}, f"{address}: is not a JSON object; download the model again"
    return value, None


def _indexed(store: Store, folder: Path) -> tuple[dict[str, str], str | None]:
    """Return tensor name -> shard by the index."""
    index, problem = json_file(store, folder, INDEX)
    weight_map = index.get("weight_map")
    if isinstance(weight_map, dict):
        return {str(tensor): str(shard) for tensor, shard in weight_map.items()}, problem
    return {}, problem or f"{store.address}/{INDEX}: has no weight_map; download the model again"


def _missing_shards(store: Store, files: Sequence[str]) -> Iterator[str]:
    """Name the first missing shards by the numbers in the names, whatever they are."""
    numbered = [
        (int(match[1]), int(match[2]))
        for name in files
        if (match := re.fullmatch(r".*-(\d+)-of-(\d+)\.safetensors", name))
    ]
    if not numbered:
        return
    total = numbered[0][1]
    there = {number for number, _ in numbered if 1 <= number <= total}
    lacking = total - len(there)
    for missing in islice((n for n in range(1, total + 1) if n not in there), SHOWN):
        yield f"{store.address}: shard {missing} of {total} is missing; upload it, and {INDEX} too"
    if lacking > SHOWN:
        yield (
            f"{store.address}: {lacking - SHOWN} more shards are missing; upload the complete"
            " checkpoint"
        )


def _stray(
    store: Store, files: Sequence[str], indexed: Mapping[str, str], streamed: bool
) -> list[str]:
    """Name the weight files that are no part of the model."""
    stray: list[str] = []
    if indexed:
        stray = sorted(set(files) - set(indexed.values()))
    elif len(files) > 1:
        stray = [name for name in files if name.startswith("consolidated")]
    if streamed:  # the streamer takes the store's word for what is below the prefix
        stray += sorted(name for name in store.left_out if name.endswith(".safetensors"))
    return stray


def _lost_tensors(
    store: Store, indexed: Mapping[str, str], by_file: Mapping[str, Mapping[str, Shape]]
) -> Iterator[str]:
    lost = sorted(
        tensor
        for tensor, shard in indexed.items()
        if by_file.get(shard) and tensor not in by_file[shard]
    )
    if lost:
        yield (
            f"{store.address}: the index names {some(lost)}, which the shards' headers do not hold;"
            " upload shards and index from the same revision"
        )


def some(names: Sequence[str]) -> str:
    """Join the first names and count the others."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(names[:SHOWN])}{more}"


# --- one shard ------------------------------------------------------------------------------------


def read_header(store: Store, name: str, size: int) -> tuple[dict[str, Shape], str | None]:
    """Return tensor names and shapes of one shard, and what is wrong with it.

    Format (safetensors documentation): 8 bytes little-endian header length, the header as JSON,
    the tensors' bytes; so a file has 8 + header length + largest data offset bytes.
    """
    address = f"{store.address}/{name}"
    broken = f"{address}: is not a whole safetensors file"
    try:
        head = store.read(name, 0, min(HEADER_BYTES, size)) if size else b""
        if head.startswith(LFS_POINTER):
            return {}, (
                f"{address}: is a Git LFS pointer, not the weights; run git lfs pull, then upload"
                " the file itself"
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
        shapes, end = _parsed(head[8 : 8 + length])
    except StoreError as error:
        return {}, str(error)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        return {}, f"{broken} (its header cannot be read: {type(error).__name__}); upload it again"
    if size == 8 + length + end:
        return shapes, None
    return shapes, (
        f"{address}: has {size} bytes, its header says {8 + length + end}; upload it again"
    )


def _parsed(text: bytes) -> tuple[dict[str, Shape], int]:
    """Return the shapes in a header and where the last tensor ends, in bytes."""
    header = json.loads(text)
    header.pop("__metadata__", None)
    ends = [operator.index(entry["data_offsets"][1]) for entry in header.values()]
    shapes = {
        tensor: tuple(map(operator.index, entry["shape"])) for tensor, entry in header.items()
    }
    return shapes, max(ends, default=0)


# --- against the architecture ---------------------------------------------------------------------


class UnknownArchitecture(Exception):
    """Transformers cannot build this model."""


def missing_tensors(
    address: str,
    settings: Mapping[str, Any],
    shapes: Mapping[str, Shape],
    folder: Path,
    trust_remote_code: bool,
) -> list[str]:
    """Name tensors that the checkpoint lacks, or has in another shape.

    Raises:
        UnknownArchitecture: it cannot be built, so nothing is known of its tensors.
    """
    name = settings["architectures"][0]
    try:
        with _no_bars():
            report = _load_report(name, shapes, folder, trust_remote_code)
    except Exception as error:  # remote code may raise anything; it is a note, not a verdict
        raise UnknownArchitecture(
            f"transformers cannot build {name} ({redact(' '.join(str(error).split()))[:120]})"
        ) from error
    if "quantization_config" in settings:
        missing, reshaped = _unquantized(report.missing_keys, shapes), []
    else:
        missing = sorted(report.missing_keys)
        reshaped = sorted(str(key[0]) for key in report.mismatched_keys)
    problems = []
    if missing:
        problems.append(
            f"{address}: {len(missing)} tensors that {name} needs are missing ({some(missing)});"
            " upload the complete checkpoint"
        )
    if reshaped:
        problems.append(
            f"{address}: {len(reshaped)} tensors have another shape than config.json says"
            f" ({some(reshaped)}); upload weights and config.json of the same model"
        )
    return problems


@contextlib.contextmanager
def _no_bars() -> Iterator[None]:
    """Switch off transformers' progress bars."""
    from transformers.utils import logging as bars

    before = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if before:
            bars.enable_progress_bar()


def _load_report(
    name: str, shapes: Mapping[str, Shape], folder: Path, trust_remote_code: bool
) -> Any:
    """Load shapes without data on torch's meta device, as transformers does it.

    So names are converted, merged and tied as they would be with data.
    """
    import torch
    import transformers
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import convert_and_load_state_dict_in_model
    from transformers.modeling_utils import LoadStateDictConfig

    settings = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    with torch.device("meta"):
        if hasattr(transformers, name):
            model = getattr(transformers, name)(settings)
        else:
            model = transformers.AutoModelForCausalLM.from_config(
                settings, trust_remote_code=trust_remote_code
            )
    loading = LoadStateDictConfig(
        device_map={"": torch.device("meta")},
        ignore_mismatched_sizes=True,
        weight_mapping=get_model_conversion_mapping(model),
    )
    state = {tensor: torch.empty(shape, device="meta") for tensor, shape in shapes.items()}
    report, _ = convert_and_load_state_dict_in_model(
        model=model, state_dict=state, load_config=loading, disk_offload_index=None
    )
    model.tie_weights(missing_keys=report.missing_keys, recompute_mapping=False)
    model._adjust_missing_and_unexpected_keys(report)
    return report


def _unquantized(missing: Iterable[str], shapes: Mapping[str, Shape]) -> list[str]:
    """Return what is missing of a quantized model.

    A quantized layer keeps its weight under other names (qweight, weight_packed, _blocks …) and in
    other shapes; its scales alone are no weight.
    """
    weights = [name for name in shapes if not BESIDE_WEIGHTS.search(name.rpartition(".")[2])]
    return sorted(
        key
        for key in missing
        if not any(w.startswith((f"{key.rpartition('.')[0]}.", f"{key}_")) for w in weights)
    )
