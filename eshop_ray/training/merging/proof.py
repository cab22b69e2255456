"""Whether a merged model is what its adapters say: read back from its files, before it counts as complete."""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open

from eshop_ray.config import MergeSection
from eshop_ray.errors import UserError
from eshop_ray.models.shards import locate_tensors
from eshop_ray.training.merging.adapters import AdapterFile, list_modules
from eshop_ray.training.merging.combine import combine_module

NUM_COMPARED = 8
"""Modules that are looked at, spread over the model."""


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


def _read(path: Path, name: str) -> torch.Tensor:
    with safe_open(path, "pt", backend="pread") as weights:
        tensor: torch.Tensor = weights.get_tensor(name)
        return tensor


_REMEDY = "Is the base kept in another form than its config says? Save it with `save_pretrained`, and merge again"
