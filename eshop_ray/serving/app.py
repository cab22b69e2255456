"""The merged model as an OpenAI-compatible application of Ray Serve."""

from pathlib import Path
from typing import Any

from eshop_ray.cluster import cpu_engine_environment
from eshop_ray.config import ServeSection


def build_app(config: ServeSection, model_dir: Path) -> Any:
    """Return the Ray Serve application: `/v1/chat/completions`, `/v1/completions`, `/v1/models`, streaming included.

    Ray Serve LLM sets no bound on requests in flight, which leaves no signal to scale on: the bounds come from
    `serve.deployment_config`.
    """
    from ray.serve.llm import LLMConfig, build_openai_app

    return build_openai_app({"llm_configs": [LLMConfig(**build_llm_config(config, model_dir))]})


def build_llm_config(config: ServeSection, model_dir: Path) -> dict[str, Any]:
    """Return the arguments of `ray.serve.llm.LLMConfig`."""
    engine_kwargs: dict[str, Any] = {"max_model_len": 2048, "enable_prefix_caching": True}
    environment: dict[str, str] = {}
    if not config.use_gpu:
        engine_kwargs.update(enforce_eager=True, dtype="bfloat16", max_num_seqs=64)
        environment = cpu_engine_environment(config.cpu_kvcache_gib)
    return {
        "model_loading_config": {"model_id": config.model_id, "model_source": str(model_dir)},
        "accelerator_config": None if config.use_gpu else {"kind": "cpu"},
        "deployment_config": config.deployment_config,
        "engine_kwargs": {**engine_kwargs, **config.engine_kwargs},
        "runtime_env": {"env_vars": environment},
        "log_engine_metrics": False,
    }
