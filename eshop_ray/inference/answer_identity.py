"""What determines a model's answer: one list, for predictions, batch files and the nightly table alike.

Who keeps answers keeps this identity with them, and asks again once it has changed. What is not known to be without
effect counts as deciding: an answer too many is asked, never an old one kept.
"""

from typing import Any

from eshop_ray.config import Config, InferSection, ServeSection
from eshop_ray.data.few_shot.embeddings import digest_encoder
from eshop_ray.inference.engines.vllm_arguments import ANSWER_DEFAULTS
from eshop_ray.tasks import Task

DECIDING = frozenset({"engine", "engine_kwargs", "temperature", "constrained"})
"""Settings of `infer` that answers depend on."""

NOT_DECIDING = frozenset(
    {
        *("models", "max_rows", "retry_failed"),  # who is asked about what: each answer stays the same
        *("max_failed_share", "confidence"),
        *("batch_size", "concurrency", "max_concurrent_batches", "timeout_seconds", "max_retries"),
        *("use_gpu", "cpu_kvcache_gib", "cpu_threads", "compile"),
    }
)
"""Settings of `infer` that change how fast and where answers are made; their numbers stay the same but for rounding."""

ENGINE_NOT_DECIDING = frozenset(
    {
        *("max_num_seqs", "max_num_batched_tokens", "block_size", "enable_prefix_caching", "enable_chunked_prefill"),
        *("enforce_eager", "compilation_config", "gpu_memory_utilization", "kv_cache_memory_bytes", "swap_space"),
        *("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "distributed_executor_backend"),
        *("max_parallel_loading_workers", "disable_log_stats", "async_scheduling"),
    }
)
"""Arguments of vLLM of which the same is true."""


def identify_engine(infer: InferSection, serve: ServeSection, model_digest: str) -> dict[str, Any]:
    """Return what an engine's answer to a given request depends on.

    A deployment of Ray Serve gives the answers of an engine in the pipeline, so the two count as one. A simulated
    model's digest covers its options.
    """
    if infer.engine not in ("vllm", "serve"):
        return {"engine": infer.engine, "model": model_digest}
    stated = serve.engine_kwargs if infer.engine == "serve" else infer.engine_kwargs
    arguments = {**ANSWER_DEFAULTS, **stated}
    deciding = {name: value for name, value in arguments.items() if name not in ENGINE_NOT_DECIDING}
    return {"engine": "vllm", "engine_kwargs": deciding, "model": model_digest}


def identify_answers(infer: InferSection, serve: ServeSection, model_digest: str) -> dict[str, Any]:
    """Return what answers to the prompts of tasks depend on, beside the tasks and their rows."""
    engine = identify_engine(infer, serve, model_digest)
    return {**engine, "temperature": infer.temperature, "constrained": infer.constrained}


def identify_task(task: Task) -> list[Any]:
    """Return what a task itself adds: its version stands for prompt and parser."""
    return [task.name, task.version, task.max_tokens]


def identify_examples(config: Config, records_digest: str) -> list[Any]:
    """Return what the examples in prompts depend on, empty where there are none.

    Args:
        config: Of the run.
        records_digest: Of the records, training rows among them.
    """
    few_shot = config.few_shot
    if not few_shot.num_examples:
        return []
    drawn_by = digest_encoder() if few_shot.choice == "similar" else config.seed
    rows = config.data.max_train_rows
    pool = [rows and (rows, config.seed), config.data.groups, config.train.shard]
    return [few_shot.num_examples, few_shot.choice, drawn_by, config.evaluate.clusters, pool, records_digest]
