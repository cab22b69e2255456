"""The command `eshop`: one sub-command per job. Ray, torch and the models' libraries are imported when a job runs."""

from eshop_ray.cli.app import main, run_job

__all__ = ["main", "run_job"]
