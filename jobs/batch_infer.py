"""`python -m jobs.batch_infer`: what the command `eshop batch-infer` does, from a checkout."""

from eshop_ray.cli import run_job

if __name__ == "__main__":
    run_job("batch_infer")
