"""One file per task, their scores in `metrics/`; `get_task` finds a task by its name, `list_tasks` lists the folder."""

import functools
import importlib
import pkgutil

from eshop_ray.errors import UserError, find_nearest
from eshop_ray.tasks.base import Task

__all__ = ["Task", "get_task", "list_tasks"]


def list_tasks() -> list[str]:
    """Return the names of all tasks, sorted."""
    modules = {module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg}
    return sorted(modules - {"base", "heads", "product"})


@functools.cache  # asked for every row, and listing the folder takes longer than the row
def get_task(name: str) -> Task:
    """Return the task of that name.

    Raises:
        UserError: naming the nearest task when there is none of that name.
    """
    names = list_tasks()
    if name not in names:
        nearest = find_nearest(name, names)
        raise UserError(f"unknown task `{name}`; did you mean `{nearest}`? Tasks: {', '.join(names)}")
    task = importlib.import_module(f"{__name__}.{name}").TASK
    assert isinstance(task, Task)
    return task
