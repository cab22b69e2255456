"""Simulated engines as the engine of a config."""

import itertools
from collections.abc import Sequence

from pydantic import ValidationError

from eshop_ray.config import InferSection
from eshop_ray.errors import UserError
from eshop_ray.inference.dispatch.blocks import BlockForm, PromptForm
from eshop_ray.inference.dispatch.stage import StageEngine
from eshop_ray.inference.dispatch.supervisor import Limits, count_filling_calls
from eshop_ray.inference.engine import Engine
from eshop_ray.inference.engines.actor import EngineActor
from eshop_ray.inference.engines.simulated.engine import SimulatedEngine, SimulatedOptions
from eshop_ray.inference.reading import Reader
from eshop_ray.schema import Message

NUM_CALLS = 4
"""Calls in hand of an engine without a GPU's timing."""


def build_simulated(config: InferSection, reader: Reader | None = None, form: BlockForm | None = None) -> Engine:
    """Return the engine; one CPU per actor, as vLLM's.

    Args:
        config: Which engine.
        reader: Reads each answer.
        form: Of the rows; chat messages unless given.

    Raises:
        UserError: if `infer.engine_kwargs` holds what no simulated engine knows.
    """
    try:
        options = SimulatedOptions(**config.engine_kwargs)
    except ValidationError as error:
        raise UserError(f"infer.engine_kwargs of the simulated engine: {error}") from error
    limits = Limits.of(config, count_calls(config, options))

    numbers = itertools.count()

    def build_actor() -> EngineActor:
        return EngineActor(SimulatedEngine, (options, next(numbers)), {"num_cpus": 1})

    rows = form or PromptForm(join_messages)
    return StageEngine(build_actor, limits, config.concurrency, rows, reader)


def count_calls(config: InferSection, options: SimulatedOptions) -> int:
    """Return the calls that an engine has in hand."""
    if options.timing is None:
        return config.max_concurrent_batches or NUM_CALLS
    return count_filling_calls(config, options.timing.max_num_seqs)


def join_messages(messages: Sequence[Message]) -> str:
    """Return the prompt's text."""
    return "\n".join(message["content"] for message in messages)
