"""Config -> the application of Ray Serve: gateways, keepers of budgets and batches, and the model behind them."""

import math
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ray import serve
from ray.serve.deployment import Application

from eshop_ray.artifacts import AnyFolder
from eshop_ray.config import Config, ServeSection
from eshop_ray.data.few_shot.embeddings import encode_texts
from eshop_ray.data.prompts import PromptSettings
from eshop_ray.data.search_index import SearchIndex
from eshop_ray.inference.engines.serve_app import build_model, keep_log_format
from eshop_ray.places import is_uri
from eshop_ray.serving.adapters import Adapters, build_lora_arguments
from eshop_ray.serving.batches.deployment import BatchDeployment
from eshop_ray.serving.budget_actor import BudgetDeployment
from eshop_ray.serving.deployments import CatalogueDeployment, GatewayDeployment
from eshop_ray.serving.keys import KeyRing
from eshop_ray.serving.pulse import TOKEN_SECONDS

GATEWAY = "Gateway"
BUDGETS = "Budgets"
CATALOGUE = "Catalogue"
BATCHES = "Batches"

HEAD_NODE = {"node:__internal_head__": 0.001}
"""A resource that Ray gives its head node: the ledger and the batches are files there, also after a new start."""

QUIET_LOG = {"enable_access_log": False, "log_level": "WARNING"}
"""Of Ray Serve: it would write down addresses as clients send them. The gateway has an access log of its own."""

MAX_CALLS = 100_000
"""Calls to a keeper of budgets, products or batches at a time; gateways bound them."""


@dataclass(frozen=True, slots=True)
class Folders:
    """On the head node; absolute paths, for replicas run in folders of their own."""

    ledger: str
    batches: str


def build_application(
    config: Config, model_dir: AnyFolder, digest: str, adapters: Adapters = MappingProxyType({})
) -> Application:
    """Return the application for a model.

    Args:
        config: Of the run.
        model_dir: Folder of the model.
        digest: Its digest, by which bulk jobs know it.
        adapters: Folders of `serve.adapters`, as nodes of the cluster find them.

    Raises:
        UserError: if the API keys cannot be used, or an adapter cannot be served.
    """
    KeyRing.of(config.serve)  # what is wrong with them is to be said here, not in a log of Ray's
    section = config.serve.model_copy(update={"api_keys_file": absolute(config.serve.api_keys_file)})
    tasks = PromptSettings.of(config.infer)
    model = _bind_model(section, model_dir, digest, adapters)
    return compose(section, tasks, find_folders(config), model, _bind_catalogue(config.index_uri))


def find_folders(config: Config) -> Folders:
    """Return the folders of what API keys have spent, and of their files and batches."""
    return Folders(
        absolute(config.serve.ledger_dir) or str(config.run_dir / "serve-ledger"),
        absolute(config.serve.batches.dir) or str(config.run_dir / "serve-batches"),
    )


def _bind_model(section: ServeSection, model_dir: AnyFolder, digest: str, adapters: Adapters) -> Application:
    engine_kwargs = build_lora_arguments(adapters, section.engine_kwargs)
    with keep_log_format():
        from eshop_ray.serving.replica import ModelReplica  # it loads vLLM

    health = {"health_check_timeout_s": TOKEN_SECONDS + 5}  # Ray Serve LLM's own is less than a token may take
    deployment = {"logging_config": QUIET_LOG, **_patience(section), **health, **section.deployment_config}
    quiet = section.model_copy(update={"deployment_config": deployment, "engine_kwargs": engine_kwargs})
    arguments = {"model_dir": model_dir, "adapters": dict(adapters)}
    model: Application = build_model(quiet, model_dir, digest, deployment_cls=ModelReplica, bind_kwargs=arguments)
    return model


def _patience(section: ServeSection) -> dict[str, float]:
    return {"graceful_shutdown_timeout_s": max(section.drain_seconds, 1.0)}


def compose(
    section: ServeSection, tasks: PromptSettings, folders: Folders, model: Application, catalogue: Application | None
) -> Application:
    """Return the application around a model.

    Args:
        section: Of the config.
        tasks: How tasks are asked.
        folders: Where spent tokens are noted, and where batches are.
        model: The deployment that answers as `DeployedModel` asks it.
        catalogue: That of the search index, if there is one.
    """
    light = {"num_cpus": 0, "resources": HEAD_NODE}
    budgets = serve.deployment(
        BudgetDeployment,
        name=BUDGETS,
        num_replicas=1,
        max_ongoing_requests=MAX_CALLS,
        ray_actor_options=light,
        logging_config=QUIET_LOG,
    ).bind(folders.ledger, section.request_seconds, light)
    batches = serve.deployment(
        BatchDeployment,
        name=BATCHES,
        num_replicas=1,
        max_ongoing_requests=MAX_CALLS,
        ray_actor_options=light,
        logging_config=QUIET_LOG,
    ).bind(section, tasks, folders.batches, light, model, budgets)
    options = {"name": GATEWAY, "logging_config": QUIET_LOG, **_patience(section), **section.gateway_config}
    gateway = serve.deployment(serve.ingress()(GatewayDeployment), **options)
    return gateway.bind(section, tasks, model, budgets, catalogue, batches)


def _bind_catalogue(index_uri: str) -> Application | None:
    """Return the deployment of the search index, None where there is no index."""
    if not SearchIndex(index_uri, encode_texts).exists():
        return None
    place = {} if is_uri(index_uri) else {"resources": HEAD_NODE}
    return serve.deployment(
        CatalogueDeployment,
        name=CATALOGUE,
        num_replicas=1,
        max_ongoing_requests=MAX_CALLS,
        ray_actor_options={"num_cpus": 0, **place},
        logging_config=QUIET_LOG,
    ).bind(index_uri)


def absolute(path: str | None) -> str | None:
    """Return a path as replicas find it, which run in folders of their own."""
    return str(Path(path).expanduser().absolute()) if path else None


def count_replicas(options: dict[str, Any]) -> tuple[int, float]:
    """Return the fewest and the most replicas that a deployment has, by its options."""
    number = options.get("num_replicas")
    if isinstance(number, int):
        return number, number
    scaling = options.get("autoscaling_config") or {}
    most = scaling.get("max_replicas", math.inf if number == "auto" else 1)
    return max(1, scaling.get("min_replicas", 1), scaling.get("initial_replicas") or 0), most
