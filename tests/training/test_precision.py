"""The precision that a machine multiplies matrices in fastest."""

import pytest
import torch

from eshop_ray.config import TrainSection
from eshop_ray.training.precision import choose_precision


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_stated_precision_stands(precision):
    train = TrainSection(precision=precision)
    assert choose_precision(train) is train


@pytest.mark.parametrize(
    ("use_gpu", "has_amx", "expected"), [(True, False, "bf16"), (False, True, "bf16"), (False, False, "fp32")]
)
def test_auto_takes_bf16_where_the_hardware_multiplies_it(use_gpu, has_amx, expected, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx)
    assert choose_precision(TrainSection(precision="auto", use_gpu=use_gpu)).precision == expected
