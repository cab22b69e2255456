"""The whole road on the project's own sample shop: `python -m jobs.demo jobs/configs/demo.yaml`."""

import logging
import time

from eshop_ray.config import Config
from eshop_ray.progress import format_seconds
from jobs import batch_infer, evaluate, make_sample_shop, merge_lora, prepare_data, train_lora
from jobs._main import main

logger = logging.getLogger(__name__)

STEPS = (make_sample_shop, prepare_data, train_lora, merge_lora, batch_infer, evaluate)


def run(config: Config) -> None:
    """Run every job in its turn; each skips what is complete and goes on where it was cut off."""
    started = time.monotonic()
    for step in STEPS:
        logger.info("---- %s", step.__name__)
        step.run(config)
    logger.info("the whole road took %s", format_seconds(time.monotonic() - started))


if __name__ == "__main__":
    main(run)
