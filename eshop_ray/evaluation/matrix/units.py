"""What the matrix has a row for: groups of records, each with a score of its own."""

from collections import Counter
from dataclasses import dataclass

from eshop_ray.artifacts import read_complete
from eshop_ray.config import Config
from eshop_ray.data.cleaning import TRAIN
from eshop_ray.data.splits import list_groups, list_ids
from eshop_ray.errors import UserError


@dataclass(frozen=True, slots=True)
class Unit:
    """One group of a task's records."""

    name: str
    """In reports: the task, or TASK/GROUP where the task has several groups."""
    task: str
    group: str
    num_train_rows: int
    """Rows that can be learned from."""


def find_units(config: Config) -> list[Unit]:
    """Return the groups of `evaluate.split`: where `data.tasks` and `data.groups` name any, those, in the tasks' order.

    Raises:
        UserError: if there are no records, or a group has none to learn from.
    """
    read_complete(config.records_dir, job="prepare_data")
    data, split = config.data, config.evaluate.split
    places = {task: place for place, task in enumerate(data.tasks)}
    found = [
        pair for pair in list_groups(config.records_dir, split, data.tasks) if pair[1] in (data.groups or [pair[1]])
    ]
    found.sort(key=lambda pair: (places.get(pair[0], 0), pair))
    num_groups = Counter(task for task, _ in found)
    units = []
    for task, group in found:
        name = task if num_groups[task] == 1 else f"{task}/{group}"
        units.append(Unit(name, task, group, _count_training(config, task, group)))
    empty = [unit.name for unit in units if not unit.num_train_rows]
    if empty or not units:
        what = f"split `{TRAIN}` has no row of {', '.join(empty)}" if empty else "no row is of `data.groups`"
        raise UserError(f"{config.records_dir}: {what}; add sources, or name others in `data.tasks` and `data.groups`")
    return units


def _count_training(config: Config, task: str, group: str) -> int:
    if (task, group) not in list_groups(config.records_dir, TRAIN, [task]):
        return 0
    return sum(1 for _ in list_ids(config.records_dir, TRAIN, [task], groups=[group]))
