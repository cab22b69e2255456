"""Bring the table and the quarantine back to how an earlier night left them."""

import logging

from eshop_ray.config import Config
from eshop_ray.enrichment.rollback import roll_back
from eshop_ray.secrets import hide_in_text

logger = logging.getLogger(__name__)


def run(config: Config, to: str) -> None:
    """Restore both tables; rows that are unchanged since then cost nothing in the next night.

    Args:
        config: `table.uri`.
        to: The run's id, as rows of the table, its report and its log name it.
    """
    for uri, version in roll_back(config, to).items():
        logger.info("%s is back at version %d, as run %s left it", hide_in_text(uri), version, to)
