"""`python -m jobs.shopbench`: what the command `eshop shopbench` does, from a checkout."""

from eshop_ray.cli import run_job

if __name__ == "__main__":
    run_job("shopbench")
