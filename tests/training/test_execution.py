"""A model is trained by what it computes itself, or refused."""

import logging

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Qwen3MoeConfig

from eshop_ray.config import LoraSection, TrainSection
from eshop_ray.errors import UserError
from eshop_ray.training import execution
from eshop_ray.training.execution import Execution
from eshop_ray.training.kernels import gather
from eshop_ray.training.kernels.substitutes import Substitutes
from eshop_ray.training.loss import answer_loss
from eshop_ray.training.model import build_model
from eshop_ray.training.packing.pack import build_pack

CPU = torch.device("cpu")


def prepare(model_dir, precision="fp32", method="lora"):
    train = TrainSection(precision=precision, method=method)
    return Execution.prepare(build_model(model_dir, train, LoraSection(r=4), 1, CPU), train, CPU, replaces_head=True)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_plain_decoder_takes_the_fast_way(tiny_model_dir, precision, method):
    assert prepare(tiny_model_dir, precision, method) == Execution("gather", is_packed=True)


@pytest.mark.parametrize("fault", ["another value", "another gradient", "an error"])
def test_a_way_that_computes_something_else_gives_way_to_the_mask(tiny_model_dir, monkeypatch, caplog, fault):
    real = gather._attend_rows

    def attend(*args):
        if fault == "an error":
            raise RuntimeError("no such operation in this release")
        output = real(*args)
        return output * 1.5 if fault == "another value" else output + (output - output.detach())

    monkeypatch.setattr(gather, "_attend_rows", attend)
    with caplog.at_level(logging.WARNING):
        assert prepare(tiny_model_dir) == Execution("mask", is_packed=True)
    assert "`gather` attention does not compute what this model's own does; taking `mask`" in caplog.text


def test_attention_that_no_way_computes_is_refused(tiny_model_dir, monkeypatch):
    real = execution.use_layouts

    def forget_the_scale(model):
        real(model)
        for module in model.modules():
            if hasattr(module, "scaling") and isinstance(module.scaling, float):
                module.scaling = 3.0

    monkeypatch.setattr(execution, "use_layouts", forget_the_scale)
    with pytest.raises(UserError, match=r"this base \(llama\) cannot be trained here"):
        prepare(tiny_model_dir)


def test_layers_that_together_compute_something_else_are_taken_back(tiny_model_dir, monkeypatch, caplog):
    def spoil(model, *_args):
        taken, norm = Substitutes(), model.get_base_model().model.norm
        norm.forward = lambda states: states * 2
        taken.take("norms", lambda: vars(norm).pop("forward"))
        return taken

    monkeypatch.setattr(execution, "substitute_layers", spoil)
    assert prepare(tiny_model_dir) == Execution("gather", is_packed=True)
    assert "layers that were replaced did not compute what this model's own do" in caplog.text


def test_experts_that_rounding_decides_on_are_no_fault():
    train = TrainSection(precision="bf16", method="full")
    for seed in range(3):
        torch.manual_seed(seed)
        config = Qwen3MoeConfig(
            vocab_size=100, hidden_size=32, num_hidden_layers=4, num_attention_heads=4, head_dim=8,
            num_key_value_heads=2, num_experts=16, num_experts_per_tok=2, moe_intermediate_size=16, pad_token_id=0,
        )  # fmt: skip
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        assert Execution.prepare(model, train, CPU, replaces_head=True).is_packed


@pytest.mark.parametrize("attention", ["mask", "gather"])
def test_dropout_of_the_attention_counts_in_training(token_rows, attention):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=600, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, attention_dropout=0.5,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    train = TrainSection(method="full", attention=attention)
    assert Execution.prepare(model, train, CPU, replaces_head=True) == Execution(attention, is_packed=True)
    pack = build_pack(token_rows)
    losses = [answer_loss(model.train(), pack, attention, CPU).item() for _ in range(2)]
    assert losses[0] != losses[1]
    losses = [answer_loss(model.eval(), pack, attention, CPU).item() for _ in range(2)]
    assert losses[0] == losses[1]


def test_gpt2_is_trained_with_its_dropout():
    model = AutoModelForCausalLM.from_config(GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=100))
    execution_of_it = Execution.prepare(model, TrainSection(method="full"), CPU, replaces_head=True)
    assert execution_of_it == Execution("gather", is_packed=True)
