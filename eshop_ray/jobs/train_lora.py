"""Tune the base model on the records."""

import logging

from eshop_ray import artifacts
from eshop_ray.cluster import start_ray
from eshop_ray.config import Config
from eshop_ray.models import fetch_model, model_digest
from eshop_ray.places import place_of
from eshop_ray.training.distilling.parents import trace_teaching
from eshop_ray.training.trainer import fingerprint_training, train_adapter

logger = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Write `adapter/`, unless it was trained on exactly these records, base and settings."""
    folder = config.run_dir / "adapter"
    records = artifacts.read_complete(config.records_dir, job="prepare_data")
    model_dir = fetch_model(config.model)
    parents = {"base": model_digest(model_dir), "records": records.digest, **trace_teaching(config)}
    inputs = fingerprint_training(config, records.digest, parents["base"])
    if artifacts.is_current(folder, inputs):
        logger.info("adapter is up to date: %s", place_of(folder))
        return
    train = config.train
    start_ray(config.ray, num_cpus=train.num_cpus, num_gpus=train.num_gpus)
    for name, count in train_adapter(config, model_dir, inputs, parents).items():
        logger.info("%-32s %9.6g", name, count)
    artifacts.write_run_manifest(config.run_dir)
