"""Compare base, single, mixed and merged on the same rows."""

import logging

from eshop_ray import artifacts
from eshop_ray.config import Config
from eshop_ray.evaluation.experiments.compare import EXPERIMENT, compare
from eshop_ray.evaluation.experiments.confirm import read_search, read_similarity
from eshop_ray.evaluation.experiments.members import find_tasks, list_members
from eshop_ray.evaluation.experiments.report import print_scores, write_report
from eshop_ray.places import place_of

logger = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Have base, single, mixed and merged answer the same rows; write `experiment.json` and the report."""
    members = list_members(config, find_tasks(config))
    experiment = compare(config, members)
    artifacts.write_json(config.run_dir / EXPERIMENT, experiment)
    report = write_report(config.run_dir, experiment, read_search(config), read_similarity(config))
    artifacts.write_run_manifest(config.run_dir)
    print_scores(experiment)
    logger.info("report: %s", place_of(report))
