"""The merged model as a deployment of Ray Serve, for bulk jobs and behind the endpoint alike."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from eshop_ray.artifacts import AnyFolder
from eshop_ray.cluster import cpu_engine_environment, wait_environment
from eshop_ray.config import ServeSection
from eshop_ray.errors import UserError
from eshop_ray.inference.engines.vllm_arguments import build_arguments

logger = logging.getLogger(__name__)

SERVE_APP = "eshop"
"""Name of the application: one per cluster, for the endpoint's clients and for bulk jobs alike."""

DEPLOYMENT_PREFIX = "LLMServer:"
"""How the name of a deployment that holds a model begins, as Ray Serve LLM has it."""

DIGEST_VARIABLE = "ESHOP_MODEL_DIGEST"
"""Variable in the replicas' environment that holds the digest of the model they serve."""

APP_CPUS = 3
"""Logical CPUs of the endpoint with one replica: two for Ray Serve LLM's, one for the gateway."""

APP_START_SECONDS = 900.0
"""A cluster may have to find a GPU node first; an application that is not up by then lacks something."""

POLL_SECONDS = 0.5
SAY_SECONDS = 15.0
MAX_STATUS_CHARACTERS = 1000


def build_model(config: ServeSection, model_dir: AnyFolder, digest: str, **options: Any) -> Any:
    """Return the deployment that holds the model, for those who ask it by its handle: nothing listens for it.

    Ray Serve LLM sets no bound on requests in flight, which leaves no signal to scale on: the bounds come from
    `serve.deployment_config`.

    Args:
        config: Of the endpoint.
        model_dir: Folder of the model.
        digest: Its digest.
        options: More of `ray.serve.llm.build_llm_deployment`.
    """
    with keep_log_format():
        from ray.serve.llm import LLMConfig, build_llm_deployment

    llm_config = LLMConfig(**build_llm_config(config, model_dir, digest))
    return build_llm_deployment(llm_config, name_prefix=DEPLOYMENT_PREFIX, **options)


@contextmanager
def keep_log_format() -> Iterator[None]:
    """Keep a job's log for people: Ray Serve LLM, imported, takes over the root logger and writes JSON."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def build_llm_config(config: ServeSection, model_dir: AnyFolder, digest: str) -> dict[str, Any]:
    """Return the arguments of `ray.serve.llm.LLMConfig`.

    The engine gets the arguments that bulk inference gives its own: answers are the same either way.
    """
    environment = {DIGEST_VARIABLE: digest}
    if not config.use_gpu:
        environment.update(wait_environment() | cpu_engine_environment(config.cpu_kvcache_gib))
    with keep_log_format():
        from eshop_ray.inference.engines.serve_model import load_settings, name_source
    return {
        "model_loading_config": {"model_id": config.model_id, "model_source": name_source(model_dir)},
        **load_settings(model_dir),
        "accelerator_config": None if config.use_gpu else {"kind": "cpu"},
        "deployment_config": config.deployment_config,
        "engine_kwargs": build_arguments(config.engine_kwargs, config.use_gpu),
        "runtime_env": {"env_vars": environment},
        "log_engine_metrics": not config.engine_kwargs.get("disable_log_stats", False),
    }


def ensure_running(config: ServeSection, model_dir: AnyFolder, digest: str) -> None:
    """Have the cluster serve this model, and leave it running: the next task, run or client finds it warm.

    What already serves this very model is left as it is; another model's application is replaced.

    Raises:
        UserError: if the application cannot be had: it fails, its CPUs or GPUs are missing, or it belongs to a
            declarative deployment (KubeRay's RayService), which would undo what is done here.
    """
    from ray import serve
    from ray.serve import RunTarget

    serve.start(http_options={"host": config.host, "port": config.port})
    served = find_served()
    if served is None or served.digest != digest:
        if served is not None and served.is_declarative:
            raise UserError(
                f"the Ray Serve application `{SERVE_APP}` was declared elsewhere and does not serve {model_dir}: set "
                f"its `model_uri`, and `model_digest: {digest}`, where it is declared"
            )
        logger.info("deploying %s as Ray Serve application `%s`", model_dir, SERVE_APP)
        target = RunTarget(build_model(config, model_dir, digest), name=SERVE_APP, route_prefix=None)
        serve.run_many([target], wait_for_applications_running=False)
    wait_until_running()


@dataclass(frozen=True, slots=True)
class Served:
    """What the application serves."""

    digest: str | None
    """Digest of its model; None where it was deployed by other means."""
    is_declarative: bool


def find_served() -> Served | None:
    """Return what the application serves, or None if there is no such application."""
    from ray.serve.context import _get_global_client
    from ray.serve.schema import APIType

    application = _get_global_client().get_serve_details()["applications"].get(SERVE_APP)
    if application is None or application["status"] in ("DELETING", "NOT_STARTED"):
        return None
    environments = (
        (deployment["deployment_config"].get("ray_actor_options") or {}).get("runtime_env", {}).get("env_vars", {})
        for deployment in application["deployments"].values()
    )
    digests = [variables[DIGEST_VARIABLE] for variables in environments if DIGEST_VARIABLE in variables]
    return Served(digests[0] if digests else None, application["source"] == APIType.DECLARATIVE)


def wait_until_running() -> None:
    """Wait for the application, and say what it waits for.

    Raises:
        UserError: if it fails, or is not up in time.
    """
    from ray import serve
    from ray.serve.schema import ApplicationStatus

    deadline = time.monotonic() + APP_START_SECONDS
    said = time.monotonic()
    while True:
        application = serve.status().applications[SERVE_APP]
        state = ApplicationStatus(application.status)
        if state is ApplicationStatus.RUNNING:
            return
        message = " ".join(
            filter(None, [application.message, *(one.message for one in application.deployments.values())])
        )
        message = message[:MAX_STATUS_CHARACTERS]
        if state is ApplicationStatus.DEPLOY_FAILED or time.monotonic() > deadline:
            raise UserError(
                f"the Ray Serve application `{SERVE_APP}` is not up ({state.value}): {message}; "
                "see `serve status`, and `serve.use_gpu`, `serve.deployment_config`, `ray.num_cpus` for what it needs"
            )
        if time.monotonic() - said > SAY_SECONDS:
            said = time.monotonic()
            logger.info("waiting for `%s` (%s) %s", SERVE_APP, state.value, message)
        time.sleep(POLL_SECONDS)
