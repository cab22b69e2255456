"""`python -m jobs.build_index`: what the command `eshop build-index` does, from a checkout."""

from eshop_ray.cli import run_job

if __name__ == "__main__":
    run_job("build_index")
