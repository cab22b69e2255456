from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eshop_ray.training.schedule import build_batches, cosine_rate, take_share

SMALL = st.integers(1, 40)


@given(num_rows=SMALL, num_epochs=st.integers(1, 3), batch_size=SMALL, seed=SMALL)
def test_each_epoch_covers_each_row_once(num_rows, num_epochs, batch_size, seed):
    batches = build_batches(num_rows, num_epochs, batch_size, seed)
    steps = -(-num_rows // batch_size)
    assert len(batches) == steps * num_epochs
    for epoch in range(num_epochs):
        rows = [int(row) for batch in batches[epoch * steps : (epoch + 1) * steps] for row in batch]
        assert sorted(rows) == list(range(num_rows))
    assert all(1 <= len(batch) <= batch_size for batch in batches)


def test_order_follows_seed_and_epoch():
    orders = [[batch.tolist() for batch in build_batches(20, 2, 20, seed)] for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0][0] != orders[0][1]


@given(batch=st.lists(st.integers()), world_size=st.integers(1, 5))
def test_shares_make_up_the_batch(batch, world_size):
    shares = [take_share(batch, rank, world_size) for rank in range(world_size)]
    assert Counter(row for share in shares for row in share) == Counter(batch)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(("num_steps", "warmup_share"), [(100, 0.1), (100, 0.0), (3, 0.05), (100, 0.9)])
def test_rate_climbs_to_its_peak_and_falls_to_almost_nothing(num_steps, warmup_share):
    rates = [cosine_rate(step, num_steps, 2.0, warmup_share) for step in range(num_steps)]
    peak = rates.index(max(rates))
    assert rates[peak] == 2.0
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert all(rate > 0 for rate in rates)
    assert rates[-1] < 2.0 * (0.03 if num_steps == 100 else 0.6)


@pytest.mark.parametrize("warmup_share", [0.0, 0.5, 1.0])
def test_one_step_learns_at_the_peak(warmup_share):
    assert cosine_rate(0, 1, 2.0, warmup_share) == 2.0
