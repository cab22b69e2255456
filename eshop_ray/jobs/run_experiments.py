"""Compare models, ways to train them and numbers of rows on every task, with what each costs."""

import logging

from eshop_ray import artifacts
from eshop_ray.config import Config
from eshop_ray.data.splits import read_clusters
from eshop_ray.errors import UserError
from eshop_ray.evaluation.contamination import find_seen
from eshop_ray.evaluation.matrix.answers import read_answers
from eshop_ray.evaluation.matrix.outcome import MATRIX, describe
from eshop_ray.evaluation.matrix.plan import plan_runs
from eshop_ray.evaluation.matrix.points import build_points
from eshop_ray.evaluation.matrix.report import print_outcome, write_report
from eshop_ray.evaluation.matrix.runs import derive, fill
from eshop_ray.evaluation.matrix.units import find_units
from eshop_ray.models import fetch_model
from eshop_ray.places import place_of

logger = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Fill the cells of `matrix`, each by the ordinary jobs in a run of its own under `cells/`, and report on them.

    Raises:
        UserError: if a cell failed, after all others are done and reported on.
    """
    units = find_units(config)
    runs = plan_runs(config.matrix, units, config.seed)
    clusters = read_clusters(config.records_dir, config.evaluate.split, config.evaluate.clusters)
    failed = fill(config, runs, fetch_model(config.model))
    done = [run for run in runs if run.is_answering and run.name not in failed]
    points = build_points(config, (one for run in done for one in read_answers(derive(config, run), run, clusters)))
    found = find_seen(config.records_dir, config.evaluate.split, config.data.tasks, config.data.groups)
    seen = {group: one.describe() for group, one in found.items()}
    outcome = {**describe(config, units, runs, points, failed), "seen_in_training": seen}
    artifacts.write_json(config.run_dir / MATRIX, outcome)
    report = write_report(config.run_dir, outcome)
    artifacts.write_run_manifest(config.run_dir)
    print_outcome(outcome)
    logger.info("report: %s", place_of(report))
    if failed:
        listed = "".join(f"\n  {reason}" for reason in failed.values())
        raise UserError(
            f"{len(failed)} of {len(runs)} runs failed, and their cells are missing from the report; mend the cause "
            f"and give the same command again, which skips what is complete:{listed}"
        )
