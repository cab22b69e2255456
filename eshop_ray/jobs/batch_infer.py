"""Answer the rows of a split with each model of the run."""

import logging
from pathlib import Path

from eshop_ray import artifacts
from eshop_ray.config import Config
from eshop_ray.config.sections import ENGINE_MODELS
from eshop_ray.data.conventional import count_labels
from eshop_ray.data.few_shot.shots import check_few_shot
from eshop_ray.data.prompts import add_prompts
from eshop_ray.data.splits import list_groups, list_split_tasks, read_split
from eshop_ray.data.template_gap import check_template
from eshop_ray.errors import UserError
from eshop_ray.inference.batch import check_failures, fingerprint_inference, infer_split
from eshop_ray.inference.build import check_platform, choose_engine, find_answering_model, start_engine
from eshop_ray.inference.engines.conventional import check_tasks, warn_of_unseen
from eshop_ray.models.conventional import read_spec
from eshop_ray.models.switched import check_has_weights, is_switched
from eshop_ray.places import place_of
from eshop_ray.tasks import get_task, list_tasks

logger = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Answer `evaluate.split` with each model of `infer.models`, unless its predictions are up to date."""
    records = artifacts.read_complete(config.records_dir, job="prepare_data")
    check_few_shot(config)
    if config.infer.engine in ENGINE_MODELS and len(config.infer.models) > 1:
        raise UserError(
            f"`infer.models` names {len(config.infer.models)} models, and infer.engine={config.infer.engine} is one; "
            "leave it out"
        )
    configs = {name: choose_engine(config, name) for name in config.infer.models}
    models = {name: find_answering_model(configs[name], name) for name in config.infer.models}
    for name, model in models.items():
        if model.folder:
            _check_model(configs[name], name, model.folder)
    for name, model in models.items():
        folder, own = config.predictions_dir(name), configs[name]
        parents = {"model": model.digest, "records": records.digest}
        inputs = fingerprint_inference(own, records.digest, model.digest)
        made = artifacts.find_complete(folder)
        if made and made.inputs == inputs:
            num_failed = int(made.details.get("num_errors", 0))
            if not (num_failed and config.infer.retry_failed):
                logger.info("predictions are up to date: %s%s", place_of(folder), _describe_failed(num_failed))
                continue
        start_engine(own, model)
        if own.infer.engine == "encoder" and model.folder:
            _warn_of_unseen(own, model.folder)
        for count, value in infer_split(own, model, folder, inputs, parents).items():
            logger.info("%-32s %9d", f"{name} {count}", value)
    artifacts.write_run_manifest(config.run_dir)
    for name in models:
        check_failures(config.predictions_dir(name), config.infer.max_failed_share)


def _describe_failed(num_failed: int) -> str:
    return f"; {num_failed} of its rows have no answer, infer.retry_failed=true asks them again" if num_failed else ""


def _check_model(config: Config, name: str, model_dir: Path) -> None:
    """Refuse a model that cannot be asked here, or not about these tasks."""
    if name != "conventional":
        check_platform(config, model_dir)
        check_template(model_dir, [get_task(one) for one in config.data.tasks or list_tasks()])
        if is_switched(model_dir):
            check_has_weights(model_dir, _list_asked(config))
        return
    asked = list_split_tasks(config.records_dir, config.evaluate.split, config.data.tasks)
    check_tasks(read_spec(model_dir), asked, "data.tasks")


def _list_asked(config: Config) -> list[tuple[str, str]]:
    found = list_groups(config.records_dir, config.evaluate.split, config.data.tasks)
    return [(task, group) for task, group in found if not config.data.groups or group in config.data.groups]


def _warn_of_unseen(config: Config, model_dir: Path) -> None:
    split, data = config.evaluate.split, config.data
    records = read_split(config.records_dir, split, data.tasks, config.infer.max_rows, groups=data.groups)
    warn_of_unseen(read_spec(model_dir), count_labels(add_prompts(records)), f"split {split}")
