import time
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from token_stores import build_rows, make_store

from eshop_ray.config import TrainSection
from eshop_ray.training.packing.pack import IGNORED
from eshop_ray.training.sampler import build_sampler
from eshop_ray.training.tokens import INDEX_SCHEMA, TokenStore

SETTINGS = {"global_batch_size": 32, "pack_length": 256, "num_epochs": 2}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """200 rows of two tasks."""
    return make_store(tmp_path_factory.mktemp("store"), build_rows(200))


def plan_for(store, seed=0, **train):
    return build_sampler(store, TrainSection(**{**SETTINGS, **train}), seed)


def test_each_epoch_has_each_row_once_with_the_tail(store):
    sampler = plan_for(store)
    assert (sampler.num_rows, sampler.steps_per_epoch, sampler.num_steps) == (200, 7, 14)
    steps = [sampler.pick_rows(step).tolist() for step in range(sampler.num_steps)]
    assert [len(step) for step in steps] == [32, 32, 32, 32, 32, 32, 8] * 2
    for epoch in (steps[:7], steps[7:]):
        assert sorted(row for step in epoch for row in step) == list(range(200))
    assert steps[:7] != steps[7:]


def test_order_follows_the_seed_alone(store, tmp_path):
    def orders(store, seed):
        sampler = plan_for(store, seed, num_held_out=5)
        ids = store.ids.to_pylist()
        steps = [[ids[row] for row in sampler.pick_rows(step)] for step in range(sampler.num_steps)]
        packs = [[[ids[row] for row in pack] for pack in sampler.pick_packs(step)] for step in range(sampler.num_steps)]
        return steps, packs, [ids[row] for row in sampler.held_out]

    turned = make_store(tmp_path, build_rows(200)[::-1])
    assert orders(store, 1) == orders(turned, 1) != orders(store, 2)


@pytest.mark.parametrize("num_shares", [1, 2, 3])
def test_a_steps_packs_hold_its_rows_whatever_the_workers(store, num_shares):
    sampler = plan_for(store)
    for step in range(sampler.num_steps):
        packs = sampler.pick_packs(step, num_shares)
        assert np.array_equal(np.sort(np.concatenate(packs)), sampler.pick_rows(step))
        assert len(packs) % num_shares == 0
        assert all(len(sampler.build_pack(store, pack)) <= 256 for pack in packs)


@pytest.mark.parametrize("pack_length", [256, 1024])
def test_little_is_wasted(store, pack_length):
    sampler = plan_for(store, pack_length=pack_length)
    padded = computed = 0
    for step in range(sampler.num_steps):
        sizes = [len(sampler.build_pack(store, pack)) for pack in sampler.pick_packs(step)]
        padded, computed = padded + len(sizes) * max(sizes), computed + sum(sizes)
    assert computed > 0.95 * padded


def test_packs_share_what_their_rows_share(store):
    sampler = plan_for(store)
    packs = [sampler.build_pack(store, rows) for rows in sampler.pick_packs(0)]
    assert sum(map(len, packs)) < 0.6 * sampler.count_tokens(sampler.pick_rows(0))
    assert Counter(row_id for pack in packs for row_id in pack.ids).keys() == {
        store.ids[int(row)].as_py() for row in sampler.pick_rows(0)
    }


@pytest.mark.parametrize("loss_weighting", ["token", "row"])
def test_weights_add_up_over_the_packs(store, loss_weighting):
    sampler = plan_for(store, loss_weighting=loss_weighting)
    rows = sampler.pick_rows(3)
    packs = [sampler.build_pack(store, pack) for pack in sampler.pick_packs(3)]
    total = sum(pack.weights[pack.labels != IGNORED].sum() for pack in packs)
    assert sampler.sum_weights(rows) == pytest.approx(total, rel=1e-6)
    assert sampler.sum_weights(rows) == (len(rows) if loss_weighting == "row" else store.num_answer[rows].sum())


@pytest.mark.parametrize("loss_weighting", ["token", "row"])
def test_a_tasks_rows_count_as_the_settings_say(store, loss_weighting):
    even = plan_for(store, loss_weighting=loss_weighting)
    sampler = plan_for(store, loss_weighting=loss_weighting, task_weights={"ner": 3.0})
    rows = sampler.pick_rows(3)
    ner = rows[store.tasks[rows] == "ner"]
    assert 0 < len(ner) < len(rows)
    assert sampler.sum_weights(rows) == pytest.approx(even.sum_weights(rows) + 2 * even.sum_weights(ner))
    packs = [sampler.build_pack(store, pack) for pack in sampler.pick_packs(3)]
    assert sum(pack.weights.sum() for pack in packs) == pytest.approx(sampler.sum_weights(rows), rel=1e-6)


def test_held_out_rows_are_never_learned(store):
    sampler = plan_for(store, num_held_out=10)
    tasks = Counter(store.tasks[sampler.held_out].tolist())
    assert tasks == {"ner": 10, "ranking": 6}
    learned = {int(row) for step in range(sampler.num_steps) for row in sampler.pick_rows(step)}
    assert learned == set(range(200)) - set(sampler.held_out.tolist())
    assert set(plan_for(store, num_held_out=4).held_out) <= set(sampler.held_out)
    assert set(plan_for(store, 1, num_held_out=10).held_out) != set(sampler.held_out)


def test_rows_of_one_id_are_held_out_together_or_learned(tmp_path):
    rows = [{**row, "task": "ner", "id": f"{number // 2}"} for number, row in enumerate(build_rows(60))]
    store = make_store(tmp_path, rows)
    sampler = plan_for(store, num_held_out=5)
    ids = np.array(store.ids.to_pylist())
    assert len(sampler.held_out) == 4
    assert not set(ids[sampler.held_out]) & set(ids[sampler.rows])


def test_rows_of_a_small_task_are_all_learned(tmp_path):
    sampler = plan_for(make_store(tmp_path, build_rows(9)), num_held_out=5)
    assert (sampler.num_rows, sampler.held_out.tolist(), sampler.num_steps) == (9, [], 2)


def test_nothing_to_learn_from_is_a_plan_without_steps(tmp_path):
    failed = {**build_rows(1)[0], "error": "prompt: no", "prompt_ids": None, "answer_ids": None}
    assert plan_for(make_store(tmp_path, [failed])).num_steps == 0


def test_a_large_plan_is_made_in_seconds():
    """What is read is made up, so that the sampler alone is timed."""

    class MadeUp(TokenStore):
        def read_prompts(self, numbers):
            offsets = np.arange(len(numbers) + 1) * 40
            tokens = np.tile(np.arange(40, dtype=np.int32), (len(numbers), 1))
            tokens[:, 38] = numbers
            return tokens.reshape(-1), offsets

    num_rows = 100_000
    columns = {
        name: pa.nulls(num_rows, field.type) for name, field in zip(INDEX_SCHEMA.names, INDEX_SCHEMA, strict=True)
    }
    columns["task"] = pa.array(["ner"] * num_rows)
    columns["num_prompt"] = pa.array(np.full(num_rows, 40, dtype=np.int32))
    columns["num_answer"] = pa.array(np.full(num_rows, 4, dtype=np.int32))
    start = time.process_time()
    sampler = plan_for(MadeUp(None, pa.table(columns), 0, 0))
    assert len(sampler.pick_packs(sampler.num_steps - 1)) == 1
    assert set(sampler.prefixes.lengths.tolist()) == {38}
    assert time.process_time() - start < 5
