"""Ray Data deals the rows of each step's packs to the workers, which build the packs from the mapped token files.

A row of the dataset is one worker's share of some steps: row numbers, no tokens. So the whole course of a run is a few
megabytes, made where the trainer runs before training starts: no task waits for a CPU while the workers hold them all,
no block is lost with a worker's node, and no pipeline that is held back takes a core from the training. Rows come in
the order of the steps, each in a block of its own, so `streaming_split` deals every worker one of each; workers add up
whatever rows of a step they get.
"""

import pickle
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pyarrow as pa
import ray
import ray.data
import ray.train
from ray.data import DataIterator, Dataset

from eshop_ray.artifacts import AnyFolder
from eshop_ray.storage import Storage
from eshop_ray.training.packing.bin_packing import Ints
from eshop_ray.training.packing.pack import Pack
from eshop_ray.training.sampler import BatchSampler
from eshop_ray.training.tokens import TokenStore

DATASET = "packs"
"""The dataset's name for the trainer and its workers."""
STEPS_PER_ROW = 16
"""Steps in one row of the dataset."""
START = "first_step"

MICROBATCH_SCHEMA = pa.schema([("start", pa.int64()), ("steps", pa.large_binary())])
"""`start`: the step from which on this dataset has rows; `steps`: pickled pairs of a step and a list of packs, each the
row numbers of the token store that make it up."""


@dataclass(frozen=True, slots=True)
class Microbatches:
    """What one worker computes of one step."""

    step: int
    total_weight: float
    """Weights of all answer tokens of the global batch, by which every loss is divided."""
    num_rows: int
    """Rows of the global batch."""
    num_tokens: int
    """Tokens of these rows, each with its whole prompt."""
    packs: list[Any]
    """This worker's, as the learner's `build_pack` makes them; there may be none."""


BuildPack = Callable[[TokenStore, BatchSampler, Ints], Any]
"""Rows of the store that are computed together, by number -> what a learner takes."""


class Feed(NamedTuple):
    """What a worker needs to know of the feed; small enough for the trainer's settings."""

    folder: AnyFolder
    """The token store."""
    workdir: str
    """Where the run keeps its state: a URI, or a folder that every node reaches."""
    sampler: "ray.ObjectRef[BatchSampler]"


class PackFeed(ray.train.DataConfig):  # type: ignore[misc]
    """Makes the dataset for as many workers as there are, each time a group of workers starts."""

    def __init__(self, feed: Feed) -> None:
        super().__init__(datasets_to_split=[DATASET])
        self._feed = feed

    @staticmethod
    def stand_in() -> dict[str, Dataset]:
        """Return what the trainer's `datasets` must name for `configure` to be asked."""
        return {DATASET: ray.data.from_blocks([])}

    def configure(self, *_args: Any, world_size: int, **_options: Any) -> list[dict[str, DataIterator]]:
        """Return each worker's part of the dataset, by name."""
        sampler: BatchSampler = ray.get(self._feed.sampler)
        dataset = ray.data.from_blocks(list(build_microbatches(sampler, _read_start(self._feed.workdir), world_size)))
        dataset.context.execution_options.preserve_order = True
        dataset.context.enable_progress_bars = False
        splits = dataset.streaming_split(world_size, equal=False)
        return [{DATASET: split} for split in splits]


def build_microbatches(sampler: BatchSampler, first_step: int, world_size: int) -> Iterator[pa.Table]:
    """Yield tables of one row of `MICROBATCH_SCHEMA`: each worker's part of the first steps, then of the next ones."""
    for first in range(first_step, sampler.num_steps, STEPS_PER_ROW):
        steps = range(first, min(first + STEPS_PER_ROW, sampler.num_steps))
        parts = [deal(sampler, sampler.pick_packs(step, world_size), world_size) for step in steps]
        for share in range(world_size):
            pairs = [(step, part[share]) for step, part in zip(steps, parts, strict=True)]
            yield pa.Table.from_pylist([{"start": first_step, "steps": pickle.dumps(pairs)}], schema=MICROBATCH_SCHEMA)


def deal(sampler: BatchSampler, packs: list[Ints], num_shares: int) -> list[list[Ints]]:
    """Divide packs so that the shares are about equal in tokens: the longest first, to whoever has least."""
    shares: list[list[Ints]] = [[] for _ in range(num_shares)]
    totals = [0] * num_shares
    for num_tokens, _, pack in sorted((-sampler.count_packed(pack), pack.tolist(), pack) for pack in packs):
        share = min(range(num_shares), key=lambda share: (totals[share], len(shares[share])))
        shares[share].append(pack)
        totals[share] -= num_tokens
    return shares


def build_prefix_pack(store: TokenStore, sampler: BatchSampler, rows: Ints) -> Pack:
    """Return rows behind each other, what they begin with alike once."""
    return sampler.build_pack(store, rows)


def iterate_microbatches(
    feed: Feed, first_step: int, build_pack: BuildPack = build_prefix_pack
) -> Iterator[Microbatches]:
    """Yield this worker's share of every step from `first_step` on; every worker calls this, all with the same step.

    A step's rows are complete when one of a later step, or the end, is seen: until then they are held back.
    """
    if ray.train.get_context().get_world_rank() == 0:
        # The dataset is made when the worker of rank 0 asks for its shard, so it finds this.
        Storage(feed.workdir).write(START, str(first_step).encode())
    sampler, store = ray.get(feed.sampler), TokenStore.open(feed.folder)
    batches = ray.train.get_dataset_shard(DATASET).iter_batches(batch_format="pyarrow", batch_size=None)
    rows = (row for batch in batches for row in batch.to_pylist())
    dealt = ((row["start"], *pair) for row in rows for pair in pickle.loads(row["steps"]))
    for share in gather(sampler, dealt, first_step):
        yield replace(share, packs=[build_pack(store, sampler, pack) for pack in share.packs])


def gather(
    sampler: BatchSampler, dealt: Iterable[tuple[int, int, list[Any]]], first_step: int
) -> Iterator[Microbatches]:
    """Add up the packs of each step, given as (first step of the dataset, step, packs).

    Raises:
        RuntimeError: if they are not in order, or begin too late.
    """
    step, packs = first_step, list[Any]()
    for start, number, part in dealt:
        if start > first_step:
            raise RuntimeError(f"the packs begin at step {start}, the training at step {first_step}")
        if first_step <= number < step:
            raise RuntimeError(f"packs of step {number} came after those of step {step}")
        while step < number:
            yield _build_microbatches(sampler, step, packs)
            step, packs = step + 1, []
        if number >= first_step:
            packs += part
    for last in range(step, sampler.num_steps):
        yield _build_microbatches(sampler, last, packs if last == step else [])


def build_held_out_packs(
    store: TokenStore,
    sampler: BatchSampler,
    pack_length: int,
    rank: int,
    world_size: int,
    build_pack: BuildPack = build_prefix_pack,
) -> list[Any]:
    """Return this worker's packs of the rows held out; those of all workers hold each row once."""
    size = sampler.global_batch_size
    batches = (sampler.held_out[start : start + size] for start in range(0, len(sampler.held_out), size))
    packs = [rows for batch in batches for rows in sampler.divide(batch, pack_length)]
    return [build_pack(store, sampler, rows) for rows in packs[rank::world_size]]


def _build_microbatches(sampler: BatchSampler, step: int, packs: list[Any]) -> Microbatches:
    rows: Ints = sampler.pick_rows(step)
    return Microbatches(step, sampler.sum_weights(rows), len(rows), sampler.count_tokens(rows), packs)


def _read_start(workdir: str) -> int:
    return int(Storage(workdir).read(START) or 0)
