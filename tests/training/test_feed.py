"""The feed on Ray Train itself: every row once an epoch, the same rows in a step for any number of workers."""

import json
from collections import Counter

import pytest
from ray.train import RunConfig, ScalingConfig, get_context
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from token_stores import build_rows, make_store

from eshop_ray.config import TrainSection
from eshop_ray.training.feed import (
    Feed,
    Microbatches,
    PackFeed,
    build_held_out_packs,
    deal,
    gather,
    iterate_microbatches,
)
from eshop_ray.training.sampler import build_sampler

SETTINGS = TrainSection(global_batch_size=16, pack_length=128, num_epochs=2, num_held_out=4)
NUM_STEPS = 76
"""More than one row of the dataset holds."""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """607 rows: the last step of an epoch is short, and has one pack."""
    return make_store(tmp_path_factory.mktemp("feed") / "store", build_rows(607))


@pytest.fixture(scope="module")
def sampler(store):
    """Two epochs over the store."""
    return build_sampler(store, SETTINGS, seed=0)


def make_recorder():
    """Return what workers do: write down the ids of each step. A worker cannot import the tests, hence a closure."""

    def record(settings):
        shares = [
            {
                "step": share.step,
                "ids": [row_id for pack in share.packs for row_id in pack.ids],
                "totals": [share.total_weight, share.num_rows, share.num_tokens],
                "num_packs": len(share.packs),
            }
            for share in iterate_microbatches(settings["feed"], settings["first_step"])
        ]
        rank = get_context().get_world_rank()
        (settings["folder"] / f"{rank}.json").write_text(json.dumps(shares))

    return record


def run_workers(ray_session, store, sampler, folder, num_workers, first_step=0):
    """Return what each worker wrote down."""
    feed = Feed(store.folder, str(store.folder), ray_session.put(sampler))
    folder.mkdir()
    DataParallelTrainer(
        make_recorder(),
        train_loop_config={"feed": feed, "first_step": first_step, "folder": folder},
        scaling_config=ScalingConfig(num_workers=num_workers),
        run_config=RunConfig(name="run", storage_path=str(folder)),
        datasets=PackFeed.stand_in(),
        dataset_config=PackFeed(feed),
    ).fit()
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(num_workers)]


def check_rows(workers, store, sampler, first_step):
    """Together the workers have each step's rows, from the first one that they were to make."""
    ids = store.ids.to_pylist()
    assert all([share["step"] for share in worker] == list(range(first_step, NUM_STEPS)) for worker in workers)
    for step, shares in enumerate(zip(*workers, strict=True), first_step):
        rows = sampler.pick_rows(step)
        assert Counter(row_id for share in shares for row_id in share["ids"]) == Counter(ids[row] for row in rows)
        totals = [sampler.sum_weights(rows), len(rows), sampler.count_tokens(rows)]
        assert all(share["totals"] == totals for share in shares)
        assert max(share["num_packs"] for share in shares) - min(share["num_packs"] for share in shares) <= 1


@pytest.mark.slow  # four trainings; what each worker is dealt is proved without Ray
def test_workers_have_the_rows_of_each_step_and_a_resumed_run_leaves_nothing_to_the_next(
    ray_session, store, sampler, tmp_path
):
    assert sampler.num_steps == NUM_STEPS
    for first_step in (40, 0):
        workers = run_workers(ray_session, store, sampler, tmp_path / str(first_step), 2, first_step)
        check_rows(workers, store, sampler, first_step)


@pytest.mark.slow
@pytest.mark.parametrize(("num_workers", "first_step"), [(1, 0), (2, 70)])
def test_so_it_is_with_one_worker_and_at_the_end(ray_session, store, sampler, tmp_path, num_workers, first_step):
    workers = run_workers(ray_session, store, sampler, tmp_path / "run", num_workers, first_step)
    check_rows(workers, store, sampler, first_step)


def shares_of(sampler, rows, first_step=0):
    return [(share.step, share.packs) for share in gather(sampler, rows, first_step)]


def test_rows_are_added_up_however_they_are_dealt(sampler):
    dealt = [(0, 1, ["a"]), (0, 1, ["b"]), (0, 2, []), (0, 5, ["c"])]
    shares = shares_of(sampler, dealt)
    assert [step for step, _ in shares] == list(range(NUM_STEPS))
    assert {step: packs for step, packs in shares if packs} == {1: ["a", "b"], 5: ["c"]}


def test_a_worker_without_any_row_still_takes_part_in_every_step(sampler):
    assert shares_of(sampler, [], first_step=70) == [(step, []) for step in range(70, NUM_STEPS)]


def test_rows_before_the_first_step_are_left_out(sampler):
    dealt = [(0, 68, ["old"]), (0, 70, ["a"]), (0, 75, ["b"])]
    assert {step: packs for step, packs in shares_of(sampler, dealt, 70) if packs} == {70: ["a"], 75: ["b"]}


@pytest.mark.parametrize(
    ("dealt", "message"),
    [([(3, 3, [])], "the packs begin at step 3, the training at step 0"), ([(0, 2, []), (0, 1, [])], "step 1 came")],
)
def test_rows_that_would_be_lost_end_the_run(sampler, dealt, message):
    with pytest.raises(RuntimeError, match=message):
        shares_of(sampler, dealt)


def test_a_step_is_complete_as_soon_as_the_next_begins(sampler):
    assert isinstance(next(gather(sampler, iter([(0, 0, []), (0, 1, [])]), 0)), Microbatches)


def test_packs_are_dealt_to_equal_shares(store, sampler):
    packs = sampler.pick_packs(0)
    sizes = {tuple(pack): len(sampler.build_pack(store, pack)) for pack in packs}
    assert sizes == {tuple(pack): sampler.count_packed(pack) for pack in packs}
    shares = deal(sampler, packs, 2)
    assert Counter(tuple(pack) for share in shares for pack in share) == Counter(map(tuple, packs))
    totals = [sum(sizes[tuple(pack)] for pack in share) for share in shares]
    assert max(totals) - min(totals) <= max(sizes.values())
    assert deal(sampler, packs[:1], 3) == [packs[:1], [], []]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_held_out_rows_are_each_in_one_workers_packs(store, sampler, world_size):
    workers = [build_held_out_packs(store, sampler, 128, rank, world_size) for rank in range(world_size)]
    found = Counter(row_id for packs in workers for pack in packs for row_id in pack.ids)
    assert found == Counter(store.ids[int(row)].as_py() for row in sampler.held_out)
    assert all(len(pack) <= 128 for packs in workers for pack in packs)
