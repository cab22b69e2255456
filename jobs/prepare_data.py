"""`python -m jobs.prepare_data`: what the command `eshop prepare-data` does, from a checkout."""

from eshop_ray.cli import run_job

if __name__ == "__main__":
    run_job("prepare_data")
