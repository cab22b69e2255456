"""Folding updates into their base: one model that every engine loads. A fully trained model only changes precision."""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig
from transformers.pytorch_utils import Conv1D

from eshop_ray.artifacts import stage_dir, write_manifest
from eshop_ray.data.template_gap import save_tokenizer
from eshop_ray.errors import UserError
from eshop_ray.models import load_tokenizer
from eshop_ray.models.processors import copy_processors
from eshop_ray.models.shards import MAX_SHARD_BYTES, find_precision, locate_tensors, write_shards
from eshop_ray.places import place_of
from eshop_ray.training.adapter import load_adapter, outline_adapter, outline_base
from eshop_ray.training.adapter_ties import find_split_embedding
from eshop_ray.training.merging.adapters import AdapterFile, Update, is_adapter, list_modules
from eshop_ray.training.merging.combine import combine, combine_module
from eshop_ray.training.merging.proof import check_answers, check_folded
from eshop_ray.training.merging.recipe import Recipe, get_weights
from eshop_ray.training.merging.switched import write_updates


def write_merged(recipe: Recipe, merged_dir: Path, max_shard_bytes: int = MAX_SHARD_BYTES) -> None:
    """Write the merged model with its tokenizer, in the base's precision.

    Plain adapters are added to the base tensor by tensor, so that a base larger than memory can be merged; what is
    more than B @ A, what the base's files keep in another form, and whole models, go through memory.

    Args:
        recipe: What is merged.
        merged_dir: Is replaced when the new model is complete.
        max_shard_bytes: Size of a file of weights.

    Raises:
        UserError: if an adapter was trained on another base, is damaged or not finite, if they cannot be combined, or
            if they change what the base does not have as a weight of its own, or if what was written is not base plus
            update, by its weights or its answers.
    """
    recipe.check()
    adapters = [AdapterFile.open(folder) for folder in recipe.adapter_dirs if is_adapter(folder)]
    _check_tied(adapters, recipe.model_dir)
    is_switched = recipe.merge.method == "switched"
    if is_switched and not _can_stream(adapters, recipe.model_dir):
        raise UserError(
            f"`merge.method: switched` exchanges weights that the base {recipe.model_dir} keeps under their own names "
            "in safetensors files, and these adapters change others; choose another `merge.method`"
        )
    with stage_dir(merged_dir) as folder:
        if is_switched:
            _write_streamed(recipe, [], folder, max_shard_bytes)
        elif adapters and _can_stream(adapters, recipe.model_dir):
            _write_streamed(recipe, adapters, folder, max_shard_bytes)
            check_folded(recipe.model_dir, adapters, recipe.merge, recipe.seed, folder)
        else:
            _fold_in_memory(recipe, adapters).to(_find_dtype(recipe.model_dir)).save_pretrained(folder)
        save_tokenizer(load_tokenizer(recipe.model_dir), folder)
        copy_processors(recipe.model_dir, folder)
        details = {"dtype": read_dtype(recipe.model_dir), **recipe.settings}
        if is_switched:
            write_updates(folder, adapters, recipe.merge.wise_ft)
        elif adapters:
            details["logits_error"] = check_answers(recipe.model_dir, adapters, recipe.merge, recipe.seed, folder)
        if len(adapters) > 1:
            details["adapters"] = [place_of(adapter.folder) for adapter in adapters]
        write_manifest(folder, "model", recipe.inputs, recipe.parents, details)


def fold_adapter(model_dir: Path, adapter_dir: Path, share: float = 1.0) -> Any:
    """Return the trained model in fp32: the base with the adapter's updates added, or the fully trained model itself.

    The sum is taken in fp32 and rounded once, on saving: a bf16 sum would lose small updates. An adapter that was
    trained on a base in 4 bits is folded into the base as it is on disk.

    Args:
        model_dir: The base.
        adapter_dir: An adapter or a fully trained model.
        share: How far to go from the base to the trained model (WiSE-FT, https://arxiv.org/abs/2109.01903).

    Raises:
        UserError: if the adapter's weights are not finite, or PEFT cannot lay it over the base.
    """
    if not is_adapter(adapter_dir):
        model = AutoModelForCausalLM.from_pretrained(adapter_dir, dtype=torch.float32)
    else:
        base = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
        try:
            model = load_adapter(base, adapter_dir).merge_and_unload(safe_merge=True)
        except (ValueError, RuntimeError) as error:
            raise UserError(f"adapter {adapter_dir} cannot be folded ({str(error)[:200]}); train again") from error
    if share != 1:
        _go_back(model, model_dir, share)
    return model


