"""`python -m jobs.enrich_catalog`: what the command `eshop enrich-catalog` does, from a checkout."""

from eshop_ray.cli import run_job

if __name__ == "__main__":
    run_job("enrich_catalog")
