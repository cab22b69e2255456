"""Rounding to int8 costs no channel more than it must."""

import pytest
import torch

from eshop_ray.inference.quantization import int8
from eshop_ray.inference.quantization.int8 import quantize_int8


def make_weight(rows=48, columns=96, dtype=torch.float32):
    """Channels of very different sizes, one with an outlier and one of zeros."""
    torch.manual_seed(0)
    weight = torch.randn(rows, columns) * torch.logspace(-4, 1, rows)[:, None]
    weight[1, 5] *= 50
    weight[2] = 0
    return weight.to(dtype)


def restore(weight):
    return weight.values.float() * weight.scales.float()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_no_value_is_further_off_than_half_a_step_or_what_was_cut(dtype):
    weight = make_weight(dtype=dtype)
    found = quantize_int8(weight)
    assert (found.values.dtype, found.values.shape) == (torch.int8, weight.shape)
    assert (found.scales.dtype, found.scales.shape) == (dtype, (48, 1))
    assert found.values.abs().max() <= 127
    scales = found.scales.float()
    cut = (weight.float().abs().amax(dim=1, keepdim=True) - 127 * scales).clamp_min(0)
    assert ((restore(found) - weight.float()).abs() <= torch.maximum(scales / 2, cut) * 1.001).all()
    assert (cut / scales < 127 / 8).all()


def test_every_channel_is_at_least_as_near_as_without_a_clip(monkeypatch):
    weight = make_weight(columns=4096)
    clipped = (restore(quantize_int8(weight)) - weight).square().sum(dim=1)
    monkeypatch.setattr(int8, "CLIPS", (1.0,))
    plain = (restore(quantize_int8(weight)) - weight).square().sum(dim=1)
    assert (clipped <= plain * 1.0001).all()
    assert clipped[3:].sum() < 0.99 * plain[3:].sum()


def test_channel_of_zeros_stays_one():
    found = quantize_int8(make_weight())
    assert not found.values[2].any()
    assert found.scales.isfinite().all()
    assert (found.scales > 0).all()
    assert quantize_int8(torch.zeros(2, 3)).relative_error == 0


def test_multiples_of_a_step_are_exact():
    values = torch.tensor([[127, -127, 1, 0], [64, 127, -3, 2]])
    found = quantize_int8(values * torch.tensor([[0.5], [0.125]]))
    assert torch.equal(found.values, values.to(torch.int8))
    assert found.relative_error == 0


def test_error_is_that_of_the_whole_matrix_however_it_is_cut(monkeypatch):
    weight = make_weight()
    found = quantize_int8(weight)
    assert found.relative_error == pytest.approx(float((restore(found) - weight).norm() / weight.norm()), rel=1e-4)
    monkeypatch.setattr(int8, "MAX_VALUES", 100)
    pieces = quantize_int8(weight)
    assert torch.equal(pieces.values, found.values)
    assert torch.equal(pieces.scales, found.scales)
    assert pieces.relative_error == pytest.approx(found.relative_error)
