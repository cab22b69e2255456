"""Whether all that an adapter trains is saved, read back and merged: told by the base's empty outline."""

import difflib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import torch
from peft import get_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from peft.utils import ModulesToSaveWrapper, TrainableTokensWrapper

from eshop_ray.config import LoraSection
from eshop_ray.errors import UserError
from eshop_ray.training.adapter_senses import check_senses
from eshop_ray.training.adapter_ties import check_tying, find_split_embedding


def check_effects(lora: LoraSection, model: Any) -> None:
    """Refuse what PEFT would pass over in silence, and what it would train and then not save or not fold.

    Args:
        lora: The section.
        model: PEFT's wrapper of the base with an adapter of these settings; weights do not count.

    Raises:
        UserError: naming the option.
    """
    for option, entries, names, fits in _list_named(lora, model):
        for entry in entries:
            if not any(fits(entry, name) for name in names):
                raise UserError(f"`lora.{option}`: {entry} fits nothing in the base{_suggest(str(entry), names)}")
    check_senses(model)
    _check_products(model)
    _check_scales(model)
    _check_biases(lora, model)
    _check_tokens(model)
    check_tying(lora, model)
    _check_shared(model)
    _check_saved(model)


def check_copies(model: Any) -> None:
    """Refuse layers that are trained whole where they are kept in 4 bits.

    Raises:
        UserError: naming the layer.
    """
    base = model.get_base_model()
    copied = {name: part for name, part in base.named_modules() if isinstance(part, ModulesToSaveWrapper)}
    for name, part in copied.items():
        has_products = any(isinstance(layer, torch.nn.Linear) for layer in part.original_module.modules())
        if has_products and part is not base.get_output_embeddings():
            raise UserError(
                f"`lora.options.modules_to_save`: {name} is kept in 4 bits by `train.method: qlora` and cannot be "
                "trained whole; take it out, or set `train.method: lora`"
            )


def check_read_back(model: Any, again: Any) -> None:
    """Refuse an adapter that PEFT builds otherwise from the settings that it saves than from those that it was given.

    Args:
        model: PEFT's wrapper of the base with an adapter; weights do not count.
        again: The same of the adapter's saved settings.

    Raises:
        UserError: naming what differs.
    """
    first, then = _describe(model), _describe(again)
    changed = [name for name in sorted(first.keys() | then.keys()) if first.get(name) != then.get(name)]
    what = changed[0] if changed else find_split_embedding(again)
    if what:
        raise UserError(
            f"`lora.options`: PEFT would save {what} and read it back as something else, so that it could not be "
            "merged; leave out the option that is for it (`rank_pattern`, `alpha_pattern`, `ensure_weight_tying`)"
        )


def list_saved(model: Any) -> dict[str, torch.Tensor]:
    """Return what PEFT writes into an adapter's file, by its names there.

    Args:
        model: PEFT's wrapper of the base with an adapter.
    """
    saved: dict[str, torch.Tensor] = get_peft_model_state_dict(
        model, state_dict=_list_trained(model), save_embedding_layers=False
    )
    return saved


def _list_trained(model: Any) -> dict[str, torch.Tensor]:
    return {name: weight for name, weight in model.named_parameters(remove_duplicate=False) if weight.requires_grad}


def _describe(model: Any) -> dict[str, Any]:
    weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    scales = {
        name: module.scaling["default"] for name, module in model.named_modules() if isinstance(module, LoraLayer)
    }
    return {**{name: weight.shape for name, weight in weights.items()}, **scales}


def _list_named(
    lora: LoraSection, model: Any
) -> Iterator[tuple[str, Iterable[Any], Collection[str], Callable[[Any, str], bool]]]:
    """Yield every setting that names parts of the base: its entries, what they can name, and what fits what."""
    settings, tuner = model.peft_config["default"], model.base_model
    updated = [*tuner.targeted_module_names, *tuner.targeted_parameter_names]
    parts = dict(model.get_base_model().named_modules())
    copied = [name for name, part in parts.items() if isinstance(part, ModulesToSaveWrapper)]
    options = lora.options
    if not isinstance(lora.target_modules, str):  # PEFT takes experts' layers out of the list, and updates parameters
        listed = [name for name in lora.target_modules if name in settings.target_modules]
        yield "target_modules", listed, tuner.targeted_module_names, _ends_with
    yield (
        "options.target_parameters",
        options.get("target_parameters") or (),
        tuner.targeted_parameter_names,
        _ends_with,
    )
    yield "options.modules_to_save", options.get("modules_to_save") or (), copied, lambda end, name: name.endswith(end)
    excluded = options.get("exclude_modules") or ()
    if isinstance(excluded, str):
        yield "options.exclude_modules", [excluded], parts, lambda pattern, name: bool(re.fullmatch(pattern, name))
    else:
        yield "options.exclude_modules", excluded, parts, _ends_with
    layers = options.get("layers_to_transform")
    numbers = [layers] if isinstance(layers, int) else layers or ()
    yield "options.layers_to_transform", numbers, updated, lambda number, name: str(number) in name.split(".")
    for option in ("rank_pattern", "alpha_pattern"):
        yield f"options.{option}", options.get(option) or (), updated, _fits_pattern


