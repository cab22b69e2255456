"""`python -m jobs.replay_quarantine`: what the command `eshop replay-quarantine` does, from a checkout."""

from eshop_ray.cli import run_job

if __name__ == "__main__":
    run_job("replay_quarantine")
