"""What is merged into what; every mistake is found before work starts."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eshop_ray.artifacts import fetch, find_changes, fingerprint, read_manifest, shorten_digest
from eshop_ray.config import Config, LoraSection, MergeSection
from eshop_ray.config.experiment import EQUAL_RANKS, METHODS
from eshop_ray.errors import UserError
from eshop_ray.models import model_digest
from eshop_ray.models.peft_files import SETTINGS
from eshop_ray.models.templates import describe_model
from eshop_ray.places import local_path
from eshop_ray.training.adapter import outline_adapter
from eshop_ray.training.adapter_effects import list_saved
from eshop_ray.training.adapter_options import build_lora_config
from eshop_ray.training.base_model import check_unquantized
from eshop_ray.training.merging.adapters import (
    AdapterFile,
    advise_plain,
    find_extras,
    is_adapter,
    list_modules,
    name_adapters,
)


@dataclass(frozen=True)
class Recipe:
    """A base, adapters and how they are combined; several, or one that may be a fully trained model."""

    model_dir: Path
    adapter_dirs: tuple[Path, ...]
    merge: MergeSection
    seed: int

    @classmethod
    def of(cls, config: Config, model_dir: Path) -> "Recipe":
        """Return what a config asks for: `merge.adapters`, else the run's own adapter."""
        named = tuple(map(local_path, config.merge.adapters))
        return cls(model_dir, named or (config.run_dir / "adapter",), config.merge, config.seed)

    @property
    def parents(self) -> dict[str, str]:
        """Name -> digest of what goes in.

        Raises:
            UserError: if an adapter is missing or incomplete.
        """
        digests = [read_manifest(folder, job="train_lora").digest for folder in self.adapter_dirs]
        names = ["adapter"] if len(digests) == 1 else [f"adapter.{number}" for number in range(len(digests))]
        return {"base": model_digest(self.model_dir), **dict(zip(names, digests, strict=True))}

    @property
    def settings(self) -> dict[str, Any]:
        """What the result depends on besides its parents; nothing for one adapter as it is."""
        weights = get_weights(self.merge, len(self.adapter_dirs))
        if weights == (1.0,) and self.merge.wise_ft == 1 and self.merge.method != "switched":
            return {}
        merge = self.merge.model_dump(mode="json", exclude={"adapters", "digests", "weights"})
        return {**merge, "weights": list(weights), "seed": self.seed}

    @property
    def inputs(self) -> str:
        """Fingerprint of all that determines the merged model."""
        return fingerprint({**self.parents, **self.settings})

    def check(self) -> None:
        """Find every mistake before work starts.

        Raises:
            UserError: as `check_adapter` and `check_merge`.
        """
        check_unquantized(self.model_dir)
        digest = self.parents["base"]
        for folder in self.adapter_dirs:
            fetch(folder, read_manifest(folder, job="train_lora"))
            check_adapter(folder, self.model_dir, digest)
        _check_weights(self.merge.weights, len(self.adapter_dirs))
        is_switched = self.merge.method == "switched"
        if len(self.adapter_dirs) > 1 or is_adapter(self.adapter_dirs[0]) or is_switched:
            check_merge([AdapterFile.open(folder) for folder in self.adapter_dirs], self.merge)


def get_weights(merge: MergeSection, num_adapters: int) -> tuple[float, ...]:
    """Return the adapters' weights: those of the section, else all the same, 1 in sum."""
    return merge.weights or (1 / num_adapters,) * num_adapters


def check_merge(adapters: Sequence[AdapterFile], merge: MergeSection) -> None:
    """Refuse adapters that do not belong together, and settings that do not fit them.

    Raises:
        UserError: for the first of: weights that are not one per adapter, not finite or all zero; the same adapter
            twice; a recipe's adapters that are not these; adapters of several bases, more than plain LoRA, damaged
            or not finite; ranks that differ where the method adds up factors.
    """
    _check_weights(merge.weights, len(adapters))
    if merge.method == "switched":
        _check_apart(adapters, merge)
    _check_distinct(adapters)
    _check_digests(adapters, merge.digests)
    _check_common_base(adapters)
    for adapter in adapters:
        if len(adapters) > 1:
            _check_plain(adapter)
        check_intact(adapter.folder)
        _check_finite(adapter)
    if len(adapters) > 1 and merge.method in EQUAL_RANKS:
        _check_ranks(adapters, merge.method)


def check_combinable(model_dir: Path, lora: LoraSection) -> None:
    """Refuse settings of adapters that could not be combined once they are trained.

    Args:
        model_dir: The base.
        lora: Of all the adapters.

    Raises:
        UserError: naming what is in the way.
    """
    outline = outline_adapter(model_dir, build_lora_config(lora))
    extras = find_extras(outline.peft_config["default"].to_dict(), list_saved(outline))
    if extras:
        raise UserError(
            f"`experiment.strategies`: `merged` combines plain LoRA, and by section `lora` adapters of {model_dir} are "
            f"more ({', '.join(extras[:3])}); take `merged` out, or {advise_plain(extras)}"
        )


