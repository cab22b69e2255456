"""Find faster settings of `infer` for this machine."""

from pathlib import Path

from eshop_ray import artifacts
from eshop_ray.config import Config
from eshop_ray.data.template_gap import check_template
from eshop_ray.inference.autotune import autotune, check_tunable
from eshop_ray.inference.build import start_engine
from eshop_ray.models import Model, find_model, model_digest
from eshop_ray.tasks import get_task, list_tasks


def run(config: Config, path: Path) -> None:
    """Tune with the last model of `infer.models`, on rows of `evaluate.split`."""
    check_tunable(config, path)
    artifacts.read_complete(config.records_dir, job="prepare_data")
    model_dir = find_model(config, config.infer.models[-1])
    check_template(model_dir, [get_task(name) for name in config.data.tasks or list_tasks()])
    start_engine(config, Model(model_dir, model_digest(model_dir)))
    autotune(config, model_dir, path)
