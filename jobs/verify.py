"""`python -m jobs.verify`: what the command `eshop verify` does, from a checkout."""

from eshop_ray.cli import run_job

if __name__ == "__main__":
    run_job("verify")
