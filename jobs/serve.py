"""`python -m jobs.serve`: what the command `eshop serve` does, from a checkout."""

from eshop_ray.cli import run_job

if __name__ == "__main__":
    run_job("serve")
