"""What is computed faster than PEFT and torch do it is computed no differently."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma3TextConfig,
    GraniteConfig,
    Olmo2Config,
    Phi3Config,
    Qwen3Config,
)

from eshop_ray.config import LoraSection, TrainSection
from eshop_ray.training.kernels import frozen_head, substitutes
from eshop_ray.training.kernels.attention import attend_batch, use_layouts
from eshop_ray.training.kernels.short_attention import ShortAttention
from eshop_ray.training.kernels.substitutes import substitute_layers
from eshop_ray.training.loss import answer_loss
from eshop_ray.training.model import build_model, get_causal_lm
from eshop_ray.training.packing.pack import build_pack
from tests.training.small_models import SHAPES

CPU = torch.device("cpu")
LORA = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
SMALL = {
    "vocab_size": 100,
    **SHAPES,
    "pad_token_id": 0,
}


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
def test_substitutes_learn_what_the_layers_learn(
    tiny_model_dir, token_rows, precision, tolerance, options, monkeypatch
):
    monkeypatch.setattr(frozen_head, "BLOCK", 50)  # several blocks, the last one shorter
    expected_loss, expected = learn(build(tiny_model_dir, precision, options), token_rows, precision)
    model = build(tiny_model_dir, precision, options)
    taken = substitute_layers(model, precision, replaces_head=True)
    num_norms = 5 if precision == "fp32" else 4  # the last one's output is cut before it is cast
    assert {**taken.counts, "casts": 0} == {
        **({} if "use_dora" in options else {"updates": 14}),
        "norms": num_norms,
        "heads": 1,
        "casts": 0,
    }
    loss, gradients = learn(model, token_rows, precision)
    assert loss == pytest.approx(expected_loss, rel=tolerance / 10)
    assert (gradients - expected).norm() <= tolerance * expected.norm()
    taken.undo()
    loss, gradients = learn(build(tiny_model_dir, precision, options), token_rows, precision)
    assert (loss, gradients.tolist()) == (expected_loss, expected.tolist())


def test_adapter_that_is_switched_off_is_off_in_fused_layers(tiny_model_dir, token_rows):
    model = build(tiny_model_dir, "fp32")
    assert substitute_layers(model, "fp32", replaces_head=False).counts["updates"] == 14
    with torch.no_grad(), model.disable_adapter():
        without = answer_loss(model, build_pack(token_rows), "gather", CPU).item()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.zeros_(parameter)
    assert answer_loss(model, build_pack(token_rows), "gather", CPU).item() == pytest.approx(without, rel=1e-6)


@pytest.mark.parametrize(
    ("broken", "kind"),
    [
        ("fused_lora._UpdatedLinear", "updates"),
        ("frozen_norm._Norm", "norms"),
        ("frozen_head._HeadLoss", "heads"),
    ],
)
@pytest.mark.parametrize("fault", ["another value", "another gradient", "an error"])
def test_a_substitute_that_computes_something_else_is_not_taken(tiny_model_dir, monkeypatch, broken, kind, fault):
    module, name = broken.split(".")
    real = getattr(getattr(substitutes, module), name)

    class Broken:
        """Stands in for the operation."""

        @staticmethod
        def apply(states, *args):
            if fault == "an error":
                raise AttributeError("no such name in this release")
            output = real.apply(states, *args)
            return output * 1.5 if fault == "another value" else output + (output - output.detach())

    monkeypatch.setattr(getattr(substitutes, module), name, Broken)
    counts = substitute_layers(build(tiny_model_dir, "fp32"), "fp32", replaces_head=True).counts
    assert counts[kind] == 0
    assert sum(counts.values()) == {"updates": 6, "norms": 15, "heads": 19}[kind]


@pytest.mark.parametrize(
    ("config", "num_norms", "num_heads"),
    [
        (Qwen3Config(**SMALL), 4, 1),
        (Phi3Config(**SMALL), 4, 1),
        (Olmo2Config(**SMALL), 8, 1),
        (Gemma3TextConfig(**SMALL), 0, 1),
        (GraniteConfig(**SMALL, logits_scaling=8.0), 4, 0),
        (CohereConfig(**SMALL, logit_scale=0.1), 0, 0),
    ],
    ids=lambda value: getattr(value, "model_type", ""),
)
def test_what_is_replaced_is_told_by_what_a_layer_does(config, num_norms, num_heads):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    counts = substitute_layers(get_peft_model(model.requires_grad_(False), LORA), "bf16", replaces_head=True).counts
    assert (counts["norms"], counts["heads"]) == (num_norms, num_heads)


def test_head_that_is_trained_is_left_alone(tiny_model_dir):
    model = build_model(tiny_model_dir, TrainSection(method="full"), LoraSection(), 1, CPU)
    assert not substitute_layers(model, "fp32", replaces_head=True).counts


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
