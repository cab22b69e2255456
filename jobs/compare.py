"""`python -m jobs.compare`: what the command `eshop compare` does, from a checkout."""

from eshop_ray.cli import run_job

if __name__ == "__main__":
    run_job("compare")
