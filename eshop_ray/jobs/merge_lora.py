"""Merge one adapter or several into the base model."""

import logging

from eshop_ray import artifacts
from eshop_ray.config import Config
from eshop_ray.models import fetch_model
from eshop_ray.places import place_of
from eshop_ray.training.merging.fold import write_merged
from eshop_ray.training.merging.recipe import Recipe

logger = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Write `merged/`, unless it was made from exactly these adapters and this base in this way."""
    folder = config.run_dir / "merged"
    recipe = Recipe.of(config, fetch_model(config.model))
    if artifacts.is_current(folder, recipe.inputs):
        logger.info("merged model is up to date: %s", place_of(folder))
        return
    write_merged(recipe, folder)
    artifacts.write_run_manifest(config.run_dir)
    logger.info("merged model written: %s", place_of(folder))
