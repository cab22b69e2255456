"""Follow the table's rows back to what they were made from."""

import logging

from eshop_ray.config import Config
from eshop_ray.enrichment.lineage import verify
from eshop_ray.errors import UserError
from eshop_ray.secrets import hide_in_text

logger = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Print the way back from one row of each task; fail with the name of everything that changed."""
    report = verify(config)
    for line in report.lineage_paths:
        logger.info(line)
    for name in ("num_data_files", "num_runs", "num_artifacts"):
        logger.info("%-32s %9d", name, getattr(report, name))
    if report.findings:
        listed = "".join(f"\n  {finding}" for finding in report.findings)
        raise UserError(f"{len(report.findings)} of the things verified are not as they were:{listed}")
    logger.info("all sound: %s", hide_in_text(config.table_uri))
