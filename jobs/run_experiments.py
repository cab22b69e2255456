"""`python -m jobs.run_experiments`: what the command `eshop run-experiments` does, from a checkout."""

from eshop_ray.cli import run_job

if __name__ == "__main__":
    run_job("run_experiments")
