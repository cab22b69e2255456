"""What is computed faster than PEFT and torch do it is computed no differently."""

import pytest
import torch

from eshop_ray.config import LoraSection, TrainSection
from eshop_ray.training.kernels import frozen_head
from eshop_ray.training.kernels.attention import attend_batch, use_layouts
from eshop_ray.training.kernels.frozen_norm import freeze_norms
from eshop_ray.training.kernels.fused_lora import fuse_updates
from eshop_ray.training.kernels.short_attention import ShortAttention
from eshop_ray.training.loss import answer_loss
from eshop_ray.training.model import build_model, get_causal_lm
from eshop_ray.training.packing.pack import build_pack

CPU = torch.device("cpu")


def build(model_dir, precision, options=None):
    train = TrainSection(precision=precision)
    model = build_model(model_dir, train, LoraSection(r=4, options=options or {}), 1, CPU)
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    use_layouts(get_causal_lm(model))
    return model


def learn(model, rows, precision):
    """The loss of one pack and all gradients in one vector."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        loss = answer_loss(model, build_pack(rows), "gather", CPU)
    loss.backward()
    gradients = [parameter.grad.flatten() for parameter in model.parameters() if parameter.requires_grad]
    return loss.item(), torch.cat(gradients)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 0.04)])
@pytest.mark.parametrize("options", [{}, {"use_rslora": True}, {"use_dora": True}], ids=["plain", "rslora", "dora"])
def test_fused_layers_learn_what_pefts_learn(tiny_model_dir, token_rows, precision, tolerance, options):
    expected_loss, expected = learn(build(tiny_model_dir, precision, options), token_rows, precision)
    model = build(tiny_model_dir, precision, options)
    fuse_updates(model)
    num_fused = sum("forward" in vars(module) for module in model.modules())
    assert num_fused == (0 if "use_dora" in options else 14)
    loss, gradients = learn(model, token_rows, precision)
    assert loss == pytest.approx(expected_loss, rel=tolerance)
    assert (gradients - expected).norm() <= tolerance * expected.norm()


def test_adapter_that_is_switched_off_is_off_in_fused_layers(tiny_model_dir, token_rows):
    model = build(tiny_model_dir, "fp32")
    fuse_updates(model)
    with torch.no_grad(), model.disable_adapter():
        without = answer_loss(model, build_pack(token_rows), "gather", CPU).item()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.zeros_(parameter)
    assert answer_loss(model, build_pack(token_rows), "gather", CPU).item() == pytest.approx(without, rel=1e-6)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 0.04)])
def test_frozen_norms_give_what_the_norms_give(tiny_model_dir, token_rows, precision, tolerance):
    expected_loss, expected = learn(build(tiny_model_dir, precision), token_rows, precision)
    model = build(tiny_model_dir, precision)
    freeze_norms(model, torch.bfloat16 if precision == "bf16" else torch.float32)
    assert sum("forward" in vars(module) for module in model.modules()) == 4
    loss, gradients = learn(model, token_rows, precision)
    assert loss == pytest.approx(expected_loss, rel=tolerance / 10)
    assert (gradients - expected).norm() <= tolerance * expected.norm()


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 0.04)])
def test_frozen_head_gives_the_losses_of_the_head(tiny_model_dir, token_rows, precision, tolerance, monkeypatch):
    monkeypatch.setattr(frozen_head, "BLOCK", 50)  # several blocks, the last one shorter
    expected_loss, expected = learn(build(tiny_model_dir, precision), token_rows, precision)
    model = build(tiny_model_dir, precision)
    frozen_head.freeze_head(model, torch.bfloat16 if precision == "bf16" else torch.float32)
    loss, gradients = learn(model, token_rows, precision)
    assert loss == pytest.approx(expected_loss, rel=tolerance / 10)
    assert (gradients - expected).norm() <= tolerance * expected.norm()


def test_head_that_is_trained_is_left_alone(tiny_model_dir):
    model = build_model(tiny_model_dir, TrainSection(method="full"), LoraSection(), 1, CPU)
    frozen_head.freeze_head(model, torch.float32)
    assert type(model.get_output_embeddings()) is torch.nn.Linear


@pytest.mark.parametrize("num_prefix", [0, 26])
@pytest.mark.parametrize("num_queries", [1, 48, 70, 130])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_gradients_of_short_attention_are_those_of_torch(num_prefix, num_queries, dtype, tolerance):
    draw = torch.Generator().manual_seed(0)
    shapes = [(3, 6, num_queries, 32), (3, 2, num_prefix + num_queries, 32), (3, 2, num_prefix + num_queries, 32)]
    states = [torch.randn(shape, generator=draw) for shape in shapes]
    mask = None
    if num_prefix:
        mask = torch.ones(num_queries, num_prefix + num_queries, dtype=torch.bool).tril(num_prefix)
    outcomes = []
    for attend, kind in ((ShortAttention.apply, dtype), (reference, torch.float32)):
        inputs = [tensor.to(kind).requires_grad_() for tensor in states]
        output = attend(*inputs, mask, 0.2)
        weights = torch.linspace(-1, 1, output.numel()).view_as(output).to(kind)
        outcomes.append([output, *torch.autograd.grad(output, inputs, weights)])
    for ours, theirs in zip(*outcomes, strict=True):
        assert (ours.float() - theirs).norm() <= tolerance * theirs.norm().clamp(min=1.0)


def reference(query, key, value, mask, scale):
    return attend_batch(query, key, value, scale, mask)
