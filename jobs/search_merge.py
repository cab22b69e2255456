"""`python -m jobs.search_merge`: what the command `eshop search-merge` does, from a checkout."""

from eshop_ray.cli import run_job

if __name__ == "__main__":
    run_job("search_merge")
