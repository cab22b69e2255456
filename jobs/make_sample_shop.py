"""`python -m jobs.make_sample_shop`: what the command `eshop make-sample-shop` does, from a checkout."""

from eshop_ray.cli import run_job

if __name__ == "__main__":
    run_job("make_sample_shop")
