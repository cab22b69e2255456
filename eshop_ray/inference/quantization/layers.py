"""Which layers of a model are quantized, by their names in its files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoModelForCausalLM

from eshop_ray.errors import UserError
from eshop_ray.models.shards import locate_tensors

FUSED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Layers that vLLM runs as one matrix, which is quantized or not."""


@dataclass(frozen=True, slots=True)
class Layers:
    """The linear layers of a model."""

    quantized: tuple[str, ...]
    left: tuple[str, ...]
    """The head first, then what `quantize.ignore` names."""
    located: Mapping[str, Path]
    """The file of every tensor of the model."""


def find_layers(model_dir: Path, ignore: Sequence[str]) -> Layers:
    """Divide the linear layers of a model; its weights are not read, only their names.

    Args:
        model_dir: The model.
        ignore: `quantize.ignore`.

    Raises:
        UserError: if the model is quantized already or its files cannot be read, if there is no layer to quantize, or
            if a pattern fits none, or divides layers that vLLM runs as one.
    """
    if json.loads((model_dir / "config.json").read_text()).get("quantization_config"):
        raise UserError(
            f"model {model_dir} is quantized already; set `quantize.model` or `model.source` to one that is not"
        )
    located = _locate(model_dir)
    heads, linear = _outline(model_dir)
    for pattern in ignore:
        if not any(fnmatchcase(name, pattern) for name in linear):
            raise UserError(
                f"`quantize.ignore`: no linear layer of {model_dir} is called {pattern!r}; they are called "
                f"{', '.join(linear[:7]) or 'nothing'} and so on; mend the pattern or leave it out"
            )
    left = tuple(name for name in linear if any(fnmatchcase(name, pattern) for pattern in ignore))
    quantized = tuple(name for name in linear if name not in left)
    if not quantized:
        reason = "`quantize.ignore` leaves none" if left else "its architecture has none (`torch.nn.Linear`)"
        raise UserError(f"model {model_dir} has no linear layer to quantize: {reason}; use it as it is")
    missing = next((name for name in quantized if f"{name}.weight" not in located), None)
    if missing:
        raise UserError(
            f"model {model_dir}: its safetensors files have no {missing}.weight; save it with `save_pretrained` of the "
            "Transformers version in use, and set `model.source` to that folder"
        )
    _check_fused(quantized, left)
    return Layers(quantized, (*heads, *left), located)


def _locate(model_dir: Path) -> dict[str, Path]:
    try:
        located = locate_tensors(model_dir)
        for path in set(located.values()):
            with safe_open(path, "pt") as weights:  # checks the header, and that the file is as long as it says
                weights.keys()
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"model {model_dir}: its weights cannot be read ({type(error).__name__}: {str(error)[:200]}); make or "
            "fetch the model again"
        ) from error
    return located


def _outline(model_dir: Path) -> tuple[list[str], list[str]]:
    """Return the names of the head and of the other linear layers, from a model without weights."""
    try:
        config: Any = AutoConfig.from_pretrained(model_dir)
        with torch.device("meta"):
            outline = AutoModelForCausalLM.from_config(config)
    except (ValueError, KeyError) as error:
        raise UserError(
            f"model {model_dir}: Transformers builds no causal language model from its config.json "
            f"({type(error).__name__}: {str(error)[:200]}); use a model that it knows"
        ) from error
    modules = dict(outline.named_modules())
    experts = next((name for name in modules if "experts" in name.split(".")), None)
    if experts:
        raise UserError(
            f"model {model_dir} is a mixture of experts ({experts}), whose weights are no linear layers of their own; "
            "use it as it is"
        )
    head = outline.get_output_embeddings()
    heads = [name for name, module in modules.items() if module is head]
    linear = [name for name, module in modules.items() if isinstance(module, torch.nn.Linear) and module is not head]
    return heads, linear


def _check_fused(quantized: Sequence[str], left: Sequence[str]) -> None:
    for name in left:
        parent, _, own = name.rpartition(".")
        partners = next((group for group in FUSED if own in group), ())
        torn = [partner for partner in partners if f"{parent}.{partner}" in quantized]
        if torn:
            raise UserError(
                f"`quantize.ignore` names {name}, but not {', '.join(torn)} beside it, and vLLM runs them as one; name "
                f"all of {', '.join(partners)}, or none"
            )
