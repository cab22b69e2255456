"""A model that keeps an update for each task beside the base's weights, and is asked with one of them folded in.

MODEL/config.json, model.safetensors, ...   the base, with its tokenizer
MODEL/switched.json                         names of the updates, and what their first exchange is proved by
MODEL/switched/NAME/                        an update as PEFT writes an adapter, B @ A times 1

An update is called by its task, or TASK/GROUP if it was trained on one group of the task's rows.
"""

import functools
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from eshop_ray.artifacts import AnyFolder, SharedFolder
from eshop_ray.errors import UserError
from eshop_ray.models.peft_files import PREFIX, SETTINGS, SUFFIX_A, SUFFIX_B, WEIGHTS
from eshop_ray.models.shards import locate_tensors
from eshop_ray.places import place_of

TASKS = "switched.json"
FOLDER = "switched"


@dataclass(frozen=True, slots=True)
class TaskProof:
    """What the folded model says to a worked example of its task."""

    ids: Sequence[int]
    logprobs: Sequence[float]
    """Natural logarithm of the probability of each token but the first, in fp32."""
    base_logprobs: Sequence[float]
    """Likewise by the base alone."""


def name_weights(task: str, group: str) -> str:
    """Return the name of an update for one group of a task."""
    return f"{task}/{group}"


def find_weights(held: Collection[str], task: str, group: str | None) -> str | None:
    """Return the update that a row is answered with: its group's, else its task's; None if there is neither.

    Args:
        held: Names of the updates.
        task: Of the row.
        group: Of the row; None where it has the task's name.
    """
    names = (name_weights(task, group or task), task)
    return next((name for name in names if name in held), None)


@functools.lru_cache(maxsize=4)
def list_held(model_dir: AnyFolder) -> tuple[str, ...]:
    """Return the names of a model's updates; none for one that is the same for all rows. One look per process."""
    return tuple(read_proofs(Path(model_dir.without_weights() if isinstance(model_dir, SharedFolder) else model_dir)))


def is_switched(model_dir: Path) -> bool:
    """Return whether a model folder keeps updates of tasks."""
    return (model_dir / TASKS).is_file()


def read_proofs(model_dir: Path) -> dict[str, TaskProof]:
    """Return what the model of each task says; none for a model that is the same for all tasks."""
    if not is_switched(model_dir):
        return {}
    return {task: TaskProof(**proof) for task, proof in json.loads((model_dir / TASKS).read_text()).items()}


def check_has_weights(model_dir: Path, asked: Iterable[tuple[str, str]]) -> None:
    """Refuse to ask a switched model what it has no weights for.

    Args:
        model_dir: Any model.
        asked: Task and group of rows.

    Raises:
        UserError: naming what is missing.
    """
    held = read_proofs(model_dir)
    missing = []
    if held:
        missing = [name_weights(*one) for one in sorted(set(asked)) if find_weights(held, *one) is None]
    if missing:
        raise UserError(
            f"{place_of(model_dir)} has weights for {', '.join(held)}, and none for {', '.join(missing)}; leave "
            "that out, or add an adapter that was trained on it to `merge.adapters` and run `eshop merge-lora`"
        )


def write_proofs(model_dir: Path, proofs: Mapping[str, TaskProof]) -> None:
    """Write what makes a folder a switched model."""
    named = {task: asdict(proof) for task, proof in proofs.items()}
    (model_dir / TASKS).write_text(json.dumps(named) + "\n")


def update_dir(model_dir: Path, task: str) -> Path:
    """Return the folder of a task's update."""
    return model_dir / FOLDER / task


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
