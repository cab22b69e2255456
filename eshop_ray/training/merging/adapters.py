"""One LoRA adapter on disk, read tensor by tensor."""

import functools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.utils.other import get_pattern_key
from safetensors.torch import load_file

from eshop_ray.artifacts import Manifest, fetch, read_manifest
from eshop_ray.errors import UserError
from eshop_ray.models.peft_files import PREFIX, SETTINGS, SUFFIX_A, SUFFIX_B, WEIGHTS
from eshop_ray.training.adapter_options import STARTS

PLAIN = {
    *("r", "lora_alpha", "lora_dropout", "use_rslora", "rank_pattern", "alpha_pattern", "target_modules"),
    *("exclude_modules", "layers_to_transform", "layers_pattern", "auto_mapping", "base_model_name_or_path"),
    *("inference_mode", "peft_type", "peft_version", "revision", "task_type", "runtime_config", "velora_config"),
    "fan_in_fan_out",
}
"""Fields of `peft.LoraConfig` under which a weight's update is still B @ A times a number."""

Update = tuple[torch.Tensor, torch.Tensor]
"""A (k, in) and B (out, k), both fp32: the weight (out, in) changes by B @ A."""


@dataclass(frozen=True, eq=False)
class AdapterFile:
    """What `open` found in a folder. Weights are mapped, not loaded: the system may drop them from memory again."""

    folder: Path
    manifest: Manifest
    settings: dict[str, Any] = field(repr=False)
    """PEFT's `adapter_config.json`."""

    @classmethod
    def open(cls, folder: Path) -> "AdapterFile":
        """Read an adapter's manifest and settings.

        Raises:
            UserError: if the folder holds no finished adapter.
        """
        manifest = read_manifest(folder, job="train_lora")
        fetch(folder, manifest)
        if (folder / "config.json").is_file() and not is_adapter(folder):
            raise UserError(
                f"{folder} holds a fully trained model: only adapters can be combined; set `train.method: lora` and "
                "train again, or leave it out of `merge.adapters`"
            )
        for name in (SETTINGS, WEIGHTS):
            if not (folder / name).is_file():
                raise UserError(f"{folder}: no adapter there ({name} is missing); give the folder of one")
        return cls(folder, manifest, json.loads((folder / SETTINGS).read_text()))

    @property
    def name(self) -> str:
        """A short name for messages and charts: of `RUN/adapter` it is RUN."""
        return self.folder.parent.name if self.folder.name == "adapter" else self.folder.name

    @property
    def digest(self) -> str:
        """Digest of the folder's files."""
        return self.manifest.digest

    @property
    def base(self) -> str | None:
        """Digest of the model that the adapter was trained on."""
        return self.manifest.parents.get("base")

    @functools.cached_property
    def modules(self) -> tuple[str, ...]:
        """Modules that get an update, named as in the base, e.g. `model.layers.0.self_attn.q_proj`; sorted."""
        names = (name for name in self._weights if name.endswith(SUFFIX_A))
        return tuple(sorted(name.removeprefix(PREFIX).removesuffix(SUFFIX_A) for name in names))

    @functools.cached_property
    def extras(self) -> tuple[str, ...]:
        """Of `find_extras`; none for most."""
        return find_extras(self.settings, self._weights)

    @property
    def max_rank(self) -> int:
        """The largest rank that the settings name."""
        return int(max(self.settings["r"], *(self.settings.get("rank_pattern") or {"": 0}).values()))

    def has(self, module: str) -> bool:
        """Whether the module gets an update."""
        return _name(module, SUFFIX_A) in self._weights

    def rank(self, module: str) -> int:
        """Rows of A."""
        return int(self._weights[_name(module, SUFFIX_A)].shape[0])

    def scaling(self, module: str) -> float:
        """What PEFT multiplies B @ A by: alpha / r, by rsLoRA alpha / sqrt(r)."""
        patterns = self.settings.get("alpha_pattern") or {}
        alpha = float(patterns.get(get_pattern_key(patterns, module), self.settings["lora_alpha"]))
        rank = self.rank(module)
        return alpha / math.sqrt(rank) if self.settings.get("use_rslora") else alpha / rank

    def read_factors(self, module: str) -> Update:
        """Return A (r, in) and B (out, r) as they were trained, fp32, not to be changed in place."""
        return self._weights[_name(module, SUFFIX_A)].float(), self._weights[_name(module, SUFFIX_B)].float()

    def read(self, module: str) -> Update:
        """Return A (r, in) and B (out, r), B times `scaling`: B @ A is what the module's weight changes by."""
        factor_a, factor_b = self.read_factors(module)
        return factor_a, factor_b * self.scaling(module)

    @functools.cached_property
    def _weights(self) -> dict[str, torch.Tensor]:
        return dict(load_file(self.folder / WEIGHTS))


def name_adapters(adapters: Sequence[AdapterFile]) -> dict[str, AdapterFile]:
    """Return the adapter of each task, or group of a task, as updates of a switched model are named.

    Raises:
        UserError: if an adapter does not say what it was trained on, or two were trained on one thing.
    """
    found: dict[str, AdapterFile] = {}
    for adapter in adapters:
        names = adapter.manifest.details.get("trained_on")
        if not names:
            raise UserError(f"adapter {adapter.folder} does not say which tasks it was trained on; train it again")
        for name in names:
            if name in found:
                raise UserError(
                    f"`merge.method: switched` takes one adapter per task, and {name} has two: "
                    f"{found[name].folder} and {adapter.folder}; leave one out of `merge.adapters`"
                )
            found[name] = adapter
    return found


def find_extras(settings: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> tuple[str, ...]:
    """Return what of an adapter is more than B @ A times a number: settings as DoRA's, weights that are no factors.

    Args:
        settings: PEFT's `adapter_config.json`.
        weights: Of the adapter's file, by name; they may be without values.
    """
    defaults = LoraConfig().to_dict()
    given = {name: value for name, value in settings.items() if name not in PLAIN}
    if given.get("init_lora_weights") in STARTS:
        del given["init_lora_weights"]
    modules = [name.removesuffix(SUFFIX_A) for name in weights if name.endswith(SUFFIX_A)]
    known = {f"{module}{suffix}" for module in modules for suffix in (SUFFIX_A, SUFFIX_B)}
    others = (name for name, weight in weights.items() if name not in known or weight.dim() != 2)
    changed = (name for name, value in given.items() if value and value != defaults.get(name))
    return (*sorted(changed), *sorted(others))


def advise_plain(extras: Sequence[str]) -> str:
    """Say how to train an adapter again that is combined with others."""
    if "target_parameters" in extras:
        return (
            "experts are updated as stacks of weights: name other layers in `lora.target_modules`, e.g. [q_proj, "
            "k_proj, v_proj, o_proj]"
        )
    return "take out of `lora` what makes it more than plain LoRA"


def is_adapter(folder: Path) -> bool:
    """Whether training left an adapter there and not a whole model."""
    return (folder / SETTINGS).is_file()


def list_modules(adapters: Sequence[AdapterFile]) -> list[str]:
    """Return the modules that any of the adapters changes, sorted."""
    return sorted({module for adapter in adapters for module in adapter.modules})


def _name(module: str, suffix: str) -> str:
    return f"{PREFIX}{module}{suffix}"
