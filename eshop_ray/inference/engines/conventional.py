"""The engines `encoder` and `seq2seq`: conventional models of Transformers in actors."""

import functools
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from eshop_ray.artifacts import AnyFolder
from eshop_ray.cluster import cpu_environment
from eshop_ray.config import InferSection
from eshop_ray.data.conventional import write_question
from eshop_ray.errors import UserError
from eshop_ray.inference.dispatch.blocks import BlockRow, add_answers, read_rows
from eshop_ray.inference.dispatch.stage import StageEngine
from eshop_ray.inference.dispatch.supervisor import Limits
from eshop_ray.inference.engine import Engine
from eshop_ray.inference.engines.actor import EngineActor
from eshop_ray.inference.reading import Reader
from eshop_ray.inference.requests import Request
from eshop_ray.models.conventional import Spec
from eshop_ray.schema import Message
from eshop_ray.tasks import Task, get_task
from eshop_ray.tasks.heads import Kind

logger = logging.getLogger(__name__)

NUM_CALLS = 2
"""Calls in hand of an engine: one that is computed, and one that comes next."""


def build_conventional(
    config: InferSection, model_dir: AnyFolder, reader: Reader | None = None, tasks: Mapping[str, Task] | None = None
) -> Engine:
    """Return an engine that runs the model in `config.concurrency` actors.

    Args:
        config: Which engine, and how it is asked.
        model_dir: Folder of a conventional model.
        reader: Reads each answer.
        tasks: What the names in `task` stand for; None: tasks of that name.
    """
    from eshop_ray.inference.engines.conventional_actor import ConventionalActor  # PyTorch is for who asks it

    num_threads = None if config.use_gpu else config.cpu_threads or os.cpu_count()
    environment = {} if config.use_gpu else {"env_vars": cpu_environment()}
    options = {"num_cpus": 1, "num_gpus": config.gpus_per_engine, "runtime_env": environment}
    start_actor = functools.partial(EngineActor, ConventionalActor, (model_dir, config.use_gpu, num_threads), options)
    limits = Limits.of(config, config.max_concurrent_batches or NUM_CALLS)
    form = TaskForm(config.engine, dict(tasks) if tasks is not None else None)
    return StageEngine(start_actor, limits, config.concurrency, form, reader)


@dataclass(frozen=True, slots=True)
class TaskForm:
    """Chat messages in, text out, as `PromptForm`; a request says which task it is of, which decides on the head."""

    engine: str
    """`encoder` or `seq2seq`."""
    tasks: Mapping[str, Task] | None

    def read_rows(self, block: pa.Table) -> list[BlockRow]:
        """Return the block's rows with what to ask."""
        is_encoder = self.engine == "encoder"
        rows = read_rows(block, _take_question if is_encoder else write_question)
        for row, name in zip(rows, block["task"].to_pylist(), strict=True):
            if row.request is None:
                continue
            task = get_task(name) if self.tasks is None else self.tasks[name]
            # A head's answer is the same whatever the temperature, and is shared by rows that ask the same.
            temperature = 0.0 if is_encoder else row.request.params.get("temperature", 0.0)
            params = {"max_tokens": row.request.params["max_tokens"], "temperature": temperature}
            row.request = Request(row.request.prompt, params, weights=task.name)
        return rows

    def add_answers(self, block: pa.Table, rows: Sequence[BlockRow]) -> pa.Table:
        """Return the block with the columns of `ANSWER_FIELDS`."""
        return add_answers(block, rows)


def _take_question(messages: Sequence[Message]) -> str:
    """Return the user message: a head was trained for its task, and needs no instruction."""
    return messages[-1]["content"]


def check_tasks(spec: Spec, tasks: Sequence[str], key: str) -> None:
    """Refuse tasks that a model was not trained for.

    Args:
        spec: Of the model.
        tasks: That it is asked.
        key: Of the config, where tasks are named.

    Raises:
        UserError: naming them.
    """
    unknown = sorted(set(tasks) - set(spec.tasks))
    if unknown:
        raise UserError(
            f"the conventional model was trained for {', '.join(spec.tasks)}, and not for {', '.join(unknown)}: leave "
            f"these out of `{key}`, or run `eshop train-encoder` with records of them"
        )


def warn_of_unseen(spec: Spec, counts: Mapping[tuple[str, Kind], Mapping[str, int]], where: str) -> None:
    """Say how many rows want a label that an encoder has not seen in training, and so cannot give.

    Args:
        spec: Of the model.
        counts: Labels and how many rows want each, by task and kind of head.
        where: What wants them, such as a split.
    """
    known = {(head.task, head.kind): set(head.labels) for head in spec.heads}
    for (task, kind), labels in counts.items():
        unseen = {label: number for label, number in labels.items() if label not in known.get((task, kind), set())}
        if unseen:
            shown = ", ".join(sorted(unseen)[:3])
            logger.warning(
                "%s: %d of the labels of %s were not in training, such as %s; the encoder cannot give them, which "
                "makes %d rows wrong",
                *(where, len(unseen), task, shown, sum(unseen.values())),
            )
