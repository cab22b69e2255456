"""Bring the table of answers about all products up to date."""

import logging
from collections.abc import Mapping
from pathlib import Path

from eshop_ray.cluster import start_ray
from eshop_ray.config import Config
from eshop_ray.data.template_gap import check_template
from eshop_ray.enrichment.estimate import estimate_night
from eshop_ray.enrichment.nightly import run_night
from eshop_ray.enrichment.templates import Template, build_templates
from eshop_ray.inference.build import choose_engine, find_answering_model, start_engine
from eshop_ray.inference.engines.conventional import check_tasks
from eshop_ray.models.conventional import read_spec
from eshop_ray.models.switched import check_has_weights

logger = logging.getLogger(__name__)


def run(config: Config, replay: bool = False) -> None:
    """Ask about what changed since the last run, and commit the answers as they come."""
    templates = build_templates(config)  # refuses what cannot be asked, and labels that nobody has looked through
    config = choose_engine(config, config.enrich.model)
    model = find_answering_model(config, config.enrich.model)
    if model.folder:
        _check_model(config, model.folder, templates)
    if config.enrich.dry_run:
        start_ray(config.ray, num_cpus=1)
        estimate_night(config, model, replay)
        return
    start_engine(config, model)
    run_night(config, model, replay)


def _check_model(config: Config, model_dir: Path, templates: Mapping[str, Template]) -> None:
    """Refuse a model that cannot be asked these questions."""
    if config.enrich.model != "conventional":
        check_template(model_dir, [template.task for template in templates.values()])
        check_has_weights(model_dir, [(name, name) for name in templates])
        return
    spec = read_spec(model_dir)
    check_tasks(spec, [template.task.name for template in templates.values()], "enrich.tasks")
    known = {head.task: set(head.labels) for head in spec.heads if head.kind == "label"}
    for name, template in templates.items():
        unseen = sorted(set(template.labels) - known.get(template.task.name, set(template.labels)))
        if unseen:
            logger.warning(
                "%s: %d of the %d labels to choose from were not in training, such as %s: the encoder never gives them",
                *(name, len(unseen), len(template.labels), ", ".join(unseen[:3])),
            )