def check_adapter(adapter_dir: Path, model_dir: Path, base_digest: str) -> None:
    """Refuse an adapter that was trained on another base, whose shapes may fit and whose answers would be nonsense, and
    one that is not as training left it.

    Raises:
        UserError: naming both models, or the file that changed.
    """
    trained_on = read_manifest(adapter_dir, job="train_lora").parents.get("base")
    if trained_on != base_digest:
        raise UserError(
            f"adapter {adapter_dir} was trained on {_describe_base(adapter_dir, trained_on)}, but "
            f"`model.source` is {describe_model(model_dir)} (digest {shorten_digest(base_digest)}); "
            "set `model.source` to the adapter's base, or train again"
        )
    check_intact(adapter_dir)


def check_intact(adapter_dir: Path) -> None:
    """Compare an adapter with its manifest, where it stands; a copy on this machine that differs is made anew.

    Raises:
        UserError: naming the file that changed.
    """
    manifest = read_manifest(adapter_dir, job="train_lora")
    changes = find_changes(adapter_dir, manifest)
    if changes:
        raise UserError(f"adapter {adapter_dir} is damaged ({changes[0]}); put the file back, or train again")
    fetch(adapter_dir, manifest, by_digest=True)


def _check_weights(weights: Sequence[float], num_adapters: int) -> None:
    if weights and len(weights) != num_adapters:
        raise UserError(
            f"`merge.weights` has {len(weights)} weights, and there are {num_adapters} adapters; give one weight per "
            "adapter, in the order of `merge.adapters`, or none for all the same"
        )
    if not all(map(math.isfinite, weights)):
        raise UserError(f"`merge.weights` {_join(weights)}: not all of them are finite numbers")
    if weights and not any(weights):
        raise UserError("`merge.weights` are all 0: nothing would be merged; give at least one adapter a weight")


def _check_apart(adapters: Sequence[AdapterFile], merge: MergeSection) -> None:
    if merge.weights:
        raise UserError(
            "`merge.weights` weighs adapters that are combined, and `merge.method: switched` combines none; leave the "
            "weights out (`merge.wise_ft` takes a share of every update)"
        )
    for adapter in adapters:
        _check_plain(adapter)
    name_adapters(adapters)


def _check_distinct(adapters: Sequence[AdapterFile]) -> None:
    found: dict[str, Path] = {}
    for adapter in adapters:
        if adapter.digest in found:
            raise UserError(
                f"adapters {found[adapter.digest]} and {adapter.folder} are the same (digest "
                f"{shorten_digest(adapter.digest)}); name each once in `merge.adapters` and give it the sum of weights"
            )
        found[adapter.digest] = adapter.folder


def _check_digests(adapters: Sequence[AdapterFile], digests: Sequence[str]) -> None:
    if digests and len(digests) != len(adapters):
        raise UserError(
            f"`merge.digests` has {len(digests)} digests, and there are {len(adapters)} adapters; the recipe is not as "
            "`search_merge` wrote it: run that again"
        )
    for adapter, digest in zip(adapters, digests, strict=False):
        if adapter.digest != digest:
            raise UserError(
                f"the recipe was found for another adapter than {adapter.folder} (digest {shorten_digest(digest)}, "
                f"and there is {shorten_digest(adapter.digest)}): it is of another experiment, or the adapter was "
                "trained again since; run `eshop search-merge` again, or put the adapter back"
            )


def _check_common_base(adapters: Sequence[AdapterFile]) -> None:
    for adapter in adapters[1:]:
        if adapter.base != adapters[0].base:
            bases = [_describe_base(a.folder, a.base) for a in (adapters[0], adapter)]
            raise UserError(
                f"adapters of two bases cannot be combined: {adapters[0].folder} was trained on {bases[0]}, "
                f"{adapter.folder} on {bases[1]}; leave one out of `merge.adapters`, or train it again"
            )


def _check_plain(adapter: AdapterFile) -> None:
    if adapter.extras:
        shown = ", ".join(adapter.extras[:3])
        raise UserError(
            f"adapter {adapter.folder} is more than plain LoRA ({shown}) and cannot be combined with others; fold it "
            f"alone, or train it again: {advise_plain(adapter.extras)}"
        )


def _check_finite(adapter: AdapterFile) -> None:
    for module in adapter.modules:
        if not all(bool(factor.isfinite().all()) for factor in adapter.read(module)):
            raise UserError(
                f"adapter {adapter.folder} cannot be folded (values of {module} are not finite); train again"
            )


def _check_ranks(adapters: Sequence[AdapterFile], method: str) -> None:
    for module in list_modules(adapters):
        ranks = {adapter.name: adapter.rank(module) for adapter in adapters if adapter.has(module)}
        if len(set(ranks.values())) > 1:
            shown = ", ".join(f"{rank} in {name}" for name, rank in ranks.items())
            others = " or ".join(f"`{name}`" for name in METHODS if name not in EQUAL_RANKS)
            raise UserError(
                f"`merge.method: {method}` adds up factors and needs equal ranks, but {module} has rank {shown}; "
                f"set {others}, which do without"
            )


def _describe_base(adapter_dir: Path, digest: str | None) -> str:
    """Return what PEFT notes as the base, with its digest; a fully trained model has no such note."""
    settings = json.loads((adapter_dir / SETTINGS).read_text()) if is_adapter(adapter_dir) else {}
    noted = settings.get("base_model_name_or_path")
    named = describe_model(Path(noted)) if noted else "another model"
    return f"{named} (digest {shorten_digest(str(digest))})"


def _join(values: Sequence[float]) -> str:
    return ", ".join(map(str, values))
