"""`python -m jobs.evaluate`: what the command `eshop evaluate` does, from a checkout."""

from eshop_ray.cli import run_job

if __name__ == "__main__":
    run_job("evaluate")
