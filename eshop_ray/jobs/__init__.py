"""What each job does: one module per job, with `run(config)`; `eshop NAME` and `python -m jobs.NAME` call it."""
