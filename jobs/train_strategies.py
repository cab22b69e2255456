"""`python -m jobs.train_strategies`: what the command `eshop train-strategies` does, from a checkout."""

from eshop_ray.cli import run_job

if __name__ == "__main__":
    run_job("train_strategies")
