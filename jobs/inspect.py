"""`python -m jobs.inspect`: what the command `eshop inspect` does, from a checkout."""

from eshop_ray.cli import run_job

if __name__ == "__main__":
    run_job("inspect")
