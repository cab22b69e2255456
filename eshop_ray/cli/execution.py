"""One job from its config to its end."""

import importlib
import importlib.util
import logging
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from eshop_ray.cli.hush import hush_libraries
from eshop_ray.cli.job_table import Job
from eshop_ray.cli.missing_packages import build_error
from eshop_ray.cli.run_lock import hold_run
from eshop_ray.config import Config, load_config, write_config
from eshop_ray.config.loading import CONFIG


def execute(job: Job, config_path: Path, overrides: Sequence[str], **arguments: Any) -> None:
    """Load the config, write it into the run directory, run the job.

    Args:
        job: Which.
        config_path: A YAML file.
        overrides: `section.field=value` each; they win over the file.
        arguments: What the job's `run` takes beside the config.

    Raises:
        UserError: for what the user can mend, another job in the same run directory among it.
        ModuleNotFoundError: if a package is missing.
    """
    _set_up_logging()
    config = load_config(str(config_path), overrides)
    if job.asks_model and config.infer.engine == "vllm" and importlib.util.find_spec("vllm") is None:
        raise build_error("vllm")  # engines start in other processes, minutes from here
    run = importlib.import_module(job.module).run
    with hold_run(config.run_dir, job.command) if job.owns_run else nullcontext():
        write_config(config)
        _publish_config(config)
        run(config, **arguments)


def _publish_config(config: Config) -> None:
    from eshop_ray.artifacts import publish  # now: libraries for object stores would keep `--help` waiting

    publish(config.run_dir / CONFIG)


def _set_up_logging() -> None:
    """Show the job's own progress, and of libraries only what a user can act on."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    hush_libraries()
