"""`python -m jobs.demo`: what the command `eshop demo` does, from a checkout."""

from eshop_ray.cli import run_job

if __name__ == "__main__":
    run_job("demo")
