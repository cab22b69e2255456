"""The command `eshop`: one sub-command per job. Ray, torch and the models' libraries are imported when a job runs."""

import sys
from collections.abc import Sequence
from typing import NoReturn

from eshop_ray.cli.exit import exit_cleanly

__all__ = ["main", "run_job"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `eshop`; without arguments it shows its help."""
    with exit_cleanly(is_program=arguments is None):
        from eshop_ray.cli.app import build_group, call  # not even typer may be there

        words = list(sys.argv[1:] if arguments is None else arguments)
        call(build_group(), words or ["--help"], "eshop")
    sys.exit(0)


def run_job(name: str, arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one job on a command line without its name, as `python -m jobs.NAME` does."""
    with exit_cleanly(is_program=arguments is None):
        from eshop_ray.cli.app import build_group, call
        from eshop_ray.cli.job_table import get_job

        words = list(sys.argv[1:] if arguments is None else arguments)
        call(build_group().commands[get_job(name).command], words, f"python -m jobs.{name}")
    sys.exit(0)
