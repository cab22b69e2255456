"""Rows of a pack do not see each other, or packs hold one row each."""

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    JambaConfig,
    Lfm2Config,
    LlamaConfig,
    MixtralConfig,
    Qwen3Config,
    Qwen3NextConfig,
    StableLmConfig,
)

from eshop_ray.training.isolation import keeps_rows_apart
from eshop_ray.training.kernels.attention import use_layouts
from eshop_ray.training.packing.pack import PREFIX, TokenRow, build_pack
from tests.training.small_models import SHAPES

SMALL = {
    "vocab_size": 100,
    **SHAPES,
}


def build(config):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    use_layouts(model)
    return model


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", [LlamaConfig, MixtralConfig, Qwen3Config])
def test_plain_decoders_keep_rows_apart(kind, precision):
    model = build(kind(**SMALL)).train()
    assert keeps_rows_apart(model, precision)
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    "config",
    [
        Lfm2Config(**SMALL, layer_types=["conv", "full_attention"]),
        JambaConfig(**SMALL, use_mamba_kernels=False),
        Qwen3NextConfig(**SMALL),
        StableLmConfig(**{name: value for name, value in SMALL.items() if name != "head_dim"}),
        BloomConfig(vocab_size=100, hidden_size=32, n_layer=2, n_head=4),
    ],
    ids=lambda config: config.model_type,
)
def test_layers_that_are_no_attention_and_attention_of_its_own_do_not(config, precision):
    assert not keeps_rows_apart(build(config), precision)


def test_a_pack_is_split_into_its_rows():
    rows = [
        TokenRow("a", "t", [1, 2, 3], [4, 5], 2.0),
        TokenRow("b", "t", [1, 2, 6], [7]),
        TokenRow("c", "u", [1], [9]),
    ]
    packs = build_pack(rows).split()
    for row, pack in zip(rows, packs, strict=True):
        alone = build_pack([row])
        assert (pack.ids, pack.tasks) == (alone.ids, alone.tasks)
        for name in ("input_ids", "labels", "position_ids", "weights"):
            np.testing.assert_array_equal(getattr(pack, name), getattr(alone, name))
        assert PREFIX not in pack.segment_ids
