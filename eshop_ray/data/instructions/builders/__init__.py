"""Sub-tasks, each a small pure function from material to questions; a new one is one new file.

`get_subtask` finds a sub-task by its name. A module of this package names its sub-tasks in `SUBTASKS`.
"""

import functools
import importlib
import pkgutil
from collections.abc import Mapping

from eshop_ray.data.instructions.question import Subtask
from eshop_ray.errors import UserError, find_nearest


@functools.cache
def load_subtasks() -> Mapping[str, Subtask]:
    """Return all sub-tasks by name, sorted."""
    found: dict[str, Subtask] = {}
    for module in pkgutil.iter_modules(__path__):
        for subtask in importlib.import_module(f"{__name__}.{module.name}").SUBTASKS:
            assert subtask.name not in found, f"two sub-tasks are called {subtask.name}"
            found[subtask.name] = subtask
    return dict(sorted(found.items()))


def get_subtask(name: str) -> Subtask:
    """Return the sub-task of that name.

    Raises:
        UserError: naming the nearest one when there is none of that name.
    """
    subtasks = load_subtasks()
    if name not in subtasks:
        nearest = find_nearest(name, subtasks)
        raise UserError(f"unknown sub-task `{name}`; did you mean `{nearest}`? There are: {', '.join(subtasks)}")
    return subtasks[name]
