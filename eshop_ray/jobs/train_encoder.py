"""Tune a conventional model on the records: an encoder with heads, T5, BART, GPT-2."""

import logging

from eshop_ray import artifacts
from eshop_ray.cluster import start_ray
from eshop_ray.config import Config
from eshop_ray.data.splits import list_split_tasks
from eshop_ray.models import fetch_model, model_digest
from eshop_ray.places import place_of
from eshop_ray.training.conventional.trainer import (
    CONVENTIONAL,
    check_conventional,
    fingerprint_conventional,
    train_conventional,
)

logger = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Write `conventional/`, unless it was trained on exactly these records, source and settings."""
    folder = config.run_dir / CONVENTIONAL
    records = artifacts.read_complete(config.records_dir, job="prepare_data")
    section = config.conventional
    source = config.model.model_copy(update={"source": section.source, "template_options": {}})
    model_dir = fetch_model(source, for_chat=False, key="conventional.source")
    spec = check_conventional(config, model_dir, list_split_tasks(config.records_dir, "train", config.data.tasks))
    parents = {"base": model_digest(model_dir), "records": records.digest}
    inputs = fingerprint_conventional(config, records.digest, parents["base"])
    if artifacts.is_current(folder, inputs):
        logger.info("the conventional model is up to date: %s", place_of(folder))
        return
    if not spec.pretrained:
        logger.warning("`conventional.source` %s has no weights: the model starts from random ones", section.source)
    start_ray(config.ray, num_cpus=section.num_cpus, num_gpus=section.num_gpus)
    for name, count in train_conventional(config, model_dir, spec, inputs, parents).items():
        logger.info("%-32s %9.6g", name, count)
    artifacts.write_run_manifest(config.run_dir)
