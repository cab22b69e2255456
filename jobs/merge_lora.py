"""`python -m jobs.merge_lora`: what the command `eshop merge-lora` does, from a checkout."""

from eshop_ray.cli import run_job

if __name__ == "__main__":
    run_job("merge_lora")
