"""`python -m jobs.autotune`: what the command `eshop autotune` does, from a checkout."""

from eshop_ray.cli import run_job

if __name__ == "__main__":
    run_job("autotune")
