"""What an engine is, and which one a config names."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.data import Dataset

from eshop_ray.config import InferConfig

Engine = Callable[[Dataset], Dataset]
"""Prompts -> answers, one block for each block, its rows in the same order.

Takes rows with at least `id, task, messages, sampling_params, error`; any other column passes through untouched.
Adds `generated_text`, `finish_reason` (`stop` or `length`), `num_input_tokens`, `num_generated_tokens` and
`num_attempts`, and fills in `error` where it has no answer. Rows that bring an `error`, or no messages, are not asked.
"""

AskAgain = Callable[[dict[str, Any]], dict[str, Any] | None]
"""Row with its answer -> sampling parameters for one more try, or None where the answer will do."""


def build_engine(
    config: InferConfig, model_dir: Path, ask_again: AskAgain | None = None, num_rows: int | None = None
) -> Engine:
    """Return the configured engine for a model.

    Imports the engine's module only now: the oracle must run where vLLM is not installed.

    Args:
        config: Which engine, and how it is asked.
        model_dir: Folder of the model.
        ask_again: Decides which answers deserve one more try, in the same batch; tokens of both tries add up. Runs in
            Ray workers.
        num_rows: Rows that it will be asked, if that is known: an engine that works long may take longer to start.
    """
    if config.engine == "oracle":
        from eshop_ray.inference.oracle import build_oracle

        return build_oracle()
    if config.engine == "simulated":
        from eshop_ray.inference.simulated.build import build_simulated

        return build_simulated(config, ask_again)
    if config.engine == "serve":
        from eshop_ray.inference.serve import build_serve

        return build_serve(config, model_dir, ask_again)
    from eshop_ray.inference.vllm import build_vllm

    return build_vllm(config, model_dir, ask_again, num_rows)
