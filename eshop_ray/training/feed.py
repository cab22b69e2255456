"""Ray Data builds each step's packs and deals them to the workers, a few steps ahead of the training.

A row of the dataset is one worker's share of one step. Rows come in the order of the steps, each in a block of its
own, so `streaming_split` deals every worker one of each step. Nothing depends on that: workers add up whatever rows
of a step they get.
"""

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import ray
import ray.data
import ray.train
from ray.data import DataIterator, Dataset, ExecutionResources

from eshop_ray.artifacts import write_text
from eshop_ray.data.filling import Ints
from eshop_ray.data.packing import Pack
from eshop_ray.training.plan import TrainPlan
from eshop_ray.training.tokens import TokenStore

DATASET = "packs"
"""The dataset's name for the trainer and its workers."""
STEPS_AHEAD = 8
"""About so many steps' packs wait for the workers."""
BYTES_PER_TOKEN = 48
"""Of a pack: five integers of 8 bytes, a weight, and what pickling adds."""
MIN_MEMORY = 2**19
"""Less than this Ray Data cannot steer by."""
START = "first_step"

SHARE_SCHEMA = pa.schema([("start", pa.int64()), ("step", pa.int64()), ("packs", pa.large_binary())])
"""`start`: the step from which on this dataset has rows; `packs`: a pickled list."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one worker computes of one step."""

    step: int
    total_weight: float
    """Weights of all answer tokens of the global batch, by which every loss is divided."""
    num_rows: int
    """Rows of the global batch."""
    num_tokens: int
    """Tokens of these rows, each with its whole prompt."""
    packs: list[Pack]
    """This worker's; there may be none."""


class Feed(NamedTuple):
    """What a worker needs to know of the feed; small enough for the trainer's settings."""

    folder: Path
    """The token store, which every node reaches."""
    plan: "ray.ObjectRef[TrainPlan]"


class PackFeed(ray.train.DataConfig):  # type: ignore[misc]
    """Makes the dataset for as many workers as there are, each time a group of workers starts."""

    def __init__(self, feed: Feed) -> None:
        super().__init__(datasets_to_split=[DATASET])
        self._feed = feed

    @staticmethod
    def stand_in() -> dict[str, Dataset]:
        """Return what the trainer's `datasets` must name for `configure` to be asked."""
        return {DATASET: ray.data.from_arrow(pa.table({"row": [0]}))}

    def configure(
        self, datasets: dict[str, Dataset], world_size: int, *_args: Any, **_options: Any
    ) -> list[dict[str, DataIterator]]:
        """Return each worker's part of the dataset, by name."""
        dataset = build_shares(datasets[DATASET], self._feed, _read_start(self._feed.folder), world_size)
        splits = dataset.streaming_split(world_size, equal=False)
        return [{DATASET: split} for split in splits]


def build_shares(seed: Dataset, feed: Feed, first_step: int, world_size: int) -> Dataset:
    """Return rows of `SHARE_SCHEMA`: each step's shares in order, from `first_step` on.

    One task of Ray Data builds them all, and waits when it is ahead; if it is lost, Ray runs it again. It starts from
    `seed`, a dataset of one row that is there already: reading would reserve a CPU, and the workers may hold them all.
    """
    folder, plan_ref = feed

    def build_blocks(_: pa.Table) -> Iterator[pa.Table]:
        plan, store = ray.get(plan_ref), TokenStore.open(folder)
        for step in range(first_step, plan.num_steps):
            packs = [plan.build_pack(store, rows) for rows in plan.pick_packs(step, world_size)]
            for part in deal(packs, world_size):
                row = {"start": first_step, "step": step, "packs": pickle.dumps(part)}
                yield pa.Table.from_pylist([row], schema=SHARE_SCHEMA)

    dataset = seed.map_batches(build_blocks, batch_format="pyarrow", num_cpus=0)
    dataset.context.target_max_block_size = 1  # a block is closed as soon as it holds a row
    dataset.context.enable_progress_bars = False
    dataset.context.execution_options.preserve_order = True
    dataset.context.execution_options.resource_limits = _limit_read_ahead(ray.get(plan_ref))
    return dataset


def deal(packs: list[Pack], num_shares: int) -> list[list[Pack]]:
    """Divide packs so that the shares are about equal in tokens: the longest first, to whoever has least."""
    shares: list[list[Pack]] = [[] for _ in range(num_shares)]
    for pack in sorted(packs, key=lambda pack: (-len(pack), pack.ids)):
        min(shares, key=lambda share: (sum(map(len, share)), len(share))).append(pack)
    return shares


def iterate_shares(feed: Feed, first_step: int) -> Iterator[Share]:
    """Yield this worker's share of every step from `first_step` on; every worker calls this, all with the same step.

    A step's rows are complete when one of a later step, or the end, is seen: until then they are held back.
    """
    if ray.train.get_context().get_world_rank() == 0:
        # The dataset is made when the worker of rank 0 asks for its shard, so it finds this.
        write_text(feed.folder / START, str(first_step))
    plan = ray.get(feed.plan)
    rows = ray.train.get_dataset_shard(DATASET).iter_batches(batch_format="pyarrow", batch_size=None)
    yield from gather(plan, (row for batch in rows for row in batch.to_pylist()), first_step)


def gather(plan: TrainPlan, rows: Iterator[dict[str, Any]], first_step: int) -> Iterator[Share]:
    """Add up the rows of each step.

    Raises:
        RuntimeError: if the rows are not in order, or begin too late.
    """
    step, packs = first_step, list[Pack]()
    for row in rows:
        if row["start"] > first_step:
            raise RuntimeError(f"the packs begin at step {row['start']}, the training at step {first_step}")
        if first_step <= row["step"] < step:
            raise RuntimeError(f"packs of step {row['step']} came after those of step {step}")
        while step < row["step"]:
            yield _share(plan, step, packs)
            step, packs = step + 1, []
        if row["step"] >= first_step:
            packs += pickle.loads(row["packs"])
    for last in range(step, plan.num_steps):
        yield _share(plan, last, packs if last == step else [])


def build_held_out_packs(
    store: TokenStore, plan: TrainPlan, pack_length: int, rank: int, world_size: int
) -> list[Pack]:
    """Return this worker's packs of the rows held out; those of all workers hold each row once."""
    size = plan.global_batch_size
    batches = (plan.held_out[start : start + size] for start in range(0, len(plan.held_out), size))
    packs = [rows for batch in batches for rows in plan.divide(batch, pack_length)]
    return [plan.build_pack(store, rows) for rows in packs[rank::world_size]]


def _limit_read_ahead(plan: TrainPlan) -> ExecutionResources:
    """Return the memory of the object store beyond which no more packs are built."""
    num_tokens = plan.count_tokens(plan.rows) / max(1, plan.steps_per_epoch)
    memory = max(MIN_MEMORY, int(STEPS_AHEAD * BYTES_PER_TOKEN * num_tokens))
    return ExecutionResources.for_limits(object_store_memory=memory)


def _share(plan: TrainPlan, step: int, packs: list[Pack]) -> Share:
    rows: Ints = plan.pick_rows(step)
    return Share(step, plan.sum_weights(rows), len(rows), plan.count_tokens(rows), packs)


def _read_start(folder: Path) -> int:
    try:
        return int((folder / START).read_text())
    except FileNotFoundError:
        return 0
