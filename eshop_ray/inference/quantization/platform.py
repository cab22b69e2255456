"""Which schemes vLLM runs where: asked before minutes of work, not found out after them."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eshop_ray.errors import UserError

logger = logging.getLogger(__name__)

SCHEMES = ("w8a8", "fp8", "w4a16_gptq", "w4a16_awq")

OLDEST = (7, 5)
"""Compute capability below which vLLM has no kernel for any of them."""
NO_INT8 = (10, 0)
"""From here on its int8 kernels are left out."""
FULL_PRECISION = ("float32", "float")
"""Names of vLLM's for a type that the int8 kernel of CPUs with matrix units cannot take."""
FULL_FP8 = (8, 9)
"""From here on products are computed in fp8; below, only weights are kept so."""


def list_schemes(capability: tuple[int, int] | None) -> tuple[str, ...]:
    """Return the schemes that run on a GPU of this compute capability, or on a CPU (None)."""
    if capability is None:
        return SCHEMES
    if capability < OLDEST:
        return ()
    return tuple(name for name in SCHEMES if name != "w8a8" or capability < NO_INT8)


def check_scheme(scheme: str, use_gpu: bool, source: str = "`quantize.scheme`") -> None:
    """Refuse a scheme that cannot run where the config has answers computed, as far as this machine shows.

    Args:
        scheme: One of `SCHEMES`; of the two in int4 either stands for both.
        use_gpu: As in the config; a GPU that this machine has not, or hides, cannot be asked.
        source: What named the scheme, for the message.

    Raises:
        UserError: naming the schemes that run.
    """
    capability = _find_capability() if use_gpu else None
    if use_gpu and capability is None:
        return
    runnable = list_schemes(capability)
    if scheme not in runnable:
        assert capability is not None
        remedy = f"choose {' or '.join(runnable)}" if runnable else "use the model as it is"
        raise UserError(
            f"{source} is {scheme}, for which vLLM has no kernel on this machine's GPU (compute capability "
            f"{capability[0]}.{capability[1]}); {remedy}, or, for answers on other machines, set `infer.use_gpu: false`"
        )
    if scheme == "fp8" and capability is None:
        logger.warning("fp8 on a CPU: smaller, but many times slower than the model as it is; take w8a8 there")
    elif scheme == "fp8" and capability is not None and capability < FULL_FP8:
        logger.warning("fp8 on this GPU: weights only; products in fp8 need compute capability 8.9")


def check_model(model_dir: Path, use_gpu: bool, dtype: str | None = None) -> None:
    """Refuse a model whose own quantization cannot run where the config has answers computed.

    Args:
        model_dir: The model.
        use_gpu: As in the config.
        dtype: Of the engine's arguments, if it is stated.

    Raises:
        UserError: naming the schemes that run, or the type that the kernel takes.
    """
    config = json.loads((model_dir / "config.json").read_text()).get("quantization_config") or {}
    scheme = find_scheme(config)
    if scheme:
        check_scheme(scheme, use_gpu, f"the scheme of model {model_dir}")
    if scheme == "w8a8" and not use_gpu and dtype in FULL_PRECISION and _has_matrix_units():
        raise UserError(
            f"model {model_dir} has int8 weights, and this CPU's kernel for them takes bfloat16 or half besides: set "
            f"`engine_kwargs.dtype` to bfloat16, now {dtype}"
        )


_KINDS: Mapping[tuple[Any, ...], str] = {
    ("int", 8, 8): "w8a8",
    ("float", 8, 8): "fp8",
    ("int", 4, None): "w4a16_gptq",
}
"""Type and bits of the weights, bits of the activations."""


def find_scheme(quantization_config: Mapping[str, Any]) -> str | None:
    """Return the scheme of a model by its `quantization_config`, or None if it is none of ours."""
    if quantization_config.get("quant_method") != "compressed-tensors":
        return None
    for group in quantization_config.get("config_groups", {}).values():
        weights, activations = group.get("weights") or {}, group.get("input_activations") or {}
        kind = (weights.get("type"), weights.get("num_bits"), activations.get("num_bits"))
        if kind in _KINDS:
            return _KINDS[kind]
    return None


def _has_matrix_units() -> bool:
    """Whether this CPU has AMX, which vLLM then multiplies int8 with."""
    import torch

    return bool(torch.cpu._is_amx_tile_supported())


def _find_capability() -> tuple[int, int] | None:
    """Return the compute capability of the least of this machine's GPUs."""
    import torch

    devices = range(torch.cuda.device_count()) if torch.cuda.is_available() else ()
    return min((torch.cuda.get_device_capability(device) for device in devices), default=None)
