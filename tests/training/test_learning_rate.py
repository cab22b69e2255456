import pytest

from eshop_ray.training.learning_rate import cosine_rate


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
