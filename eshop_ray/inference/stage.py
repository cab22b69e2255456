"""The engine stage of a dataset: each block goes in with prompts and comes out with answers."""

import asyncio
from collections.abc import Callable, Sequence

import pyarrow as pa
from ray.data import ActorPoolStrategy, Dataset

from eshop_ray.inference.base import AskAgain
from eshop_ray.inference.blocks import Row, WritePrompt, add_answers, read_rows
from eshop_ray.inference.requests import Answer, Failure, Request
from eshop_ray.inference.supervisor import Limits, SupervisedEngine, Supervisor

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
        self._supervisor = Supervisor(build_supervised(), limits)
        self._write_prompt = write_prompt
        self._ask_again = ask_again

    async def __call__(self, block: pa.Table) -> pa.Table:
        """Answer a block: one out, its rows in the same order."""
        if not block.num_rows:  # Ray may leave out an empty block's columns
            return block
        rows = await asyncio.to_thread(read_rows, block, self._write_prompt)
        await self._answer([row for row in rows if row.request])
        if self._ask_again:
            await self._answer(await asyncio.to_thread(choose_again, block, rows, self._ask_again))
        return await asyncio.to_thread(add_answers, block, rows)

    async def _answer(self, rows: Sequence[Row]) -> None:
        outcomes = await self._supervisor.answer([row.request for row in rows if row.request])
        for row, outcome in zip(rows, outcomes, strict=True):
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
