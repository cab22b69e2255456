"""Fetch the base model into the cache and check it."""

import logging

from eshop_ray.artifacts import shorten_digest
from eshop_ray.config import Config
from eshop_ray.models import fetch_model, model_digest

logger = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Fetch the model, check it, and say where it is."""
    folder = fetch_model(config.model)
    logger.info("%s: %s (digest %s)", config.model.source, folder, shorten_digest(model_digest(folder)))
