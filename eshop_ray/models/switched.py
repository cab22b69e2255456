"""A model that keeps an update for each task beside the base's weights, and is asked with one of them folded in.

MODEL/config.json, model.safetensors, ...   the base, with its tokenizer
MODEL/switched.json                         names of the updates, and what their first exchange is proved by
MODEL/switched/NAME/                        an update as PEFT writes an adapter, B @ A times 1

An update is called by its task, or TASK/GROUP if it was trained on one group of the task's rows.
"""

import functools
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from eshop_ray.artifacts import AnyFolder, SharedFolder
from eshop_ray.errors import UserError
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
