"""Bring the table of answers about all products up to date."""

from eshop_ray.cluster import start_ray
from eshop_ray.config import Config
from eshop_ray.data.template_gap import check_template
from eshop_ray.enrichment.estimate import estimate_night
from eshop_ray.enrichment.nightly import run_night
from eshop_ray.enrichment.templates import build_templates
from eshop_ray.inference.build import find_answering_model, start_engine
from eshop_ray.models.switched import check_tasks


def run(config: Config, replay: bool = False) -> None:
    """Ask about what changed since the last run, and commit the answers as they come."""
    templates = build_templates(config)  # refuses what cannot be asked, and labels that nobody has looked through
    model = find_answering_model(config, config.enrich.model)
    if model.folder:
        check_template(model.folder, [template.task for template in templates.values()])
        check_tasks(model.folder, templates)
    if config.enrich.dry_run:
        start_ray(config.ray, num_cpus=1)
        estimate_night(config, model, replay)
        return
    start_engine(config, model)
    run_night(config, model, replay)
