"""What a pack teaches is what its rows teach one by one, by Transformers and a plain divergence."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import kl_div

from eshop_ray.config import LoraSection, TrainSection
from eshop_ray.training.kernels.attention import use_layouts
from eshop_ray.training.kernels.frozen_head import FrozenHead
from eshop_ray.training.kernels.substitutes import substitute_layers
from eshop_ray.training.loss import answer_loss
from eshop_ray.training.model import build_model, get_causal_lm
from eshop_ray.training.packing.pack import build_pack
from eshop_ray.training.packing.soft_targets import SoftTargets

CPU = torch.device("cpu")
TOP_K = 7


@pytest.fixture(params=[False, True], ids=["whole scores", "frozen head"])
def model(request, tiny_model_dir):
    model = build(tiny_model_dir)
    use_layouts(get_causal_lm(model))
    if request.param:
        substitute_layers(model, "fp32", replaces_head=True)
    assert isinstance(get_causal_lm(model).get_output_embeddings(), FrozenHead) == request.param
    return model


def build(model_dir):
    model = build_model(model_dir, TrainSection(precision="fp32"), LoraSection(r=4), 1, CPU)
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return model


@pytest.fixture(scope="module")
def taught_rows(token_rows):
    """Rows with targets that were drawn by chance, and weights of their own."""
    draw = np.random.default_rng(0)
    return [
        replace(row, weight=1 + number / 10, targets=draw_targets(draw, row.answer_ids))
        for number, row in enumerate(token_rows)
    ]


def draw_targets(draw, answer_ids):
    others = [draw.permutation(np.setdiff1d(np.arange(500), token))[: TOP_K - 1] for token in answer_ids]
    words = [draw.permutation([token, *some]) for token, some in zip(answer_ids, others, strict=True)]
    probabilities = draw.dirichlet(np.full(TOP_K + 1, 0.5), len(answer_ids))
    return SoftTargets(np.array(words, np.int32), probabilities.astype(np.float32))


def learn_plainly(model, rows):
    """Row by row, by PEFT and Transformers; returns the loss and leaves the gradients."""
    total = 0.0
    for row in rows:
        ids = torch.tensor([[*row.prompt_ids, *row.answer_ids]])
        student = model(input_ids=ids, use_cache=False).logits[0, len(row.prompt_ids) - 1 : -1].softmax(1)
        kept = student.gather(1, torch.from_numpy(row.targets.words).long())
        cells = torch.cat([kept, 1 - kept.sum(1, keepdim=True)], 1).log()
        loss = row.weight * kl_div(cells, torch.from_numpy(row.targets.probabilities), reduction="sum")
        loss.backward()
        total += loss.item()
    return total


def collect(model):
    return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("num_rows", [1, 9, 24])
def test_loss_and_gradients_are_those_of_plain_torch(model, taught_rows, tiny_model_dir, num_rows):
    reference = build(tiny_model_dir)
    expected_loss = learn_plainly(reference, taught_rows)
    losses = []
    for start in range(0, len(taught_rows), num_rows):
        losses.append(answer_loss(model, build_pack(taught_rows[start : start + num_rows]), "gather", CPU))
        losses[-1].backward()
    assert sum(losses).item() == pytest.approx(expected_loss, rel=1e-4)
    expected, found = collect(reference), collect(model)
    assert len(found) == len(expected) == 28
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() <= 1e-4 * gradient.norm(), name


def test_a_pack_that_is_split_keeps_each_row_s_targets(taught_rows):
    groups = [number % 3 for number in range(len(taught_rows))]
    pack = build_pack(taught_rows, groups)
    by_id = {row.id: row for row in taught_rows}
    assert len(pack.targets) == sum(len(row.answer_ids) for row in taught_rows)
    for part in pack.split():
        expected = by_id[part.ids[0]].targets
        assert (part.targets.words == expected.words).all()
        assert (part.targets.probabilities == expected.probabilities).all()
