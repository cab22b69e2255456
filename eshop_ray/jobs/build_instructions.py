"""Build instruction rows for many sub-tasks from catalogue, reviews and public sets."""

import logging
from pathlib import Path

from eshop_ray import artifacts
from eshop_ray.cluster import start_ray
from eshop_ray.config import Config
from eshop_ray.data.instructions.build import build_instructions
from eshop_ray.data.instructions.card import describe_build
from eshop_ray.data.instructions.card_page import build_page, word_verdict
from eshop_ray.data.instructions.counts import Counts
from eshop_ray.data.instructions.plan import Plan, fingerprint_build, plan_recipe
from eshop_ray.inference.build import start_engine
from eshop_ray.inference.teacher import Hired, hire_teacher, open_teacher
from eshop_ray.places import place_of
from eshop_ray.reporting.render import write_page

logger = logging.getLogger(__name__)

FOLDER = "instructions"
"""In the run directory: a folder for each split."""
CARD = "card"
"""Of the card's files, before their endings."""


def run(config: Config) -> None:
    """Write `instructions/` and the card, unless they were made from exactly this recipe and these files.

    Raises:
        UserError: for a recipe that names what does not exist, or of which nothing can be made, and for a teacher that
            cannot be asked.
        BudgetSpentError: at `openai.max_cost`; what was answered is kept.
    """
    folder = config.run_dir / FOLDER
    plan = plan_recipe(config)
    hired = hire_teacher(config, plan.teacher) if plan.teacher else None
    inputs = fingerprint_build(config, plan, hired.name if hired else None)
    if artifacts.is_current(folder, inputs):
        logger.info("instructions are up to date: %s", place_of(folder))
        return
    for name, reason in plan.absent.items():
        logger.warning("source %s is left out: %s", name, reason)
    counts = _build(config, plan, folder, hired)
    details = {"num_rows": counts.num_rows}
    manifest = artifacts.write_manifest(folder, "instructions", inputs, parents={}, details=details)
    card = describe_build(plan, counts, manifest.digest)
    artifacts.write_json(config.run_dir / f"{CARD}.json", card)
    page = write_page(build_page(card), config.run_dir, CARD)
    artifacts.write_run_manifest(config.run_dir)
    logger.info("%s Card: %s", word_verdict(card), place_of(page))


def _build(config: Config, plan: Plan, folder: Path, hired: Hired | None) -> Counts:
    if hired is None:
        start_ray(config.ray, num_cpus=1)
        return build_instructions(config, plan, folder)
    start_engine(hired.config, hired.model)
    with open_teacher(hired) as teacher:
        return build_instructions(config, plan, folder, teacher)
