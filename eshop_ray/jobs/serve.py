"""Serve the merged model as an OpenAI-compatible endpoint."""

import logging

from ray import serve

from eshop_ray.artifacts import share_folder
from eshop_ray.cluster import start_ray
from eshop_ray.config import Config
from eshop_ray.data.template_gap import warn_of_gap
from eshop_ray.inference.engines.serve_app import APP_CPUS, SERVE_APP, build_app
from eshop_ray.inference.quantization.platform import check_model
from eshop_ray.models import find_model, model_digest

logger = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Serve until interrupted."""
    model_dir = find_model(config, "merged")
    check_model(model_dir, config.serve.use_gpu, config.serve.engine_kwargs.get("dtype"))
    warn_of_gap(model_dir, config.serve.engine_kwargs)
    start_ray(config.ray, num_cpus=APP_CPUS, num_gpus=1 if config.serve.use_gpu else 0)
    serve.start(http_options={"host": config.serve.host, "port": config.serve.port})
    logger.info("starting: http://%s:%d/v1, model `%s`", config.serve.host, config.serve.port, config.serve.model_id)
    shared = share_folder(model_dir, config.run_dir)
    serve.run(build_app(config.serve, shared, model_digest(model_dir)), blocking=True, name=SERVE_APP)