def _ends_with(end: str, name: str) -> bool:
    return name == end or name.endswith(f".{end}")


def _fits_pattern(pattern: str, name: str) -> bool:
    """As `peft.utils.other.get_pattern_key`."""
    return bool(re.match(rf"(.*\.)?({pattern})$", name))


def _suggest(entry: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(entry.rpartition(".")[2], {name.rpartition(".")[2] for name in names}, n=1)
    return f"; did you mean `{near[0]}`?" if near else "; take it out"


def _check_biases(lora: LoraSection, model: Any) -> None:
    """`bias` trains biases that the base has; those that `lora_bias` adds can be folded into such only."""
    trained = [name for name, weight in model.named_parameters() if weight.requires_grad and ".lora_" not in name]
    kind = lora.options.get("bias", "none")
    if kind != "none" and not any(name.endswith(".bias") for name in trained):
        where = "the layers that get an update have" if kind == "lora_only" else "this base has"
        raise UserError(f"`lora.options.bias: {kind}`: {where} no biases to train; leave it out")
    if lora.options.get("lora_bias"):
        for name, module in model.get_base_model().named_modules():
            if isinstance(module, LoraLayer) and getattr(module.get_base_layer(), "bias", None) is None:
                raise UserError(
                    f"`lora.options.lora_bias`: {name} has no bias that the update's could be folded into; leave the "
                    "option out, or name layers with biases in `lora.target_modules`"
                )


def _check_tokens(model: Any) -> None:
    for module in model.modules():
        if isinstance(module, TrainableTokensWrapper):
            indices = module.token_adapter.token_indices["default"]
            num_known = len(module.token_adapter.get_base_layer().weight)
            wrong = [index for index in indices if not 0 <= index < num_known]
            if wrong or len(set(indices)) < len(indices):
                what = f"the base has no token {wrong[0]}, it knows {num_known}" if wrong else "a token is named twice"
                raise UserError(f"`lora.options.trainable_token_indices`: {what}; name each token once, by its id")


def _check_scales(model: Any) -> None:
    for name, module in model.get_base_model().named_modules():
        if isinstance(module, LoraLayer) and not module.scaling["default"] > 0:
            raise UserError(
                f"`lora.options.alpha_pattern`: the update of {name} would count 0 times; set a number above 0"
            )


def _check_saved(model: Any) -> None:
    """Compare what is trained with what PEFT writes into an adapter's file."""
    trained = _list_trained(model)
    saved = list_saved(model)
    lost = {id(weight) for weight in trained.values()} - {id(weight) for weight in saved.values()}
    names = [name for name, weight in trained.items() if id(weight) in lost]
    if names:
        raise UserError(
            f"`lora.options`: PEFT trains {names[0]} and does not save it; leave out the option that asks it to"
        )


def _check_shared(model: Any) -> None:
    """Layers that share one weight cannot be folded: an update is of one layer. Embeddings are looked at before."""
    base = model.get_base_model()
    owners = Counter(id(weight) for _, weight in base.named_parameters(remove_duplicate=False))
    embeddings = (base.get_input_embeddings(), base.get_output_embeddings())
    layers = {
        name: module.get_base_layer()
        for name, module in base.named_modules()
        if isinstance(module, LoraLayer) and module not in embeddings
    }
    shared = [name for name, layer in layers.items() if owners[id(getattr(layer, "weight", None))] > 1]
    if shared:
        ends = list(dict.fromkeys(name.rpartition(".")[2] for name in shared))
        raise UserError(
            f"section `lora`: {shared[0]} shares its weight with another layer, so that its update could not be "
            f"folded; set `lora.options.exclude_modules` to {ends}"
        )


def _check_products(model: Any) -> None:
    """PEFT takes what is derived from a linear layer for a product: also routers, which return more."""
    for name, module in model.get_base_model().named_modules():
        layer = module.get_base_layer() if isinstance(module, LoraLayer) else None
        if isinstance(layer, torch.nn.Linear) and type(layer).forward is not torch.nn.Linear.forward:
            try:
                module(layer.weight.new_zeros(1, layer.in_features))
            except (AttributeError, TypeError) as error:
                raise UserError(
                    f"section `lora`: {name} is more than a product ({type(layer).__name__}) and cannot be updated; "
                    f"set `lora.options.exclude_modules` to {[name.rpartition('.')[2]]}"
                ) from error
