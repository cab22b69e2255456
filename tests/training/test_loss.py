"""Packing changes the speed of training and nothing else."""

import pytest
import torch

from eshop_ray.config import LoraSection, TrainConfig
from eshop_ray.data.packing import build_packs
from eshop_ray.training.loop import build_model, train_step
from eshop_ray.training.loss import answer_loss

CPU = torch.device("cpu")


@pytest.fixture
def model(tiny_model_dir):
    """Tiny model with an adapter that is not zero, so that every gradient is there."""
    model = build_model(tiny_model_dir, LoraSection(r=4), seed=1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return model


def measure(model, rows, pack_length):
    """Return the number of packs, the summed loss and each adapter weight's gradient."""
    model.zero_grad()
    packs = list(build_packs(rows, pack_length))
    loss = sum(answer_loss(model, pack, CPU) for pack in packs)
    loss.backward()
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    return len(packs), loss.item(), {name: parameter.grad.clone() for name, parameter in trained.items()}


@pytest.mark.parametrize("pack_length", [300, 512, 100_000])
def test_loss_and_gradients_are_those_of_single_rows(model, token_rows, pack_length):
    num_single, single_loss, single = measure(model, token_rows, pack_length=1)
    num_packs, loss, gradients = measure(model, token_rows, pack_length)
    assert num_packs < num_single == len(token_rows)
    assert loss == pytest.approx(single_loss, rel=1e-5)
    assert len(gradients) == 28
    for name, gradient in gradients.items():
        assert single[name].norm() > 0
        assert (gradient - single[name]).norm() <= 1e-4 * single[name].norm(), name


def test_loss_is_that_of_transformers(model, token_rows):
    expected = 0.0
    for row in token_rows:
        labels = [-100] * len(row.prompt_ids) + list(row.answer_ids)
        output = model(
            input_ids=torch.tensor([[*row.prompt_ids, *row.answer_ids]]), labels=torch.tensor([labels]), use_cache=False
        )
        expected += output.loss.item() * len(row.answer_ids)
    assert measure(model, token_rows, 100_000)[1] == pytest.approx(expected, rel=1e-5)


def test_a_step_reports_the_mean_loss_per_answer_token(model, token_rows):
    _, summed, _ = measure(model, token_rows, 512)
    num_answer_tokens = sum(len(row.answer_ids) for row in token_rows)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.0)
    train = TrainConfig(precision="fp32", pack_length=512)
    loss = train_step(model, optimizer, token_rows, num_answer_tokens, train, CPU)
    assert loss == pytest.approx(summed / num_answer_tokens, rel=1e-5)


def test_only_the_adapter_learns(model, token_rows):
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    train_step(model, optimizer, token_rows, 100, TrainConfig(pack_length=512), CPU)
    changed = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert changed == {name for name in before if "lora_" in name}
