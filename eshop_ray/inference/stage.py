"""The engine stage of a dataset: each block goes in with prompts and comes out with answers."""

import asyncio
import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import pyarrow as pa
from ray.data import ActorPoolStrategy, Dataset

from eshop_ray.errors import UserError
from eshop_ray.inference.base import AskAgain
from eshop_ray.inference.blocks import Row, WritePrompt, add_answers, read_rows
from eshop_ray.inference.lifecycle import SupervisedEngine
from eshop_ray.inference.once import AskOnce
from eshop_ray.inference.requests import Answer, Failure, Request
from eshop_ray.inference.supervisor import Limits, Supervisor

Value = TypeVar("Value")

BLOCKS_IN_FLIGHT = 2
"""Blocks that one engine works on: with one, it would idle at the end of each."""


class AnswerStage:
    """Supervises one engine for Ray Data; light, it lives in an actor of its own beside the engine's.

    Should that actor die, Ray Data starts another, which starts another engine, and gives it the block again.
    """

    def __init__(
        self,
        build_supervised: Callable[[], SupervisedEngine],
        limits: Limits,
        write_prompt: WritePrompt,
        ask_again: AskAgain | None,
    ) -> None:
        self._once = AskOnce(Supervisor(build_supervised(), limits).answer)
        self._write_prompt = write_prompt
        self._ask_again = ask_again
        # One thread, for all blocks: a tokenizer used by two at once fails rows.
        self._thread = ThreadPoolExecutor(max_workers=1)

    async def __call__(self, block: pa.Table) -> pa.Table:
        """Answer a block: one out, its rows in the same order."""
        if not block.num_rows:  # Ray may leave out an empty block's columns
            return block
        rows = await self._compute(read_rows, block, self._write_prompt)
        await self._answer([row for row in rows if row.request])
        if self._ask_again:
            await self._answer(await self._compute(choose_again, block, rows, self._ask_again))
        return await self._compute(add_answers, block, rows)

    async def _compute(self, function: Callable[..., Value], *arguments: Any) -> Value:
        """Keep heavy work off the event loop, which the engine's calls wait on."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, functools.partial(function, *arguments))

    async def _answer(self, rows: Sequence[Row]) -> None:
        """Ask in the order of the prompts: those that begin alike then meet in the engine, and in its prefix cache."""
        asked = sorted(((row.request, row) for row in rows if row.request), key=lambda pair: pair[0].prompt)
        outcomes = await self._once.answer([request for request, _ in asked])
        for (_, row), outcome in zip(asked, outcomes, strict=True):
            row.add(outcome)


def choose_again(block: pa.Table, rows: Sequence[Row], ask_again: AskAgain) -> list[Row]:
    """Return the answered rows that deserve one more try, with the sampling parameters for it."""
    answered = [index for index, row in enumerate(rows) if isinstance(row.outcome, Answer)]
    chosen = []
    with_answers = add_answers(block, rows).take(pa.array(answered, pa.int64())).to_pylist()
    for index, values in zip(answered, with_answers, strict=True):
        row = rows[index]
        try:
            params = ask_again(values)
        except Exception as trouble:  # whatever an answer does to its parser, the other rows go on
            row.outcome = Failure("parse", type(trouble).__name__)
            continue
        if params is not None and row.request:
            row.request = Request(row.request.prompt, params)
            chosen.append(row)
    return chosen


def run_stage(
    prompts: Dataset,
    build_supervised: Callable[[], SupervisedEngine],
    limits: Limits,
    concurrency: int,
    write_prompt: WritePrompt,
    ask_again: AskAgain | None,
) -> Dataset:
    """Answer prompts with `concurrency` engines.

    The supervising actors ask for no CPU: they wait for their engines, which Ray Data knows nothing of, and a small
    machine has none to spare.
    """
    prompts.context.raise_original_map_exception = True
    return prompts.map_batches(
        AnswerStage,
        fn_constructor_args=(build_supervised, limits, write_prompt, ask_again),
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=0,
        compute=ActorPoolStrategy(
            size=concurrency,
            max_tasks_in_flight_per_actor=BLOCKS_IN_FLIGHT,
            max_concurrent_calls_per_actor=BLOCKS_IN_FLIGHT,
        ),
    )


@contextmanager
def user_errors() -> Iterator[None]:
    """Raise what the user can mend as the engine stage raised it, without Ray's trace and advice around it.

    Ray Data logs each error's trace, twice, before it raises it: the raised one is enough.
    """
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    except UserError as error:
        text = str(getattr(error, "cause", error))
        raise UserError(text.partition("\nFailed to apply UDF transform")[0]) from None
    finally:
        logger.setLevel(level)
