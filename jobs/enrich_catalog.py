"""Catalogue + reviews -> the enriched table, current again: `python -m jobs.enrich_catalog CONFIG`."""

from eshop_ray.artifacts import fingerprint
from eshop_ray.cluster import start_ray
from eshop_ray.config import Config
from eshop_ray.enrichment.nightly import run_night
from eshop_ray.enrichment.run import Model
from eshop_ray.models import find_model, model_digest
from jobs._main import main


def run(config: Config, replay: bool = False) -> None:
    """Ask about what changed since the last run, and commit the answers as they come."""
    if config.infer.engine == "simulated":
        model = Model(None, fingerprint(["simulated", config.infer.engine_kwargs]))
    else:
        folder = find_model(config, config.enrich.model)
        model = Model(folder, model_digest(folder))
    start_ray(config.ray, num_cpus=config.infer.concurrency + 2, num_gpus=config.infer.num_gpus)
    if config.infer.engine == "serve" and model.folder is not None:
        from eshop_ray.serving.app import ensure_running

        ensure_running(config.serve, model.folder, model.digest)
    run_night(config, model, replay)


if __name__ == "__main__":
    main(run)
