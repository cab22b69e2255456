"""`python -m jobs.run_batch`: what the command `eshop run-batch` does, from a checkout."""

from eshop_ray.cli import run_job

if __name__ == "__main__":
    run_job("run_batch")
