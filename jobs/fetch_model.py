"""`python -m jobs.fetch_model`: what the command `eshop fetch-model` does, from a checkout."""

from eshop_ray.cli import run_job

if __name__ == "__main__":
    run_job("fetch_model")
