"""`python -m jobs.build_instructions`: what the command `eshop build-instructions` does, from a checkout."""

from eshop_ray.cli import run_job

if __name__ == "__main__":
    run_job("build_instructions")
