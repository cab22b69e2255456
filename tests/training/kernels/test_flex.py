"""The rule that flex attention gets is the pack's mask, however often prefixes are repeated."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import flex_attention
from torch.nn.functional import pad

from eshop_ray.config import LoraSection, TrainSection
from eshop_ray.training.execution import Execution
from eshop_ray.training.kernels.flex import BLOCK, FlexLayout
from eshop_ray.training.kernels.layouts import build_layout
from eshop_ray.training.model import build_model
from tests.bench.gpu.flex_against_mask import compare, compute, draw_states
from tests.bench.gpu.packs import draw_pack

CPU = torch.device("cpu")
GROUPS = st.lists(
    st.tuples(st.sampled_from([0, 1, 30, 150, 300]), st.integers(1, 12), st.integers(1, 30), st.integers(1, 20)),
    min_size=1,
    max_size=4,
)
"""See `draw_rows`."""


def count_seen(layout, num_tokens):
    """How often each token of a pack sees each, (T, T), itself or a copy; no token may see padding."""
    queries, keys = layout.block_mask.seq_lengths
    seen = layout.block_mask.mask_mod(0, 0, torch.arange(queries)[:, None], torch.arange(keys)[None])[:num_tokens]
    places = torch.arange(1, queries + 1)[None, :, None]
    copied = [one.write(places) for one in layout.copies]  # 0 where a copy is padded
    counts = torch.zeros(num_tokens, queries + 1, dtype=torch.long)
    counts.index_add_(1, torch.cat([places, *copied], dim=1).flatten(), seen.long())
    assert not counts[:, 0].any()
    assert not counts[:, num_tokens + 1 :].any()
    return counts[:, 1 : num_tokens + 1]


@settings(max_examples=30)
@given(GROUPS, st.sampled_from([None, BLOCK, 2 * BLOCK]))
def test_every_token_sees_what_the_mask_shows_it_and_once(groups, span):
    pack = draw_pack(groups, 50)
    layout = FlexLayout.build(pack, CPU, span)
    assert torch.equal(count_seen(layout, len(pack)), torch.from_numpy(pack.attention_mask()).long())
    num_spans = -(-len(pack) // span) if span else 1
    assert sum(one.number for one in layout.copies) < num_spans


def test_no_block_of_keys_is_seen_by_many_more_queries_than_a_span():
    pack = draw_pack([(150, 80, 12, 36)], 50)
    most = []
    for span in (None, 4 * BLOCK):
        mask = FlexLayout.build(pack, CPU, span).block_mask
        most.append(int((mask.q_num_blocks + mask.full_q_num_blocks).max()))
    assert most[0] == -(-len(pack) // BLOCK) > 16
    assert most[1] == 4


@pytest.mark.parametrize("span", [None, BLOCK, 2 * BLOCK])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_outputs_and_gradients_are_those_of_the_mask(span, dtype, tolerance):
    pack = draw_pack([(20, 12, 6, 8), (150, 8, 20, 8), (0, 1, 30, 20), (9, 5, 3, 3)], 50)
    layout = FlexLayout.build(pack, CPU, span)
    assert bool(layout.copies) == bool(span)
    states = [tensor.to(dtype) for tensor in draw_states(len(pack), 4, 2, 16, CPU)]
    expected = compute(build_layout(pack, "mask", CPU), [tensor.float() for tensor in states])
    found = compute(layout, states)
    assert max(compare(found, expected)) <= tolerance


@pytest.mark.slow
@pytest.mark.parametrize("span", [None, BLOCK])
def test_a_kernel_that_skips_hidden_blocks_finds_all_that_is_seen(span):
    """By PyTorch's kernel for CPUs, which has no backward pass; its code for changing shapes does not compile."""
    pack = draw_pack([(150, 30, 12, 36)], 50)
    layout, (query, key, value, _) = FlexLayout.build(pack, CPU, span), draw_states(len(pack), 4, 2, 16, CPU)
    padded = [pad(states, (0, 0, 0, layout.num_padded)) for states in (query, key, value)]
    keys, values = (torch.cat([states, *(one.write(states) for one in layout.copies)], dim=1) for states in padded[1:])
    kernel = torch.compile(flex_attention, dynamic=False)
    with torch.no_grad():
        found = kernel(padded[0][None], keys[None], values[None], block_mask=layout.block_mask, enable_gqa=True)
        expected = build_layout(pack, "mask", CPU).attend(query, key, value, None, 0.0)
    assert float((found[0, :, : len(pack)] - expected).abs().max()) <= 1e-5


def test_a_model_that_is_tried_on_the_cpu_keeps_flex_attention_for_its_gpu(tiny_model_dir):
    train = TrainSection(attention="flex")
    model = build_model(tiny_model_dir, train, LoraSection(r=4), 1, CPU)
    assert Execution.prepare(model, train, torch.device("cuda"), replaces_head=True) == Execution(
        "flex", is_packed=True
    )


def test_prefixes_that_more_than_a_span_of_queries_see_are_repeated():
    assert build_layout(draw_pack([(150, 80, 12, 36)], 50), "flex", CPU).copies
    assert not build_layout(draw_pack([(150, 8, 12, 36)], 50), "flex", CPU).copies
