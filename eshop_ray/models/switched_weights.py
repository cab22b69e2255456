"""The weights of a switched model: each task's update, and the base's tensors with one of them folded in."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from eshop_ray.models.peft_files import PREFIX, SETTINGS, SUFFIX_A, SUFFIX_B, WEIGHTS
from eshop_ray.models.shards import locate_tensors
from eshop_ray.models.switched import update_dir


def write_update(folder: Path, factors: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Write an update as an adapter that PEFT and vLLM read.

    Args:
        folder: Is made.
        factors: Module, as the base calls it, to A (r, in) and B (out, r), fp32; ranks may differ.
    """
    folder.mkdir(parents=True)
    tensors = {}
    for module, (factor_a, factor_b) in factors.items():
        tensors[f"{PREFIX}{module}{SUFFIX_A}"] = factor_a.contiguous()
        tensors[f"{PREFIX}{module}{SUFFIX_B}"] = factor_b.contiguous()
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    rank = read_rank(folder)
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "bias": "none",
        "r": rank,
        "lora_alpha": rank,
        "target_modules": sorted({module.rpartition(".")[2] for module in factors}),
    }
    (folder / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n")


def read_rank(folder: Path) -> int:
    """Return the largest rank in an update."""
    with safe_open(folder / WEIGHTS, framework="pt") as weights:
        names = [name for name in weights.keys() if name.endswith(SUFFIX_A)]  # noqa: SIM118
        return max((int(weights.get_slice(name).get_shape()[0]) for name in names), default=1)


def list_changed(model_dir: Path, tasks: Iterable[str]) -> set[str]:
    """Return the names of the base's tensors that any of these tasks changes."""
    changed = set()
    for task in tasks:
        with safe_open(update_dir(model_dir, task) / WEIGHTS, framework="pt") as weights:
            names = (name for name in weights.keys() if name.endswith(SUFFIX_A))  # noqa: SIM118
            changed |= {f"{name.removeprefix(PREFIX).removesuffix(SUFFIX_A)}.weight" for name in names}
    return changed


def read_folded(model_dir: Path, task: str | None, names: Iterable[str]) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield tensors with a task's update folded in, by the sum that merging makes: in fp32, rounded once.

    Args:
        model_dir: A switched model.
        task: Whose update; None: the base's own tensors.
        names: Of tensors of the base; they come in the order of the base's files.
    """
    wanted = set(names)
    located = {name: path for name, path in locate_tensors(model_dir).items() if name in wanted}
    update = update_dir(model_dir, task) / WEIGHTS if task else None
    factors = _read_all(update) if update else {}
    for path in dict.fromkeys(located.values()):
        with safe_open(path, framework="pt") as weights:
            for name in (name for name, place in located.items() if place == path):
                tensor = weights.get_tensor(name)
                module = f"{PREFIX}{name.removesuffix('.weight')}"
                if f"{module}{SUFFIX_A}" in factors:
                    change = factors[f"{module}{SUFFIX_B}"] @ factors[f"{module}{SUFFIX_A}"]
                    tensor = change.add_(tensor).to(tensor.dtype)
                yield name, tensor


def _read_all(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(path, framework="pt") as weights:
        return {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118
