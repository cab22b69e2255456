"""A model's safetensors files, read and written a tensor at a time."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
MAX_SHARD_BYTES = 1 << 30


def locate_tensors(model_dir: Path) -> dict[str, Path]:
    """Return the file of every tensor of a model, by the tensor's name; none if the model is kept in another format."""
    if (model_dir / SINGLE).is_file():
        with safe_open(model_dir / SINGLE, framework="pt") as weights:
            return dict.fromkeys(weights.keys(), model_dir / SINGLE)
    if (model_dir / INDEX).is_file():
        names = json.loads((model_dir / INDEX).read_text())["weight_map"]
        return {name: model_dir / file for name, file in names.items()}
    return {}


def find_precision(model_dir: Path) -> str | None:
    """Return the type of a model's largest number of tensors by the name that torch has for it, as its files have them.

    Returns:
        None if there are no floating-point tensors in safetensors files.
    """
    located = locate_tensors(model_dir)
    counts: Counter[str] = Counter()
    for path in sorted(set(located.values())):
        with safe_open(path, framework="pt") as weights:
            counts.update(str(weights.get_slice(name).get_dtype()) for name in weights.keys())  # noqa: SIM118
    found = [name for name, _ in counts.most_common() if name in _PRECISIONS]
    return _PRECISIONS[found[0]] if found else None


_PRECISIONS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}


def write_shards(
    located: Mapping[str, Path],
    change: Callable[[str, torch.Tensor], torch.Tensor],
    dtype: torch.dtype,
    folder: Path,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Write a model's tensors, changed one by one, as Transformers writes them; one shard is in memory at a time.

    Args:
        located: Of `locate_tensors`.
        change: Takes a tensor's name and the tensor; returns what is written.
        dtype: Of the floating-point tensors that are written.
        folder: Gets one file, or several with an index.
        max_shard_bytes: Size of a file's tensors; one that is larger gets a file of its own.
    """
    with ExitStack() as stack:
        # Read and not mapped: the map of a file counts as memory where memory is limited.
        files = {path: stack.enter_context(safe_open(path, "pt", backend="pread")) for path in set(located.values())}
        sizes = {name: _measure(files[path], name, dtype) for name, path in located.items()}
        shards = list(_divide(sizes, max_shard_bytes))
        weight_map = {}
        for number, names in enumerate(shards, start=1):
            file = SINGLE if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
            tensors = {name: _convert(change(name, files[located[name]].get_tensor(name)), dtype) for name in names}
            save_file(tensors, folder / file, metadata={"format": "pt"})
            weight_map.update(dict.fromkeys(names, file))
            del tensors  # before those of the next shard are made
    if len(shards) > 1:
        index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": dict(sorted(weight_map.items()))}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")


def _measure(weights: Any, name: str, dtype: torch.dtype) -> int:
    """Return a tensor's bytes after `_convert`."""
    tensor = weights.get_slice(name)
    is_float = str(tensor.get_dtype()).startswith(("F", "BF"))
    bytes_per_value = dtype.itemsize if is_float else weights.get_tensor(name).itemsize
    return int(math.prod(tensor.get_shape()) * bytes_per_value)


def _convert(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return (tensor.to(dtype) if tensor.is_floating_point() else tensor).contiguous()


def _divide(sizes: Mapping[str, int], max_bytes: int) -> Iterator[Sequence[str]]:
    """Yield names in order, as many as fit together."""
    shard: list[str] = []
    for name in sizes:
        if shard and sum(sizes[other] for other in shard) + sizes[name] > max_bytes:
            yield shard
            shard = []
        shard.append(name)
    yield shard
