"""Answer the rows of a split with each model of the run."""

import logging

from eshop_ray import artifacts
from eshop_ray.config import Config
from eshop_ray.data.splits import list_split_tasks
from eshop_ray.data.template_gap import check_template
from eshop_ray.inference.batch import fingerprint_inference, infer_split
from eshop_ray.inference.build import check_platform, start_engine
from eshop_ray.models import Model, find_model, model_digest
from eshop_ray.models.switched import check_tasks
from eshop_ray.places import place_of
from eshop_ray.tasks import get_task, list_tasks

logger = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Answer `evaluate.split` with each model of `infer.models`, unless its predictions are up to date."""
    records = artifacts.read_complete(config.records_dir, job="prepare_data")
    can_switch = config.infer.engine != "serve"
    models = {name: find_model(config, name, can_switch=can_switch) for name in config.infer.models}
    tasks = [get_task(name) for name in config.data.tasks or list_tasks()]
    for model_dir in models.values():
        check_platform(config, model_dir)
        check_template(model_dir, tasks)
        check_tasks(model_dir, list_split_tasks(config.records_dir, config.evaluate.split, config.data.tasks))
    for name, model_dir in models.items():
        folder = config.predictions_dir(name)
        parents = {"model": model_digest(model_dir), "records": records.digest}
        inputs = fingerprint_inference(config, records.digest, parents["model"])
        if artifacts.is_current(folder, inputs):
            logger.info("predictions are up to date: %s", place_of(folder))
            continue
        start_engine(config, Model(model_dir, parents["model"]))
        for count, value in infer_split(config, model_dir, folder, inputs, parents).items():
            logger.info("%-32s %9d", f"{name} {count}", value)
    artifacts.write_run_manifest(config.run_dir)
