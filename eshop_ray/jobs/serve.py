"""Serve the merged model as a guarded, OpenAI-compatible endpoint."""

import logging
from collections.abc import Mapping
from pathlib import Path

import ray
from ray import serve
from ray.serve import RunTarget

from eshop_ray.artifacts import AnyFolder, fetch, find_manifest, share_folder
from eshop_ray.cluster import start_ray
from eshop_ray.config import Config, ServeSection
from eshop_ray.data.template_gap import warn_of_gap
from eshop_ray.inference.engines.serve_app import SERVE_APP, wait_until_running
from eshop_ray.inference.quantization.platform import check_model
from eshop_ray.models import find_model, model_digest
from eshop_ray.places import local_path
from eshop_ray.serving.adapters import build_lora_arguments, read_rank
from eshop_ray.serving.application import QUIET_LOG, build_application
from eshop_ray.serving.declared import write_declaration
from eshop_ray.serving.proxy import filter_in_proxies
from eshop_ray.serving.start import (
    check_exposure,
    check_listening,
    count_needed,
    drain,
    fit_replicas,
    hold_port,
    read_details,
    wait_for_end,
    wait_until_ready,
)
from eshop_ray.training.adapter import check_base

logger = logging.getLogger(__name__)

MODELS_OWN_CONTEXT = -1
"""Has vLLM take the longest context that the model has and the memory holds."""


def run(config: Config, write: Path | None = None) -> None:
    """Serve until Ctrl-C or SIGTERM; running answers are finished then.

    Args:
        config: Of the run.
        write: File to write for a cluster's Ray Serve; then nothing is started.
    """
    if write is not None:
        declare(config, write)
        return
    check_exposure(config.serve)
    with hold_port(config):
        deploy(config)
        names = ", ".join(f"`{name}`" for name in (config.serve.model_id, *config.serve.adapters))
        logger.info("ready: http://%s:%d/v1, model %s", config.serve.host, config.serve.port, names)
        wait_for_end()
        drain(config.serve, SERVE_APP)
        ray.shutdown()


def declare(config: Config, path: Path) -> None:
    """Write the endpoint as a file for `serve deploy` and KubeRay.

    Raises:
        UserError: if there is no model, or no such file can be.
    """
    model_dir, adapters = find_models(config)
    own = config.model_copy(update={"serve": leave_context(config.serve)})
    shared = share_folder(model_dir, config.run_dir)
    write_declaration(path, own, shared, model_digest(model_dir), share_all(adapters, config.run_dir))
    logger.info("wrote %s; next: `serve deploy %s`, where the model's cluster is", path, path)


def find_models(config: Config) -> tuple[Path, dict[str, Path]]:
    """Return the folder of the model, and those of the adapters beside it.

    Raises:
        UserError: if one is missing, or an adapter is one of another base or none that the engine can have.
    """
    if not config.serve.adapters:
        return find_model(config, "merged"), {}
    model_dir = find_model(config, "base")
    folders = {name: local_path(place) for name, place in config.serve.adapters.items()}
    for name, folder in folders.items():
        if manifest := find_manifest(folder):
            fetch(folder, manifest)
        read_rank(name, folder)
        check_base(f"serve.adapters.{name}", folder, model_dir)
    build_lora_arguments(folders, config.serve.engine_kwargs)
    return model_dir, folders


def share_all(folders: Mapping[str, Path], run_dir: Path) -> dict[str, AnyFolder]:
    """Return folders as nodes of the cluster find them; arguments as of `share_folder`."""
    return {name: share_folder(folder, run_dir) for name, folder in folders.items()}


def leave_context(section: ServeSection) -> ServeSection:
    """Return the section with the model's own context, unless it says how long that is."""
    return section.model_copy(update={"engine_kwargs": {"max_model_len": MODELS_OWN_CONTEXT, **section.engine_kwargs}})


def deploy(config: Config) -> None:
    """Start the endpoint, and return when it has answered.

    Raises:
        UserError: if it cannot be started.
    """
    model_dir, adapters = find_models(config)
    check_model(model_dir, config.serve.use_gpu, config.serve.engine_kwargs.get("dtype"))
    warn_of_gap(model_dir, config.serve.engine_kwargs)
    filter_in_proxies()
    num_cpus, num_gpus = count_needed(config.serve)
    start_ray(config.ray, num_cpus=num_cpus, num_gpus=num_gpus, metrics_port=config.serve.metrics_port)
    section = fit_replicas(config.serve, {**ray.cluster_resources(), **config.ray.limits})
    config = config.model_copy(update={"serve": leave_context(section)})
    shared, others = share_folder(model_dir, config.run_dir), share_all(adapters, config.run_dir)
    app = build_application(config, shared, model_digest(model_dir), others)
    serve.start(http_options={"host": section.host, "port": section.port}, logging_config=QUIET_LOG)
    check_listening(section, read_details())
    logger.info("starting the model; the endpoint answers 503 until it has generated a token")
    serve.run_many([RunTarget(app, name=SERVE_APP, route_prefix="/")], wait_for_applications_running=False)
    wait_until_running()
    wait_until_ready(section)
