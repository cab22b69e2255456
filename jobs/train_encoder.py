"""`python -m jobs.train_encoder`: what the command `eshop train-encoder` does, from a checkout."""

from eshop_ray.cli import run_job

if __name__ == "__main__":
    run_job("train_encoder")
