"""The adapter's settings, checked against PEFT and the base before anything is loaded; and earlier adapters."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM

from eshop_ray.artifacts import digest_files, fetch, find_manifest, hash_file, shorten_digest
from eshop_ray.config import LoraSection
from eshop_ray.errors import UserError
from eshop_ray.models import model_digest
from eshop_ray.models.peft_files import SETTINGS, WEIGHTS
from eshop_ray.models.templates import describe_model
from eshop_ray.places import local_path, uri_of
from eshop_ray.training.adapter_effects import (
    check_copies,
    check_effects,
    check_read_back,
    list_saved,
)
from eshop_ray.training.adapter_options import build_lora_config, check_four_bits
from eshop_ray.training.adapter_senses import add_adapter
from eshop_ray.training.adapter_start import check_start

logger = logging.getLogger(__name__)


COMPARED = ("r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern")
"""Settings under which an adapter's weights mean something else."""


def check_adapter_settings(model_dir: Path, lora: LoraSection, method: str) -> None:
    """Lay the adapter over the base's empty outline: wrong settings come to light before weights are loaded.

    Args:
        model_dir: The base.
        lora: The section.
        method: `lora` or `qlora`.

    Raises:
        UserError: if no layer gets an update, if an option would do nothing or what cannot be merged, or if
            `lora.init_from` is no adapter of this base and these settings.
    """
    settings = build_lora_config(lora)
    if method == "qlora":
        check_four_bits(lora)
    try:
        outline = outline_adapter(model_dir, settings)
    except (AttributeError, TypeError, ValueError, NotImplementedError, RuntimeError, re.error) as error:
        raise UserError(f"section `lora` does not fit the model {model_dir}: {_explain(error)}") from error
    check_effects(lora, outline)
    check_start(lora, outline)
    if method == "qlora":
        check_copies(outline)
    with TemporaryDirectory() as folder:
        outline.peft_config["default"].save_pretrained(folder)
        check_read_back(outline, outline_adapter(model_dir, LoraConfig.from_pretrained(folder)))
    if lora.init_from:
        _check_initial(find_initial(lora), model_dir, outline)


def outline_adapter(model_dir: Path, settings: LoraConfig) -> Any:
    """Return PEFT's wrapper of a base with an adapter, both without weights."""
    with torch.device("meta"):
        return add_adapter(outline_base(model_dir), settings)


def outline_base(model_dir: Path) -> Any:
    """Return a base without weights."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model_dir))


def find_initial(lora: LoraSection) -> Path:
    """Return the folder of `lora.init_from`, absolute: workers may run elsewhere.

    Raises:
        UserError: if it holds no adapter.
    """
    folder = local_path(str(lora.init_from))
    manifest = find_manifest(folder) if uri_of(folder) else None
    if manifest is not None:
        fetch(folder, manifest)
    for name in (SETTINGS, WEIGHTS):
        if not (folder / name).is_file():
            raise UserError(
                f"`lora.init_from` {folder}: no {name}; give the folder of an adapter "
                "(a fully trained model is a base of its own: set `model.source` to it)"
            )
    return folder


def digest_initial(lora: LoraSection) -> str | None:
    """Return the digest of the adapter that training starts from, for the fingerprint; None if it starts afresh.

    Raises:
        UserError: if there is no adapter.
    """
    if not lora.init_from:
        return None
    folder = find_initial(lora)
    return digest_files({name: hash_file(folder / name) for name in (SETTINGS, WEIGHTS)})


def load_initial(model: Any, lora: LoraSection) -> None:
    """Put the weights of `lora.init_from` into a model's fresh adapter."""
    _put_weights(model, load_file(find_initial(lora) / WEIGHTS))


def load_adapter(base: Any, folder: Path) -> Any:
    """Return PEFT's wrapper of a model with an adapter from disk."""
    model = PeftModel.from_pretrained(base, str(folder))
    _put_weights(model, load_file(folder / WEIGHTS))
    return model


