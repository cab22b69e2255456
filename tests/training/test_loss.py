"""Packing, and every way to compute its attention, changes the speed of training and nothing else."""

import numpy as np
import pytest
import torch
from transformers import AttentionInterface, AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config

from eshop_ray.config import LoraSection, TrainSection
from eshop_ray.errors import UserError
from eshop_ray.training.kernels import attention, layouts
from eshop_ray.training.kernels.attention import check_window, use_layouts
from eshop_ray.training.kernels.flex import BLOCK
from eshop_ray.training.loss import answer_loss, answer_losses
from eshop_ray.training.model import build_model, get_causal_lm
from eshop_ray.training.packing.pack import TokenRow, build_pack

CPU = torch.device("cpu")
TRAIN = TrainSection(precision="fp32")


@pytest.fixture(params=[False, True], ids=["kept activations", "gradient checkpointing"])
def model(request, tiny_model_dir):
    """Tiny model with an adapter that is not zero, so that every gradient is there."""
    train = TRAIN.model_copy(update={"gradient_checkpointing": request.param})
    model = build_model(tiny_model_dir, train, LoraSection(r=4), 1, CPU)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    use_layouts(get_causal_lm(model))
    return model


@pytest.fixture(scope="module")
def mixed_rows(token_rows):
    """Two tasks, rows that share nothing with anyone, one of a single token each side, one as long as a pack."""
    draw = np.random.default_rng(0)
    odd = [
        TokenRow(
            f"odd{number}",
            "odd",
            draw.integers(5, 400, num_prompt).tolist(),
            draw.integers(5, 400, num_answer).tolist(),
        )
        for number, (num_prompt, num_answer) in enumerate([(1, 1), (40, 3), (260, 40), (7, 90)])
    ]
    return [*token_rows, *odd]


def build_packs(rows, num_rows):
    """Packs of so many rows; the odd ones share nothing, which makes groups without a prefix."""
    groups = [f"{row.task}{row.id if row.task == 'odd' else ''}" for row in rows]
    numbers = [sorted(set(groups)).index(group) for group in groups]
    starts = range(0, len(rows), num_rows)
    return [build_pack(rows[at : at + num_rows], numbers[at : at + num_rows]) for at in starts]


def measure(model, rows, num_rows, attention):
    """Return the summed loss and each adapter weight's gradient."""
    model.zero_grad()
    loss = sum(answer_loss(model, pack, attention, CPU) for pack in build_packs(rows, num_rows))
    loss.backward()
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    return loss.item(), {name: parameter.grad.clone() for name, parameter in trained.items()}


@pytest.mark.parametrize("attention", ["mask", "gather"])
@pytest.mark.parametrize("num_rows", [5, 9, 100])
def test_loss_and_gradients_are_those_of_single_rows(model, mixed_rows, num_rows, attention):
    single_loss, single = measure(model, mixed_rows, 1, "mask")
    loss, gradients = measure(model, mixed_rows, num_rows, attention)
    assert loss == pytest.approx(single_loss, rel=1e-5)
    assert len(gradients) == 28
    for name, gradient in gradients.items():
        assert single[name].norm() > 0
        assert (gradient - single[name]).norm() <= 1e-4 * single[name].norm(), name


@pytest.mark.parametrize("span", [layouts.SPAN, BLOCK])
def test_flex_attention_computes_the_same(model, mixed_rows, span, monkeypatch):
    monkeypatch.setattr(layouts, "SPAN", span)
    loss, gradients = measure(model, mixed_rows, 100, "flex")
    expected_loss, expected = measure(model, mixed_rows, 100, "mask")
    assert loss == pytest.approx(expected_loss, rel=1e-5)
    for name, gradient in gradients.items():
        assert (gradient - expected[name]).norm() <= 1e-4 * expected[name].norm(), name


def test_loss_is_that_of_transformers(model, mixed_rows, tiny_model_dir):
    """Of the base without an adapter, by its own attention and its own loss."""
    base = AutoModelForCausalLM.from_pretrained(tiny_model_dir, dtype=torch.float32)
    expected = 0.0
    for row in mixed_rows:
        labels = [-100] * len(row.prompt_ids) + list(row.answer_ids)
        output = base(
            input_ids=torch.tensor([[*row.prompt_ids, *row.answer_ids]]), labels=torch.tensor([labels]), use_cache=False
        )
        expected += output.loss.item() * len(row.answer_ids)
    with model.disable_adapter():
        assert measure_forward(model, mixed_rows) == pytest.approx(expected, rel=1e-5)


def measure_forward(model, rows):
    with torch.no_grad():
        return sum(answer_loss(model, pack, "gather", CPU).item() for pack in build_packs(rows, 9))


def test_loss_is_summed_in_fp32_under_autocast(model, mixed_rows):
    (pack,) = build_packs(mixed_rows, 100)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        losses, _ = answer_losses(model, pack, "gather", CPU)
        summed = answer_loss(model, pack, "gather", CPU)
    assert (losses.dtype, summed.dtype) == (torch.float32, torch.float32)
    assert summed.item() == pytest.approx(losses.sum().item(), rel=1e-6)


def test_window_narrower_than_the_rows_is_refused():
    """Rows within the window are trained as they are: it hides nothing from them."""
    windowed = MistralConfig(sliding_window=512)
    with pytest.raises(UserError, match=r"the last 512 tokens only; set `train.max_row_length`, now 1024, to 512"):
        check_window(windowed, 1024)
    check_window(windowed, 512)
    check_window(Qwen2Config(sliding_window=512, use_sliding_window=False), 1024)
    check_window(LlamaConfig(), 1024)


def test_attention_that_no_layout_computes_is_refused():
    states = torch.zeros(1, 1, 1, 8)
    attend = AttentionInterface()[attention.NAME]
    with pytest.raises(NotImplementedError, match="softcap"):
        attend(None, states, states, states, None, layout=None, softcap=30.0)
