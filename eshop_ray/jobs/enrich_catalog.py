"""Bring the table of answers about all products up to date."""

from pathlib import Path

from eshop_ray.artifacts import fingerprint
from eshop_ray.config import Config
from eshop_ray.enrichment.nightly import run_night
from eshop_ray.enrichment.run import Model
from eshop_ray.inference.build import start_engine
from eshop_ray.models import find_model, model_digest


def run(config: Config, replay: bool = False) -> None:
    """Ask about what changed since the last run, and commit the answers as they come."""
    model = _find_model(config)
    start_engine(config, model.folder or Path(), model.digest)
    run_night(config, model, replay)


def _find_model(config: Config) -> Model:
    if config.infer.engine == "simulated":
        return Model(None, fingerprint(["simulated", config.infer.engine_kwargs]))
    folder = find_model(config, config.enrich.model)
    return Model(folder, model_digest(folder))
