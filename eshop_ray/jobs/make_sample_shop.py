"""Write a small shop of the project's own, to try things."""

import logging

from eshop_ray.config import Config
from eshop_ray.sample_shop.write import write_sample_shop

logger = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Write the shop's files into `data.root`; the same seed and size give the same bytes."""
    for path, num_rows in write_sample_shop(config.data.root, config.data.num_products, config.seed).items():
        logger.info("%-32s %9d rows", path, num_rows)
