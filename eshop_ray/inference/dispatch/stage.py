"""The engine stage of a dataset: each block goes in with prompts and comes out with answers."""

import asyncio
import functools
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pyarrow as pa
from ray.data import ActorPoolStrategy, Dataset

from eshop_ray.inference.dispatch.blocks import ENGINE_SECONDS, BlockForm, BlockRow, add_answers, set_columns
from eshop_ray.inference.dispatch.dedup import Deduplicator
from eshop_ray.inference.dispatch.dispatcher import Dispatcher
from eshop_ray.inference.dispatch.lifecycle import SupervisedEngine
from eshop_ray.inference.dispatch.supervisor import Limits
from eshop_ray.inference.reading import Reader, Reading
from eshop_ray.inference.requests import Answer

Value = TypeVar("Value")

GROUP_SIZE = 4
"""Engines that one actor asks at most; calls of each of its blocks may go to any of them. One core writes all their
prompts: it tokenises about half a million tokens a second, and a GPU with a small model reads a fifth of that."""

CALLS_PER_BLOCK = 4
"""Calls to an engine that a block is meant to hold."""


class AnswerStage:
    """Asks a group of engines for Ray Data; light, it lives in an actor of its own beside the engines'.

    Should that actor die, Ray Data starts another, which starts other engines, and gives it the blocks again.
    """

    def __init__(
        self,
        build_supervised: Callable[[], SupervisedEngine],
        num_engines: int,
        limits: Limits,
        form: BlockForm,
        reader: Reader | None = None,
    ) -> None:
        self._engines = [build_supervised() for _ in range(num_engines)]
        self._dispatcher = Dispatcher(self._engines, limits)
        self._deduplicator = Deduplicator(self._dispatcher.answer)
        self._num_engines = num_engines
        self._last_done = 0.0
        self._form = form
        self._reader = reader
        # One thread, for all blocks: a tokenizer used by two at once fails rows.
        self._thread = ThreadPoolExecutor(max_workers=1)

    async def __call__(self, block: pa.Table) -> pa.Table:
        """Answer a block: one out, its rows in the same order."""
        if not block.num_rows:  # Ray may leave out an empty block's columns
            return block
        started = time.monotonic()
        rows = await self._compute(self._form.read_rows, block)
        await self._answer(rows)
        if self._reader:
            again = await self._compute(read_answers, block, rows, self._reader)
            await self._answer(again)
            await self._compute(read_answers, block, again, self._reader)
        answered = await self._compute(self._form.add_answers, block, rows)
        return set_columns(answered, [ENGINE_SECONDS], [(self._measure(started) / len(rows),)] * len(rows))

    def _measure(self, started: float) -> float:
        """Return the seconds that engines were busy with a block: all of them, since they were up.

        Blocks are in hand beside each other. Time counts for the one that is done first, and for no other again.
        """
        done = time.monotonic()
        begun, self._last_done = max(started, self._last_done, self._dispatcher.up_since or done), done
        return self._num_engines * (done - begun)

    async def close(self) -> None:
        """End the engines."""
        for engine in self._engines:
            await engine.stop()
        self._thread.shutdown()

    async def _compute(self, function: Callable[..., Value], *arguments: Any) -> Value:
        """Keep heavy work off the event loop, which the engine's calls wait on."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, functools.partial(function, *arguments))

    async def _answer(self, rows: Sequence[BlockRow]) -> None:
        asked = [(row, row.request) for row in rows if row.request]
        outcomes = await self._deduplicator.answer([request for _, request in asked])
        for (row, _), outcome in zip(asked, outcomes, strict=True):
            row.add(outcome)


def read_answers(block: pa.Table, rows: Sequence[BlockRow], reader: Reader) -> list[BlockRow]:
    """Read each row's latest answer, and return the rows that deserve one more try, with their new request."""
    answered = [row for row in rows if isinstance(row.outcome, Answer)]
    if not answered:
        return []
    again = []
    places = pa.array([row.position for row in answered], pa.int64())
    for row, values in zip(answered, add_answers(block.take(places), answered).to_pylist(), strict=True):
        row.reading = _read(reader, values)
        if row.reading.retry_params is not None and row.request:
            row.request = replace(row.request, params=row.reading.retry_params)
            again.append(row)
    return again


def _read(reader: Reader, values: dict[str, Any]) -> Reading:
    try:
        return reader(values)
    except Exception as trouble:  # whatever an answer does to its reader, the other rows go on
        return Reading(None, f"parse: {type(trouble).__name__}")


def run_stage(
    prompts: Dataset,
    build_supervised: Callable[[], SupervisedEngine],
    limits: Limits,
    concurrency: int,
    form: BlockForm,
    reader: Reader | None = None,
) -> Dataset:
    """Answer prompts with `concurrency` engines, in groups of equal size.

    The actors that ask them want no CPU: they wait for their engines, which Ray Data knows nothing of, and a small
    machine has none to spare.
    """
    prompts.context.raise_original_map_exception = True
    num_engines = choose_group_size(concurrency)
    num_blocks = num_engines * count_blocks(limits)
    return prompts.map_batches(
        AnswerStage,
        fn_constructor_args=(build_supervised, num_engines, limits, form, reader),
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=0,
        compute=ActorPoolStrategy(
            size=concurrency // num_engines,
            max_tasks_in_flight_per_actor=num_blocks,
            max_concurrent_calls_per_actor=num_blocks,
        ),
    )


@dataclass(frozen=True, slots=True)
class StageEngine:
    """An engine that is a stage of a dataset, and may be opened without one by who asks block after block."""

    build_supervised: Callable[[], SupervisedEngine]
    limits: Limits
    concurrency: int
    form: BlockForm
    reader: Reader | None = None

    def __call__(self, prompts: Dataset) -> Dataset:
        """Answer a dataset of prompts."""
        return run_stage(prompts, self.build_supervised, self.limits, self.concurrency, self.form, self.reader)

    def open(self) -> AnswerStage:
        """Return the stage in this process; its engines start at once."""
        return AnswerStage(self.build_supervised, self.concurrency, self.limits, self.form, self.reader)


def choose_group_size(concurrency: int) -> int:
    """Return the most engines that one actor may ask for all actors to ask equally many: Ray Data makes them alike."""
    return max(size for size in range(1, GROUP_SIZE + 1) if concurrency % size == 0)


def count_blocks(limits: Limits) -> int:
    """Return the blocks that are in flight for each engine: what fills it, and one to go on with."""
    return 1 + math.ceil(limits.num_calls / CALLS_PER_BLOCK)
