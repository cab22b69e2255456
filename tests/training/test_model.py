"""Every method learns from the same loss; settings that cannot work are refused before anything is loaded."""

import json
import re
import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from eshop_ray import artifacts
from eshop_ray.config import LoraSection, TrainSection
from eshop_ray.errors import UserError
from eshop_ray.models import model_digest
from eshop_ray.training.adapter import digest_initial
from eshop_ray.training.model import build_model, check_method, find_layers, save_trained

CPU = torch.device("cpu")
IDS = torch.arange(3, 60)[None]


def build(model_dir, lora=None, seed=1, **train):
    return build_model(
        model_dir, TrainSection(**{"precision": "fp32", **train}), LoraSection(r=4, **(lora or {})), seed, CPU
    )


def check(model_dir, lora=None, **train):
    check_method(TrainSection(**train), LoraSection(**{"r": 4, **(lora or {})}), model_dir)


def measure(model, precision="fp32"):
    """Return the loss and the gradient of every weight that has one."""
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        loss = model(input_ids=IDS, labels=IDS, use_cache=False).loss
    loss.backward()
    return loss.item(), {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


def fill_adapter(model):
    torch.manual_seed(5)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    return model


def trained_weights(model):
    return {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}


@pytest.fixture
def adapter_dir(tiny_model_dir, tmp_path):
    """A finished adapter, as training leaves it."""
    folder = tmp_path / "earlier"
    model = fill_adapter(build(tiny_model_dir))
    save_trained(trained_weights(model), model, folder)
    artifacts.write_manifest(folder, "adapter", "inputs", {"base": model_digest(tiny_model_dir)})
    return folder


def test_seed_determines_the_adapter(tiny_model_dir):
    first, same, other = (trained_weights(build(tiny_model_dir, seed=seed)) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_full_training_reaches_every_weight_and_keeps_them_in_fp32(tiny_model_dir, precision):
    model = build(tiny_model_dir, method="full", precision=precision)
    _, gradients = measure(model, precision)
    assert gradients.keys() == dict(model.named_parameters()).keys()
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


def test_lora_in_bf16_stores_frozen_projections_in_half(tiny_model_dir):
    model = build(tiny_model_dir, precision="bf16")
    types = {name: weight.dtype for name, weight in model.named_parameters()}
    assert {types[name] for name in types if "lora_" in name} == {torch.float32}
    assert {types[name] for name in types if "base_layer" in name} == {torch.bfloat16}
    whole, stored = measure(build(tiny_model_dir), "bf16"), measure(model, "bf16")
    assert stored[0] == whole[0]
    assert all(torch.equal(stored[1][name], whole[1][name]) for name in whole[1])


def test_four_bit_base_gives_nearly_the_loss_and_trains_the_adapter(tiny_model_dir):
    pytest.importorskip("bitsandbytes")
    check(tiny_model_dir, method="qlora")
    model = fill_adapter(build(tiny_model_dir, method="qlora", precision="bf16"))
    quantised = {type(weight).__name__ for name, weight in model.named_parameters() if "base_layer" in name}
    assert quantised == {"Params4bit"}
    loss, gradients = measure(model, "bf16")
    whole_loss, whole_gradients = measure(fill_adapter(build(tiny_model_dir)))
    assert loss != whole_loss
    assert loss == pytest.approx(whole_loss, rel=0.02)
    assert gradients.keys() == whole_gradients.keys()
    for name, gradient in gradients.items():
        assert torch.cosine_similarity(gradient.flatten(), whole_gradients[name].flatten(), dim=0) > 0.8, name


def test_missing_bitsandbytes_is_told_before_loading(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(UserError, match=r"needs the package bitsandbytes.*install it on every node"):
        check(tmp_path, method="qlora")


@pytest.mark.parametrize("method", ["lora", "full"])
def test_checkpointed_activations_give_the_same_gradients(tiny_model_dir, method):
    plain = fill_adapter(build(tiny_model_dir, {"lora_dropout": 0.1}, method=method))
    frugal = fill_adapter(build(tiny_model_dir, {"lora_dropout": 0.1}, method=method, gradient_checkpointing=True))
    calls = []
    find_layers(frugal)[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    torch.manual_seed(0)
    loss, gradients = measure(plain)
    torch.manual_seed(0)
    frugal_loss, frugal_gradients = measure(frugal)
    assert len(calls) == 2, "computed again in the backward pass"
    assert frugal_loss == loss
    assert frugal_gradients.keys() == gradients.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(frugal_gradients[name], gradient)


@pytest.mark.parametrize("options", [{"use_dora": True}, {"use_rslora": True}, {"fan_in_fan_out": False}])
def test_options_reach_peft(tiny_model_dir, options):
    check(tiny_model_dir, {"options": options})
    settings = build(tiny_model_dir, {"options": options}).peft_config["default"]
    assert {name: getattr(settings, name) for name in options} == options


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"options": {"use_dorra": True}}, r"`lora\.options\.use_dorra`.*did you mean `use_dora`"),
        ({"options": {"r": 8}}, r"`lora\.options\.r`: set `lora\.r` itself"),
        ({"options": {"init_lora_weights": "pissa"}}, r"`lora\.options\.init_lora_weights: pissa` changes the base"),
        ({"options": {"layers_pattern": "h"}}, r"`lora\.options`: PEFT refuses them"),
        ({"target_modules": ("q_projection",)}, r"does not fit the model .*q_projection"),
        ({"init_from": "nowhere"}, r"`lora\.init_from` .*nowhere: no adapter_config\.json"),
    ],
)
def test_wrong_adapter_settings_are_told_before_loading(tiny_model_dir, lora, message):
    with pytest.raises(UserError, match=message):
        check(tiny_model_dir, lora)


