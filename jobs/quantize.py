"""`python -m jobs.quantize`: what the command `eshop quantize` does, from a checkout."""

from eshop_ray.cli import run_job

if __name__ == "__main__":
    run_job("quantize")
