"""Read, clean and split a shop's data into records."""

import logging

from eshop_ray import artifacts
from eshop_ray.cluster import start_ray
from eshop_ray.config import Config
from eshop_ray.data.records import fingerprint_inputs, prepare_records
from eshop_ray.places import place_of

logger = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Write `records/` and its manifest, unless they were made from exactly these files and settings."""
    folder = config.records_dir
    inputs = fingerprint_inputs(config)
    if artifacts.is_current(folder, inputs):
        logger.info("records are up to date: %s", place_of(folder))
        return
    start_ray(config.ray, num_cpus=1)
    summary = prepare_records(config)
    artifacts.write_manifest(folder, "records", inputs, parents={}, details=summary)
    for name, count in {**summary.pop("records"), **summary}.items():
        logger.info("%-32s %9d", name, count)
