"""What llm-compressor is asked to do, as plain values: they are fingerprinted here and read in its environment."""

from collections.abc import Mapping
from typing import Any

from safetensors import safe_open

from eshop_ray.errors import UserError
from eshop_ray.inference.quantization.layers import Layers

GROUP_SIZES = (128, 64, 32)
"""Inputs that share a scale, the most common number first; all have kernels on CPUs and GPUs."""

CALIBRATED = frozenset({"w4a16_gptq", "w4a16_awq"})
METHODS = {"fp8": "round", "w4a16_gptq": "gptq", "w4a16_awq": "awq"}

FP8: Mapping[str, Any] = {
    "targets": ["Linear"],
    "weights": {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "channel", "dynamic": False},
    "input_activations": {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "token", "dynamic": True},
}


def build_recipe(scheme: str, layers: Layers) -> dict[str, Any]:
    """Return `method`, `config_groups`, as in compressed-tensors, `ignore` and, of groups, `group_size`.

    Raises:
        UserError: if no size of groups divides the inputs of every layer.
    """
    recipe = {"method": METHODS[scheme], "ignore": list(layers.left)}
    if scheme == "fp8":
        return {**recipe, "config_groups": {"group_0": FP8}}
    size = choose_group_size(layers)
    weights = {
        "num_bits": 4,
        "type": "int",
        "symmetric": scheme == "w4a16_gptq",  # AWQ's weights have a zero point per group, as in its paper
        "strategy": "group",
        "group_size": size,
    }
    return {**recipe, "group_size": size, "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}}


def choose_group_size(layers: Layers) -> int:
    """Return the largest size that divides the inputs of every layer.

    Raises:
        UserError: naming the first layer that no size divides.
    """
    inputs = {name: _count_inputs(layers, name) for name in layers.quantized}
    for size in GROUP_SIZES:
        if all(number % size == 0 for number in inputs.values()):
            return size
    name = next(name for name, number in inputs.items() if number % GROUP_SIZES[-1])
    raise UserError(
        f"{layers.located[f'{name}.weight'].parent}: {name} has {inputs[name]} inputs, which groups of "
        f"{', '.join(map(str, GROUP_SIZES))} do not divide; leave it out (`quantize.ignore`), or choose a "
        "`quantize.scheme` without groups: w8a8, fp8"
    )


def _count_inputs(layers: Layers, name: str) -> int:
    key = f"{name}.weight"
    with safe_open(layers.located[key], "pt") as weights:
        return int(weights.get_slice(key).get_shape()[1])
