"""Remove what was derived from a product: rows, trouble, old versions, reports."""

import logging
from collections.abc import Sequence
from dataclasses import asdict

from eshop_ray.config import Config
from eshop_ray.enrichment.erase import erase_product
from eshop_ray.secrets import hide_in_text

logger = logging.getLogger(__name__)


def run(config: Config, products: Sequence[str]) -> None:
    """Erase products and say what was removed, and what is not a night's to remove.

    Args:
        config: `table.uri` and the run directory.
        products: Their ids.
    """
    for product in products:
        erased = erase_product(config, product)
        counts = {name: value for name, value in asdict(erased).items() if name != "former_tables"}
        logger.info("erased: %s", ", ".join(f"{name} {value}" for name, value in counts.items()))
        for uri in erased.former_tables:
            logger.info("%s is a table of the first design, and stays as it is: delete it", hide_in_text(uri))
    logger.info(
        "take the products out of the catalogue and its reviews, or the next night asks about them again; models that "
        "learned from them, predictions of other jobs and copies elsewhere are not touched"
    )
