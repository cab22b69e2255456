"""vLLM in an actor: calls from several batches become one continuous batch."""

import functools
from collections.abc import Sequence
from typing import Any

from eshop_ray.artifacts import AnyFolder
from eshop_ray.cluster import cpu_engine_environment, cpu_environment
from eshop_ray.config import InferSection
from eshop_ray.data.tokenization import tokenize_prompt
from eshop_ray.inference.dispatch.api_form import ApiForm
from eshop_ray.inference.dispatch.blocks import PromptForm
from eshop_ray.inference.dispatch.stage import StageEngine, run_stage
from eshop_ray.inference.dispatch.supervisor import Limits, count_filling_calls
from eshop_ray.inference.engine import Engine
from eshop_ray.inference.engines.actor import EngineActor
from eshop_ray.inference.engines.vllm_actor import VllmActor
from eshop_ray.inference.engines.vllm_arguments import build_arguments
from eshop_ray.inference.reading import Reader
from eshop_ray.models import load_tokenizer
from eshop_ray.models.switched import find_weights, list_held
from eshop_ray.schema import Message

MAX_NUM_SEQS = 1024
"""Sequences that vLLM decodes together on the largest GPUs unless told otherwise."""


COMPILE_FROM_ROWS = 4000
"""Rows per engine that pay for compiling it: a minute the first time, ten seconds from the cache of a former run."""


def build_vllm(
    config: InferSection, model_dir: AnyFolder, reader: Reader | None = None, num_rows: int | None = None
) -> Engine:
    """Return an engine that runs the model in `config.concurrency` vLLM actors.

    Prompts are tokenised beside the engine, with the code that training uses, so a prompt is the same ids in both.
    """
    start_actor = functools.partial(build_actor, config, model_dir, num_rows)
    limits = Limits.of(config, count_calls(config))
    form = PromptForm(functools.partial(write_ids, model_dir), functools.partial(choose_weights, model_dir))
    return StageEngine(start_actor, limits, config.concurrency, form, reader)


def build_vllm_api(
    config: InferSection, model_dir: AnyFolder, served_names: Sequence[str], num_rows: int | None = None
) -> Engine:
    """Return an engine that answers requests to OpenAI's API as vLLM's server does.

    Args:
        config: `engine_kwargs` may hold arguments of that server too, such as `tool_call_parser`.
        model_dir: Folder of the model.
        served_names: What requests call it.
        num_rows: Rows that it will be asked, if that is known.
    """
    arguments = {**config.engine_kwargs, "served_model_name": list(served_names)}
    named = config.model_copy(update={"engine_kwargs": arguments})
    start_actor = functools.partial(build_actor, named, model_dir, num_rows, serves_api=True)
    limits = Limits.of(config, count_calls(config))
    return lambda requests: run_stage(requests, start_actor, limits, config.concurrency, ApiForm())


def build_actor(
    config: InferSection, model_dir: AnyFolder, num_rows: int | None = None, serves_api: bool = False
) -> EngineActor:
    """Return a new engine; its process starts at once."""
    arguments = {"model": model_dir, **engine_kwargs(config, num_rows)}
    return EngineActor(VllmActor, (arguments, serves_api), actor_options(config))


def write_ids(model_dir: AnyFolder, messages: Sequence[Message]) -> list[int]:
    """Return the prompt's token ids."""
    return tokenize_prompt(load_tokenizer(model_dir), messages)


def choose_weights(model_dir: AnyFolder, task: str, group: str | None) -> str:
    """Return which weights of a model answer a row; empty for one that has the same for all."""
    held = list_held(model_dir)
    return find_weights(held, task, group) or task if held else ""


def engine_kwargs(config: InferSection, num_rows: int | None = None) -> dict[str, Any]:
    """Return vLLM's arguments for an engine of the pipeline.

    Args:
        config: Which engine.
        num_rows: Rows that it will answer; None if nobody knows.
    """
    return build_arguments(config.engine_kwargs, config.use_gpu, choose_eager(config, num_rows))


def choose_eager(config: InferSection, num_rows: int | None) -> bool | None:
    """Return whether a CPU engine goes without compilation; None: unless its machine has a compiler."""
    if config.compile is not None:
        return not config.compile
    is_long = num_rows is not None and num_rows >= COMPILE_FROM_ROWS * config.concurrency
    return None if is_long else True


def actor_options(config: InferSection) -> dict[str, Any]:
    """Return what Ray reserves for one engine, and its environment.

    The engine's core runs in the actor's own process: killing the actor leaves nothing behind.
    """
    environment = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    if not config.use_gpu:
        environment.update(cpu_environment() | cpu_engine_environment(config.cpu_kvcache_gib, config.cpu_threads))
    return {"num_cpus": 1, "num_gpus": config.gpus_per_engine, "runtime_env": {"env_vars": environment}}


def count_calls(config: InferSection) -> int:
    """Return how many calls an engine has in hand."""
    return count_filling_calls(config, engine_kwargs(config).get("max_num_seqs") or MAX_NUM_SEQS)
