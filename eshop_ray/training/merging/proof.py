"""Whether a merged model is what its adapters say: read back from its files, before it counts as complete."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from eshop_ray.config import MergeSection
from eshop_ray.errors import UserError
from eshop_ray.models import load_tokenizer
from eshop_ray.models.shards import find_precision, locate_tensors
from eshop_ray.training.adapter import load_adapter
from eshop_ray.training.merging.adapters import AdapterFile, list_modules
from eshop_ray.training.merging.combine import combine_module

logger = logging.getLogger(__name__)

NUM_COMPARED = 8
"""Modules that are looked at, spread over the model."""

PROMPTS = (
    "Warm wool scarf, red, 180 cm, made in Scotland. Category:",
    "The zip broke after two days and nobody answers my mails. Sentiment:",
    "Brand and size of: Stanley thermos bottle, 1 litre, green =",
)
"""What is asked; any text does."""
LOGIT_TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 1e-1}
"""How far the logits of a token may differ, relative to their norm: weights are rounded to the merged precision.

Rounding alone gives 2e-6, 8e-4 and 5e-3 with a model of 30 layers. Experts make it more: it sends tokens to others.
"""


def check_folded(
    model_dir: Path, adapters: Sequence[AdapterFile], merge: MergeSection, seed: int, merged_dir: Path
) -> None:
    """Compare some of a merged model's weights with base plus update, both on disk.

    They may differ by what the merged model's precision rounds: half of its eps, relative to each weight; the norm of
    all differences of a module stays below that of the weights times so much.

    Args:
        model_dir: The base.
        adapters: Plain ones.
        merge: How they were combined.
        seed: Of what is drawn on the way.
        merged_dir: The merged model.

    Raises:
        UserError: naming a module that is not as it should be.
    """
    base, merged = locate_tensors(model_dir), locate_tensors(merged_dir)
    modules = [module for module in list_modules(adapters) if f"{module}.weight" in base]
    for module in modules[:: max(1, len(modules) // NUM_COMPARED)]:
        name = f"{module}.weight"
        factor_a, factor_b = combine_module(adapters, merge, seed, module)
        expected = _read(base[name], name).float() + factor_b.float() @ factor_a.float()
        found = _read(merged[name], name) if name in merged else None
        if found is None or found.shape != expected.shape or not found.is_floating_point():
            raise UserError(f"the merged model's {module} is not of the base's kind; nothing was kept. {_REMEDY}")
        allowed = torch.finfo(found.dtype).eps / 2 * expected.norm() + torch.finfo(torch.float32).eps * expected.norm()
        difference = (found.float() - expected).norm()
        if not difference <= allowed:
            raise UserError(
                f"the merged model's {module} differs from base plus adapter by {difference:.3g} (rounding explains "
                f"{allowed:.3g}); nothing was kept. {_REMEDY}"
            )


def check_answers(
    model_dir: Path, adapters: Sequence[AdapterFile], merge: MergeSection, seed: int, merged_dir: Path
) -> float | None:
    """Compare what a merged model says to some prompts with what base and adapter say that are not merged.

    Both are computed in fp32, one after the other, so one of them has to fit into memory.

    Args:
        model_dir: The base.
        adapters: Of that base.
        merge: How they were combined.
        seed: Of what is drawn on the way.
        merged_dir: The merged model.

    Returns:
        The norm of the difference of a token's logits, relative to theirs, in the middle of all tokens; None where they
        were not compared, which the log says.

    Raises:
        UserError: if they differ by more than rounding explains.
    """
    size = sum(path.stat().st_size for path in merged_dir.glob("*.safetensors"))
    dtype = _find_dtype(merged_dir)
    needed = _LOAD_SHARE * size * torch.float32.itemsize / dtype.itemsize
    if needed > psutil.virtual_memory().available:
        logger.warning("answers of base and merged model are not compared: that takes %.0f GiB", needed / 2**30)
        return None
    if len(adapters) > 1 or merge.wise_ft != 1 or (merge.weights or (1.0,)) != (1.0,):
        if any(adapter.extras for adapter in adapters):
            logger.warning("answers of base and merged model are not compared: a part of an update that is no product")
            return None
        updates: Iterable[tuple[str, Any]] | None = (
            (module, combine_module(adapters, merge, seed, module)) for module in list_modules(adapters)
        )
    else:
        updates = None
    expected = _answer(_load_unmerged(model_dir, adapters, updates), model_dir)
    found = _answer(AutoModelForCausalLM.from_pretrained(merged_dir, dtype=torch.float32), model_dir)
    error = float(((found - expected).norm(dim=-1) / expected.norm(dim=-1)).median())
    if not error <= LOGIT_TOLERANCE[dtype]:
        raise UserError(
            f"the merged model answers otherwise than base and adapter: logits differ by {error:.2g} of their norm "
            f"(rounding explains {LOGIT_TOLERANCE[dtype]:.2g}); nothing was kept. {_REMEDY}"
        )
    return error


_LOAD_SHARE = 1.3
"""Memory that loading a model takes, relative to its size."""


def _load_unmerged(
    model_dir: Path, adapters: Sequence[AdapterFile], updates: Iterable[tuple[str, Any]] | None
) -> torch.nn.Module:
    """Return the base with PEFT's adapter over it, or with updates that are added to its layers' outputs."""
    base = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    if updates is None:
        model: torch.nn.Module = load_adapter(base, adapters[0].folder)
        return model
    for module, (factor_a, factor_b) in updates:
        base.get_submodule(module).register_forward_hook(_adder(factor_a.float(), factor_b.float()))
    return base


def _adder(factor_a: torch.Tensor, factor_b: torch.Tensor) -> Any:
    def add(_layer: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        return output + inputs[0] @ factor_a.T @ factor_b.T

    return add


@torch.inference_mode()  # type: ignore[untyped-decorator]
def _answer(model: torch.nn.Module, model_dir: Path) -> torch.Tensor:
    """Return the logits of all prompts' tokens, (T, V), around their mean: a shift of all of them changes nothing."""
    tokenizer, parts = load_tokenizer(model_dir), []
    for prompt in PROMPTS:
        ids = torch.tensor([tokenizer(prompt, add_special_tokens=False)["input_ids"]])
        parts.append(model.eval()(input_ids=ids, use_cache=False).logits[0].float())
    logits = torch.cat(parts)
    return logits - logits.mean(-1, keepdim=True)


def _find_dtype(merged_dir: Path) -> torch.dtype:
    dtype = getattr(torch, str(find_precision(merged_dir)))
    assert isinstance(dtype, torch.dtype)
    return dtype


def _read(path: Path, name: str) -> torch.Tensor:
    with safe_open(path, "pt", backend="pread") as weights:
        tensor: torch.Tensor = weights.get_tensor(name)
        return tensor


_REMEDY = "Is the base kept in another form than its config says? Save it with `save_pretrained`, and merge again"
