"""Work that needs other releases of libraries than ours have: in a Ray runtime environment made from a lock file."""

import logging
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from eshop_ray.cluster import wait_environment
from eshop_ray.config import RaySection
from eshop_ray.errors import UserError

logger = logging.getLogger(__name__)

_MAX_SHOWN = 300


def read_lock(path: Path) -> tuple[str, ...]:
    """Return the packages of a lock file, `NAME==VERSION` each."""
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return tuple(line for line in lines if line)


def build_runtime_env(packages: Sequence[str]) -> dict[str, Any]:
    """Return Ray's `runtime_env`: a copy of ours in which these packages take the place of their namesakes.

    Nothing but these is installed or checked: the lock is complete, and what else they depend on is ours. Ray gives a
    task as many threads as it reserves CPUs; this one has the machine to itself.
    """
    return {
        "pip": {
            "packages": list(packages),
            "pip_check": False,
            "pip_install_options": ["--no-deps", "--disable-pip-version-check", "--no-cache-dir"],
        },
        "env_vars": {
            **wait_environment(),
            "OMP_NUM_THREADS": str(os.cpu_count() or 1),
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
        },
    }


def run_apart(
    config: RaySection, packages: Sequence[str], num_gpus: int, function: Callable[..., Any], *arguments: Any
) -> Any:
    """Call a function in an environment of its own, on this node, and return what it returns; Ray has to be running.

    It cannot import our code, so what it reads and writes are folders of this machine.

    Args:
        config: Where Ray runs. A Ray that was started here ends without removing its environments, which take
            gigabytes: ours is removed then.
        packages: What the environment has that ours has not.
        num_gpus: GPUs that the function holds.
        function: Of a module that can be imported in both environments.
        arguments: Of the function.

    Raises:
        UserError: if the environment cannot be made, or the function fails.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 1, "max_retries": 0, "runtime_env": build_runtime_env(packages), "scheduling_strategy": here}
    logger.info("making an environment of %d packages of its own: a minute or more", len(packages))
    try:
        folder = Path(ray.get(ray.remote(**options)(_find_environment).remote()))
    except RayError as error:
        raise UserError(
            f"Ray could not make the environment of llm-compressor ({_last_line(error)}); see that pip finds its "
            "packages on every node, and that the disk of Ray's session folder has room for a copy of this environment"
        ) from None
    try:
        return ray.get(ray.remote(num_gpus=num_gpus, **options)(function).remote(*arguments))
    except RayError as error:
        raise UserError(f"llm-compressor failed: {_last_line(error)}") from None
    finally:
        if not (config.address or os.environ.get("RAY_ADDRESS")):
            _remove(folder)


def _find_environment() -> str:
    return sys.prefix


def _remove(folder: Path) -> None:
    if folder.name == "virtualenv" and "runtime_resources" in folder.parts:  # and never ours, whatever Ray made of it
        shutil.rmtree(folder, ignore_errors=True)


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:_MAX_SHOWN] if lines else type(error).__name__
