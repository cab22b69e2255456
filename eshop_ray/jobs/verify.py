"""Follow the table's rows back to what they were made from, and take out what is damaged if told to."""

import logging

from eshop_ray.config import Config
from eshop_ray.enrichment.lineage import Repaired, repair, verify
from eshop_ray.errors import UserError
from eshop_ray.reporting.words import count
from eshop_ray.secrets import hide_in_text

logger = logging.getLogger(__name__)


def run(config: Config, repairs: bool = False) -> None:
    """Print the way back from one row of each task; fail with the name of everything that changed.

    Args:
        config: As for the nightly job.
        repairs: Take damaged files out of both tables first; the next night asks again what stood in them.
    """
    for done in repair(config) if repairs else ():
        for line in word_repair(done):
            logger.info("%s: %s", hide_in_text(done.uri), line)
    report = verify(config)
    for line in report.lineage_paths:
        logger.info(line)
    for name in ("num_data_files", "num_runs", "num_artifacts"):
        logger.info("%-32s %9d", name, getattr(report, name))
    if report.findings:
        listed = "".join(f"\n  {finding}" for finding in report.findings)
        raise UserError(f"{len(report.findings)} of the things verified are not as they were:{listed}")
    logger.info("all sound: %s", hide_in_text(config.table_uri))


def word_repair(done: Repaired) -> list[str]:
    """Return what was done to a table, and what the next night asks again."""
    lines = [f"set aside, below `_eshop_ray/damaged`: {', '.join(done.set_aside)}"] if done.set_aside else []
    if done.num_lost_versions:
        lines.append(f"lost: what {count(done.num_lost_versions, 'version')} changed, which the next night asks again")
    if done.num_damaged_files:
        lost = ", ".join(f"{count(number, 'row')} of {task or 'no task'}" for task, number in done.lost_rows.items())
        asked = f"the next night asks again: {lost}" if lost else "all their rows could be kept"
        lines.append(f"{count(done.num_damaged_files, 'damaged file')} taken out; {asked}")
    return [*lines, f"it is sound again, at version {done.version}"]
