"""From a shop's raw catalogue and reviews to a tuned shopping LLM, on Ray.

What stands in `__all__` stays as it is from one minor version to the next. Everything is imported on first use:
`import eshop_ray` costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eshop_ray.config import Config, load_config, write_config
    from eshop_ray.errors import UserError
    from eshop_ray.schema import PREDICTION_SCHEMA, RECORD_SCHEMA
    from eshop_ray.tasks import Task, get_task, list_tasks

__version__ = "0.1.0"

__all__ = [
    "PREDICTION_SCHEMA",
    "RECORD_SCHEMA",
    "Config",
    "Task",
    "UserError",
    "__version__",
    "get_task",
    "list_tasks",
    "load_config",
    "write_config",
]

_HOMES = {
    "PREDICTION_SCHEMA": "schema",
    "RECORD_SCHEMA": "schema",
    "Config": "config",
    "Task": "tasks",
    "UserError": "errors",
    "get_task": "tasks",
    "list_tasks": "tasks",
    "load_config": "config",
    "write_config": "config",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
