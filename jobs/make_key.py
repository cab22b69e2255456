"""`python -m jobs.make_key`: what the command `eshop make-key` does, from a checkout."""

from eshop_ray.cli import run_job

if __name__ == "__main__":
    run_job("make_key")
