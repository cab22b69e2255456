"""`python -m jobs.compare_strategies`: what the command `eshop compare-strategies` does, from a checkout."""

from eshop_ray.cli import run_job

if __name__ == "__main__":
    run_job("compare_strategies")