@pytest.mark.parametrize(
    ("train", "lora", "message"),
    [
        ({"method": "full"}, {"init_from": "somewhere"}, "trains none"),
        ({"method": "qlora", "sharding": "fsdp"}, {}, "cannot share out"),
    ],
)
def test_settings_that_exclude_one_another_are_told(tiny_model_dir, train, lora, message):
    with pytest.raises(UserError, match=message):
        check(tiny_model_dir, lora, **train)


def test_training_goes_on_from_an_earlier_adapter(tiny_model_dir, adapter_dir):
    lora = {"init_from": str(adapter_dir)}
    check(tiny_model_dir, lora)
    earlier, ours = fill_adapter(build(tiny_model_dir)), build(tiny_model_dir, lora, seed=7)
    assert measure(ours)[0] == measure(earlier)[0]


def test_earlier_adapter_of_another_base_is_refused(tiny_model_dir, adapter_dir):
    (adapter_dir / artifacts.MANIFEST).unlink()
    artifacts.write_manifest(adapter_dir, "adapter", "inputs", {"base": "0" * 64})
    with pytest.raises(UserError, match=r"was trained on .*digest 0{12}"):
        check(tiny_model_dir, {"init_from": str(adapter_dir)})


def test_earlier_adapter_without_manifest_is_taken_with_a_warning(tiny_model_dir, adapter_dir, caplog):
    (adapter_dir / artifacts.MANIFEST).unlink()
    check(tiny_model_dir, {"init_from": str(adapter_dir)})
    assert "cannot be verified" in caplog.text


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"r": 8}, "r is 4 there and 8 here"),
        ({"lora_alpha": 64}, "lora_alpha is 32 there and 64 here"),
        ({"options": {"use_rslora": True}}, "use_rslora is False there and True here"),
        (
            {"options": {"modules_to_save": ["norm"]}},
            "base_model.model.model.layers.0.input_layernorm.weight is trained here",
        ),
        ({"target_modules": ("q_proj", "v_proj")}, "(14 layers) there and q_proj, v_proj (4 layers) here"),
    ],
)
def test_earlier_adapter_with_other_settings_is_refused(tiny_model_dir, adapter_dir, lora, message):
    with pytest.raises(UserError, match=re.escape(message)):
        check(tiny_model_dir, {"init_from": str(adapter_dir), **lora})


def test_earlier_adapter_of_another_shape_is_refused(tiny_model_dir, adapter_dir, tmp_path):
    wider = tmp_path / "wider"
    shutil.copytree(tiny_model_dir, wider)
    config = json.loads((wider / "config.json").read_text())
    (wider / "config.json").write_text(json.dumps({**config, "intermediate_size": 256}))
    (adapter_dir / artifacts.MANIFEST).unlink()
    with pytest.raises(UserError, match=r"\(128, 4\) there and \(256, 4\) here"):
        check(wider, {"init_from": str(adapter_dir)})


def test_digest_of_the_earlier_adapter_follows_its_weights(adapter_dir):
    lora = LoraSection(init_from=str(adapter_dir))
    first = digest_initial(lora)
    (adapter_dir / "README.md").write_text("notes")
    assert digest_initial(lora) == first
    with (adapter_dir / "adapter_model.safetensors").open("ab") as stream:
        stream.write(b" ")
    assert digest_initial(lora) != first
    assert digest_initial(LoraSection()) is None


def test_adapter_is_saved_as_peft_does(tiny_model_dir, adapter_dir):
    weights = load_file(adapter_dir / "adapter_model.safetensors")
    trained = trained_weights(fill_adapter(build(tiny_model_dir)))
    assert {name.replace(".default", ""): weight.shape for name, weight in trained.items()} == {
        name: weight.shape for name, weight in weights.items()
    }


def test_fully_trained_model_is_saved_as_a_model(tiny_model_dir, tmp_path):
    model = build(tiny_model_dir, method="full")
    weights = {name: weight + 0.01 for name, weight in trained_weights(model).items()}
    save_trained(weights, model, tmp_path / "model")
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert all(torch.equal(weight, weights[name]) for name, weight in saved.named_parameters())
    assert saved.lm_head.weight is saved.get_input_embeddings().weight
    assert AutoTokenizer.from_pretrained(tmp_path / "model").chat_template
