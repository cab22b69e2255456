"""A model folder in the compressed-tensors format, which vLLM and Transformers load as they are."""

import json
import math
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from eshop_ray.artifacts import MANIFEST, fingerprint, stage_dir, write_manifest
from eshop_ray.config.quantization import QuantizeSection
from eshop_ray.errors import UserError
from eshop_ray.inference.quantization.int8 import CLIPS, quantize_int8
from eshop_ray.inference.quantization.layers import Layers, find_layers
from eshop_ray.models import model_digest
from eshop_ray.models.shards import INDEX, MAX_SHARD_BYTES, SINGLE
from eshop_ray.models.templates import MORE_TEMPLATES

Tensors = dict[str, torch.Tensor]

W8A8: Mapping[str, Any] = {
    "targets": ["Linear"],
    "weights": {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False},
    "input_activations": {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True},
    "output_activations": None,
}
"""A `config_group` of https://github.com/vllm-project/compressed-tensors."""

WEIGHT_SUFFIXES = frozenset({".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx"})
"""Of files that a quantized model does not take over from its parent."""
DTYPES = frozenset({torch.float32, torch.bfloat16, torch.float16})


@dataclass(frozen=True, slots=True)
class Quantization:
    """What is quantized, and how."""

    model_dir: Path
    settings: QuantizeSection

    @property
    def parents(self) -> dict[str, str]:
        """The model's digest, by the model's name."""
        return {self.settings.model: model_digest(self.model_dir)}

    @property
    def inputs(self) -> str:
        """Digest of all that determines the quantized model."""
        return fingerprint([self.parents, W8A8, CLIPS, self.settings.ignore])


def write_quantized(job: Quantization, quantized_dir: Path, max_shard_bytes: int = MAX_SHARD_BYTES) -> dict[str, Any]:
    """Write the quantized model with its tokenizer, tensor by tensor: the model may be larger than memory.

    Args:
        job: What is quantized.
        quantized_dir: Is replaced when the new model is complete.
        max_shard_bytes: Size of a file of weights.

    Returns:
        What the manifest tells the reader: `num_layers`, `relative_error` (the mean over the layers) and the layer
        that loses most, `worst_layer` and `worst_error`, sizes in bytes, `seconds`.

    Raises:
        UserError: if the model cannot be quantized; nothing is replaced then.
    """
    layers = find_layers(job.model_dir, job.settings.ignore)
    errors: dict[str, float] = {}
    started = time.monotonic()
    with stage_dir(quantized_dir) as folder:
        _write_shards(_quantize(layers, errors), folder, max_shard_bytes)
        copy_rest(job.model_dir, _describe(layers), folder)
        worst = max(errors, key=lambda name: errors[name])
        details = {
            "scheme": job.settings.scheme,
            "num_layers": len(errors),
            "relative_error": round(math.fsum(errors.values()) / len(errors), 6),
            "worst_layer": worst,
            "worst_error": round(errors[worst], 6),
            "num_bytes": measure_weights(folder),
            "num_bytes_before": measure_weights(job.model_dir),
            "seconds": round(time.monotonic() - started, 1),
        }
        write_manifest(folder, "model", job.inputs, job.parents, details)
    return details


def _quantize(layers: Layers, errors: dict[str, float]) -> Iterator[Tensors]:
    """Yield a model's tensors, those that belong together at a time; `errors` takes each layer's rounding error."""
    quantized = {f"{name}.weight": name for name in layers.quantized}
    paths = set(layers.located.values())
    with ExitStack() as stack:
        # Read and not mapped: the map of a file counts as memory where memory is limited.
        files = {path: stack.enter_context(safe_open(path, "pt", backend="pread")) for path in paths}
        for name, path in layers.located.items():
            tensor = files[path].get_tensor(name)
            if name not in quantized:
                yield {name: tensor}
                continue
            check_weight(tensor, name, path)
            weight = quantize_int8(tensor)
            errors[quantized[name]] = weight.relative_error
            yield {name: weight.values, f"{name}_scale": weight.scales}


def check_weight(weight: torch.Tensor, name: str, path: Path) -> None:
    """Refuse a weight that cannot be rounded.

    Raises:
        UserError: naming it and its file.
    """
    if weight.dtype not in DTYPES:
        raise UserError(
            f"{path}: {name} is kept as {weight.dtype}; set `model.source` to a model in bf16, fp16 or fp32"
        )
    if not weight.isfinite().all():
        raise UserError(f"{path}: {name} has values that are not finite; make or fetch the model again")


def _write_shards(tensors: Iterator[Tensors], folder: Path, max_shard_bytes: int) -> None:
    """Write tensors as Transformers does; how many files they need is known at the end."""
    shards: list[list[str]] = []
    total_size = 0
    for shard in _gather(tensors, max_shard_bytes):
        shards.append(list(shard))
        total_size += _measure(shard)
        save_file(shard, folder / f"{len(shards)}.safetensors", metadata={"format": "pt"})
    weight_map = {}
    for number, names in enumerate(shards, start=1):
        file = SINGLE if len(shards) == 1 else f"model-{number:05}-of-{len(shards):05}.safetensors"
        (folder / f"{number}.safetensors").rename(folder / file)
        weight_map.update(dict.fromkeys(names, file))
    if len(shards) > 1:
        index = {"metadata": {"total_size": total_size}, "weight_map": dict(sorted(weight_map.items()))}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")


def _gather(tensors: Iterator[Tensors], max_bytes: int) -> Iterator[Tensors]:
    """Yield as many as fit together; the one that yields lets go of them when the next are asked for."""
    shard: Tensors = {}
    for group in tensors:
        if shard and _measure(shard) + _measure(group) > max_bytes:
            yield shard
            shard.clear()
        shard.update(group)
    yield shard


def _measure(tensors: Tensors) -> int:
    return sum(tensor.nbytes for tensor in tensors.values())


def copy_rest(model_dir: Path, settings: Mapping[str, Any], folder: Path) -> None:
    """Copy what is no weight, and say in the config, as `quantization_config`, what was done to the weights."""
    for path in model_dir.iterdir():
        is_weights = path.suffix in WEIGHT_SUFFIXES or path.name.endswith(".index.json")
        if path.is_file() and not is_weights and path.name != MANIFEST:
            shutil.copyfile(path, folder / path.name)
    if (model_dir / MORE_TEMPLATES).is_dir():
        shutil.copytree(model_dir / MORE_TEMPLATES, folder / MORE_TEMPLATES, dirs_exist_ok=True)
    config = json.loads((model_dir / "config.json").read_text())
    config["quantization_config"] = dict(settings)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def measure_weights(folder: Path) -> int:
    """Return the bytes of a model's safetensors files."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def _describe(layers: Layers) -> dict[str, Any]:
    return {
        "quant_method": "compressed-tensors",
        "format": "int-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": W8A8},
        "ignore": list(layers.left),
    }
