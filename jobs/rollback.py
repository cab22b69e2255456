"""`python -m jobs.rollback`: what the command `eshop rollback` does, from a checkout."""

from eshop_ray.cli import run_job

if __name__ == "__main__":
    run_job("rollback")
