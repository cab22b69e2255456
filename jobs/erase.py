"""`python -m jobs.erase`: what the command `eshop erase` does, from a checkout."""

from eshop_ray.cli import run_job

if __name__ == "__main__":
    run_job("erase")