def _put_weights(model: Any, weights: Mapping[str, torch.Tensor]) -> None:
    """Put all of an adapter's weights into a model that has one.

    PEFT renames them by the rules of Transformers for old files of the base. Where a rule takes a right name for an old
    one, as with Laguna, PEFT leaves the weight out with no more than a warning.
    """
    set_peft_model_state_dict(model, weights)
    own = get_peft_model_state_dict(model, save_embedding_layers=False)
    for name in own.keys() & weights.keys():
        own[name].copy_(weights[name])


def _explain(error: Exception) -> str:
    """Return what PEFT says; of experts in words, as `all-linear` takes them along unasked."""
    found = re.search(r"ParamWrapper does not work with (\w+)", str(error))
    if not found:
        return str(error)[:500]
    return (
        f"it has experts, which are updated as stacks of weights and take no `{found[1]}`; leave that out, or name "
        "other layers in `lora.target_modules`"
    )


def _check_initial(folder: Path, model_dir: Path, outline: Any) -> None:
    theirs, ours = LoraConfig.from_pretrained(folder), outline.peft_config["default"]
    check_base("lora.init_from", folder, model_dir)
    differences = [
        f"{name} is {getattr(theirs, name)} there and {getattr(ours, name)} here"
        for name in COMPARED
        if getattr(theirs, name) != getattr(ours, name)
    ]
    if not differences:
        shapes = {name: tuple(weight.shape) for name, weight in list_saved(outline).items()}
        differences = _compare_weights(_read_shapes(folder / WEIGHTS), shapes)
    if differences:
        raise UserError(
            f"`lora.init_from` {folder} has other settings than the section `lora`: {'; '.join(differences)}; "
            "set the section as the adapter has it, or start afresh"
        )


def check_base(key: str, folder: Path, model_dir: Path) -> None:
    """Refuse an adapter that was trained on another base than this one.

    Args:
        key: What names the adapter in the config.
        folder: The adapter's.
        model_dir: The base.

    Raises:
        UserError: naming both bases.
    """
    manifest, named = find_manifest(folder), LoraConfig.from_pretrained(folder).base_model_name_or_path
    if manifest is None:
        logger.warning("%s has no manifest: its base, by PEFT's note %s, cannot be verified", folder, named)
    elif manifest.parents.get("base") != (digest := model_digest(model_dir)):
        own = shorten_digest(str(manifest.parents.get("base")))
        base = describe_model(Path(named)) if named else named
        raise UserError(
            f"`{key}` {folder} was trained on {base} (digest {own}), but `model.source` is "
            f"{describe_model(model_dir)} (digest {shorten_digest(digest)}); take an adapter of this base, or its base"
        )


def _read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    with safe_open(path, framework="pt") as weights:
        return {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118


def _compare_weights(theirs: Mapping[str, tuple[int, ...]], ours: Mapping[str, tuple[int, ...]]) -> list[str]:
    if theirs.keys() == ours.keys():
        changed = [name for name in ours if theirs[name] != ours[name]]
        return [f"{name} is {theirs[name]} there and {ours[name]} here" for name in changed[:3]]
    there, here = _list_layers(theirs), _list_layers(ours)
    if there != here:
        return [f"target_modules are {there} there and {here} here"]
    return [
        f"{name} is trained {where} only"
        for where, names in (("there", theirs.keys() - ours.keys()), ("here", ours.keys() - theirs.keys()))
        for name in sorted(names)[:2]
    ]


def _list_layers(names: Mapping[str, Any]) -> str:
    """Return the updated layers' own names; with their number, as two may differ in depth only."""
    layers = {name.rpartition(".lora_")[0] for name in names if ".lora_" in name}
    return f"{', '.join(sorted({layer.rpartition('.')[2] for layer in layers}))} ({len(layers)} layers)"
