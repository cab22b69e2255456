"""Adapter + base -> merged model: `python -m jobs.merge_lora CONFIG`."""

import logging

from eshop_ray import artifacts
from eshop_ray.config import Config
from eshop_ray.models import fetch_model, model_digest
from eshop_ray.training.merge import write_merged
from jobs._main import main

logger = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Write `merged/`, unless it was made from exactly this adapter and base."""
    folder = config.run_dir / "merged"
    adapter = artifacts.read_manifest(config.run_dir / "adapter", job="train_lora")
    model_dir = fetch_model(config.model)
    parents = {"base": model_digest(model_dir), "adapter": adapter.digest}
    inputs = artifacts.fingerprint(parents)
    if artifacts.is_current(folder, inputs):
        logger.info("merged model is up to date: %s", folder)
        return
    write_merged(model_dir, config.run_dir / "adapter", folder, inputs, parents)
    artifacts.write_run_manifest(config.run_dir)
    logger.info("merged model written: %s", folder)


if __name__ == "__main__":
    main(run)
