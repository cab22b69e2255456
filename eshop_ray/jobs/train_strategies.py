"""Train all adapters that an experiment compares."""

import logging

from eshop_ray import artifacts
from eshop_ray.config import Config
from eshop_ray.evaluation.experiments.chains import TRAIN, Chain, needs_of_training
from eshop_ray.evaluation.experiments.launch import run_chains
from eshop_ray.evaluation.experiments.members import find_tasks, list_members
from eshop_ray.models import fetch_model
from eshop_ray.training.merging.recipe import check_combinable
from eshop_ray.training.model import check_method

logger = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Train every adapter that `experiment` asks for, each by `train_lora` in a run of its own under `adapters/`."""
    members = list_members(config, find_tasks(config))
    model_dir = fetch_model(config.model)  # once, not by each run
    if "merged" in config.experiment.strategies:
        check_method(config.train, config.lora, model_dir)
        check_combinable(model_dir, config.lora)
    run_chains(config, [Chain(member.config, TRAIN) for member in members], needs_of_training(config.train))
    artifacts.write_run_manifest(config.run_dir)
    logger.info("%d adapters: %s", len(members), config.run_dir / "adapters")
