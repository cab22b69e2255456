"""`python -m jobs.train_lora`: what the command `eshop train-lora` does, from a checkout."""

from eshop_ray.cli import run_job

if __name__ == "__main__":
    run_job("train_lora")
