"""Build instruction rows for many sub-tasks from catalogue, reviews and public sets."""

import logging

from eshop_ray import artifacts
from eshop_ray.cluster import start_ray
from eshop_ray.config import Config
from eshop_ray.data.instructions.build import build_instructions
from eshop_ray.data.instructions.card import describe_build
from eshop_ray.places import place_of

logger = logging.getLogger(__name__)

FOLDER = "instructions"
"""In the run directory: a folder for each split."""


def run(config: Config) -> None:
    """Write `instructions/` and `card.json`.

    Raises:
        UserError: for a recipe that names what does not exist, or of which nothing can be made.
    """
    folder = config.run_dir / FOLDER
    start_ray(config.ray, num_cpus=1)
    plan, counts = build_instructions(config, folder)
    manifest = artifacts.write_manifest(
        folder, "instructions", plan.digest, parents={}, details={"num_rows": counts.num_rows}
    )
    card = describe_build(plan, counts, manifest.digest)
    artifacts.write_json(config.run_dir / "card.json", card)
    artifacts.write_run_manifest(config.run_dir)
    for name, count in card["rows_by_split"].items():
        logger.info("%-32s %9d", name, count)
    logger.info("card: %s", place_of(config.run_dir / "card.json"))
