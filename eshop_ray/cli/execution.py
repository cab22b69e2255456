"""A job from its config to its exit status: one clear message and status 2 for what the user can mend."""

import importlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from eshop_ray.cli.job_table import Job
from eshop_ray.cli.missing_packages import check_engine, explain_missing
from eshop_ray.config import load_config, write_config
from eshop_ray.errors import UserError

NOISY_LOGGERS = ("ray", "httpx", "sentence_transformers", "absl")


def execute(job: Job, config_path: Path, overrides: Sequence[str], **arguments: Any) -> NoReturn:
    """Load the config, write it into the run directory, run the job, exit.

    Args:
        job: Which.
        config_path: A YAML file.
        overrides: `section.field=value` each; they win over the file.
        arguments: What the job's `run` takes beside the config.
    """
    set_up_logging()
    try:
        config = load_config(str(config_path), overrides)
        if job.asks_model:
            check_engine(config)
        run = importlib.import_module(job.module).run
        write_config(config)
        run(config, **arguments)
    except UserError as error:
        fail(str(error))
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "eshop_ray":
            raise
        fail(explain_missing(error.name))
    sys.exit(0)


def set_up_logging() -> None:
    """Show the job's own progress, and of libraries only what a user can act on."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # warns, on import, of kernels that CPUs do without


def fail(message: str) -> NoReturn:
    """Say what is wrong and exit with status 2."""
    logging.disable()  # Ray complains, at length, of being shut down under a pipeline that still runs
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
