"""What an engine is, and which one a config names."""

from collections.abc import Callable
from pathlib import Path

from ray.data import Dataset

from eshop_ray.config import InferConfig

Engine = Callable[[Dataset], Dataset]
"""Prompts -> answers.

Takes columns of `PROMPT_SCHEMA`, rows with an `error` included, and adds `generated_text`, `finish_reason`,
`num_input_tokens` and `num_generated_tokens`, filling in `error` where it failed on a row. Row order is free.
"""


def build_engine(config: InferConfig, model_dir: Path) -> Engine:
    """Return the configured engine for a model.

    Imports the engine's module only now: the oracle must run where vLLM is not installed.
    """
    if config.engine == "oracle":
        from eshop_ray.inference.oracle import build_oracle

        return build_oracle()
    from eshop_ray.inference.vllm import build_vllm

    return build_vllm(config, model_dir)
