"""One file per task, their scores in `metrics/`; `get_task` finds a task by its name, `list_tasks` lists the folder."""

import difflib
import functools
import importlib
import pkgutil

from eshop_ray.errors import UserError
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
        nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
        raise UserError(f"unknown task `{name}`; did you mean `{nearest[0]}`? Tasks: {', '.join(names)}")
    task = importlib.import_module(f"{__name__}.{name}").TASK
    assert isinstance(task, Task)
    return task