def read_dtype(model_dir: Path) -> str:
    """Return the precision of a model by the name that torch has for it: what its config says, else its weights."""
    config = json.loads((model_dir / "config.json").read_text())
    for part in (config, config.get("text_config") or {}):
        if stated := part.get("dtype") or part.get("torch_dtype"):
            return str(stated)
    return find_precision(model_dir) or "float32"


def _find_dtype(model_dir: Path) -> torch.dtype:
    dtype = getattr(torch, read_dtype(model_dir))
    assert isinstance(dtype, torch.dtype)
    return dtype


def _go_back(model: Any, model_dir: Path, share: float) -> None:
    """Move a model's weights towards its base's."""
    base = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    weights = dict(base.named_parameters())
    for name, weight in model.named_parameters():
        weight.data = torch.lerp(weights[name].data, weight.data, share)


def _fold_in_memory(recipe: Recipe, adapters: Sequence[AdapterFile]) -> Any:
    """Return the merged model in fp32."""
    if len(adapters) > 1:
        return fold_updates(recipe.model_dir, combine(adapters, recipe.merge, recipe.seed))
    (adapter_dir,) = recipe.adapter_dirs
    return fold_adapter(recipe.model_dir, adapter_dir, get_weights(recipe.merge, 1)[0] * recipe.merge.wise_ft)


@torch.no_grad()  # type: ignore[untyped-decorator]
def fold_updates(model_dir: Path, updates: Iterable[tuple[str, Update]]) -> Any:
    """Return a base in fp32 with updates of some of its layers added.

    Args:
        model_dir: The base.
        updates: Layer, by its name in the base, and its update.
    """
    base = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    for module, (factor_a, factor_b) in updates:
        layer, change = base.get_submodule(module), factor_b @ factor_a
        layer.weight += change.T if isinstance(layer, Conv1D) else change
    return base


def _can_stream(adapters: Sequence[AdapterFile], model_dir: Path) -> bool:
    """Whether every update has its tensor in the base's files, and as rows of outputs.

    Files may have other names than the model that Transformers makes of them, or keep a weight in parts.
    """
    located = locate_tensors(model_dir)
    modules, parts = list_modules(adapters), dict(outline_base(model_dir).named_modules())
    return (
        all(f"{module}.weight" in located and not isinstance(parts[module], Conv1D) for module in modules)
        and bool(located)
        and not any(adapter.extras for adapter in adapters)
    )


def _write_streamed(recipe: Recipe, adapters: Sequence[AdapterFile], folder: Path, max_shard_bytes: int) -> None:
    changed = {f"{module}.weight": module for module in list_modules(adapters)}

    def change(name: str, weight: torch.Tensor) -> torch.Tensor:
        if name not in changed:
            return weight
        factor_a, factor_b = combine_module(adapters, recipe.merge, recipe.seed, changed[name])
        if (factor_b.shape[0], factor_a.shape[1]) != tuple(weight.shape):
            raise UserError(f"the update of {changed[name]} does not fit the base's {tuple(weight.shape)}; train again")
        return (factor_b @ factor_a).add_(weight)

    dtype = read_dtype(recipe.model_dir)
    write_shards(locate_tensors(recipe.model_dir), change, _find_dtype(recipe.model_dir), folder, max_shard_bytes)
    config = AutoConfig.from_pretrained(recipe.model_dir)
    config.dtype = dtype
    config.save_pretrained(folder)
    _read_generation(recipe.model_dir, config).save_pretrained(folder)


def _read_generation(model_dir: Path, config: Any) -> Any:
    """Return the base's settings for generation, as `from_pretrained` finds them."""
    if (model_dir / "generation_config.json").is_file():
        return GenerationConfig.from_pretrained(model_dir)
    return GenerationConfig.from_model_config(config)


def _check_tied(adapters: Sequence[AdapterFile], model_dir: Path) -> None:
    """Refuse to change an embedding that the base uses in two places: saved, the update would be in both or in none."""
    for adapter in adapters:
        # fresh weights are of no use, and some need those of the base
        settings = dataclasses.replace(LoraConfig.from_pretrained(adapter.folder), init_lora_weights=False)
        found = find_split_embedding(outline_adapter(model_dir, settings))
        if found:
            raise UserError(
                f"adapter {adapter.folder} changes {found}, which the base {model_dir} ties to its other embedding, so "
                "that the update cannot be folded into one of them; leave it out of `lora.target_modules` and train "
                "again"
            )
