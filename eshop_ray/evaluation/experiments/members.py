"""Which adapters an experiment trains: one run of its own for each, all on the experiment's records."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

from eshop_ray.artifacts import read_complete
from eshop_ray.config import Config, MergeSection
from eshop_ray.data.cleaning import TRAIN, VALIDATION
from eshop_ray.errors import UserError
from eshop_ray.places import place_of

MIXED = "mixed"
"""The adapter that learns all tasks."""


@dataclass(frozen=True, slots=True)
class Member:
    """One adapter of an experiment."""

    name: str
    tasks: tuple[str, ...]
    """What it learns and answers."""
    strategy: Literal["single", "mixed"]
    config: Config
    """Of its run: `adapters/NAME/` below the experiment's run directory."""


def find_tasks(config: Config) -> tuple[str, ...]:
    """Return the tasks of an experiment: `data.tasks`, or all that the records hold.

    Raises:
        UserError: if there are no records, or a task has none to learn from, to choose a merge by, or to report on.
    """
    read_complete(config.records_dir, job="prepare_data")
    found = sorted(folder.name.removeprefix("task=") for folder in config.records_dir.glob("task=*"))
    tasks = config.data.tasks or tuple(found)
    is_merged = "merged" in config.experiment.strategies
    for split in (TRAIN, *([VALIDATION] if is_merged else []), config.evaluate.split):
        empty = [task for task in tasks if not (config.records_dir / f"task={task}" / f"split={split}").is_dir()]
        if empty:
            remedy = "set `data.validation_share`" if split == VALIDATION else "add sources, or check `data.tasks`"
            raise UserError(
                f"{config.records_dir}: split `{split}` has no row of {', '.join(empty)}; {remedy}, and run "
                "`eshop prepare-data` again"
            )
    return tasks


def list_members(config: Config, tasks: Sequence[str]) -> list[Member]:
    """Return the adapters that `experiment.strategies` asks for, those of single tasks first.

    Args:
        config: The experiment's.
        tasks: From `find_tasks`, in report order.

    Raises:
        UserError: if there is nothing to train, to merge, or a seed is named twice.
    """
    wanted = config.experiment.strategies
    if "merged" in wanted and "single" not in wanted:
        raise UserError("`experiment.strategies`: `merged` combines the adapters of `single`; name both")
    if "merged" in wanted and config.train.method == "full":
        raise UserError("`train.method: full` makes whole models, and only adapters are merged; set it to `lora`")
    members = _plan_single(config, tasks) if "single" in wanted else []
    if MIXED in wanted:
        members.append(Member(MIXED, tuple(tasks), "mixed", derive_run(config, "adapters", MIXED, tasks)))
    if not members:
        raise UserError("`experiment.strategies` is empty; name at least one of `single` and `mixed`")
    if "merged" in wanted and sum(member.strategy == "single" for member in members) < 2:
        raise UserError(f"one adapter, {members[0].name}, has nothing to be merged with; add a task, shards or seeds")
    return members


def derive_run(config: Config, folder: str, name: str, tasks: Sequence[str], **sections: Any) -> Config:
    """Return the config of a run that belongs to an experiment.

    It reads the experiment's records, answers with the model that it makes itself, and joins the Ray that the
    experiment's driver names in its environment; all else is inherited.

    Args:
        config: The experiment's.
        folder: Below the experiment's run directory, e.g. `adapters`.
        name: Of the run.
        tasks: What it learns or answers.
        **sections: Whole sections or top-level values that differ further.
    """
    data = {"records_dir": str(config.records_dir), "tasks": tuple(tasks)}
    values = {
        "name": name,
        "run_root": place_of(config.run_dir / folder),
        "data": config.data.model_copy(update=data),
        "model": config.model.model_copy(update={"merged_dir": None}),
        "merge": MergeSection(),
        "infer": config.infer.model_copy(update={"models": ("merged",)}),
        "ray": config.ray.model_copy(update={"address": None}),
    }
    return config.model_copy(update={**values, **sections})


def _plan_single(config: Config, tasks: Sequence[str]) -> list[Member]:
    seeds, num_shards = config.experiment.seeds, config.experiment.num_shards
    if len(set(seeds)) < len(seeds):
        raise UserError(f"`experiment.seeds` {list(seeds)}: a seed stands there twice, and gives the same adapter")
    members = []
    for task, shard, seed in product(tasks, range(1, num_shards + 1), seeds or [None]):
        parts = [task, *([f"{shard}of{num_shards}"] if num_shards > 1 else []), *([f"seed{seed}"] if seeds else [])]
        learned: dict[str, Any] = {"shard": (shard, num_shards) if num_shards > 1 else None, "task_weights": {}}
        run = derive_run(
            config,
            "adapters",
            ".".join(parts),
            [task],
            seed=config.seed if seed is None else seed,
            train=config.train.model_copy(update=learned),
        )
        members.append(Member(run.name, (task,), "single", run))
    return members
