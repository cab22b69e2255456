import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from eshop_ray import artifacts
from eshop_ray.config import LoraSection, TrainConfig
from eshop_ray.errors import UserError
from eshop_ray.models import model_digest
from eshop_ray.training.merge import check_adapter, fold_adapter, read_dtype, write_merged
from eshop_ray.training.model import build_model, save_trained


@pytest.fixture
def base_digest(tiny_model_dir):
    return model_digest(tiny_model_dir)


def build(model_dir, **train):
    """Return a model whose adapter, if it has one, is not zero."""
    train = TrainConfig(**{"precision": "fp32", **train})
    model = build_model(model_dir, train, LoraSection(r=4), 1, torch.device("cpu")).eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def save(model, folder, base_digest):
    weights = {name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad}
    save_trained(weights, model, folder)
    artifacts.write_manifest(folder, "adapter", "inputs", {"base": base_digest})
    return folder


@pytest.fixture
def adapter_model(tiny_model_dir):
    return build(tiny_model_dir)


@pytest.fixture
def adapter_dir(adapter_model, base_digest, tmp_path):
    return save(adapter_model, tmp_path / "adapter", base_digest)


@torch.no_grad()
def logits(model):
    return model(input_ids=torch.arange(3, 60)[None]).logits


def test_merged_logits_are_those_of_base_and_adapter(adapter_model, adapter_dir, tiny_model_dir):
    expected = logits(adapter_model)
    base = logits(AutoModelForCausalLM.from_pretrained(tiny_model_dir))
    assert not torch.allclose(base, expected, atol=0.1)
    torch.testing.assert_close(logits(fold_adapter(tiny_model_dir, adapter_dir)), expected, atol=1e-4, rtol=0)


def test_merged_folder_is_a_model_of_its_own(adapter_model, adapter_dir, tiny_model_dir, base_digest, tmp_path):
    merged_dir = tmp_path / "merged"
    parents = {"base": base_digest, "adapter": artifacts.digest_dir(adapter_dir)}
    write_merged(tiny_model_dir, adapter_dir, merged_dir, "inputs", parents)
    merged = AutoModelForCausalLM.from_pretrained(merged_dir)
    torch.testing.assert_close(logits(merged), logits(adapter_model), atol=1e-4, rtol=0)
    assert not any("lora" in name for name in merged.state_dict())
    assert read_dtype(merged_dir) == "float32"
    assert "<|im_start|>" in (merged_dir / "chat_template.jinja").read_text()
    assert artifacts.read_manifest(merged_dir, job="merge_lora").parents == parents


def test_fully_trained_model_is_taken_as_it_is(tiny_model_dir, base_digest, tmp_path):
    model = build(tiny_model_dir, method="full")
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.01
    adapter_dir, merged_dir = save(model, tmp_path / "adapter", base_digest), tmp_path / "merged"
    parents = {"base": base_digest, "adapter": artifacts.digest_dir(adapter_dir)}
    write_merged(tiny_model_dir, adapter_dir, merged_dir, "inputs", parents)
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(merged_dir)), logits(model))
    assert "<|im_start|>" in (merged_dir / "chat_template.jinja").read_text()
    assert artifacts.read_manifest(merged_dir, job="merge_lora").parents == parents
    with pytest.raises(UserError, match="was trained on another model"):
        check_adapter(adapter_dir, tiny_model_dir, "0" * 64)


def test_adapter_of_a_four_bit_base_folds_into_the_base_on_disk(
    adapter_model, adapter_dir, tiny_model_dir, base_digest, tmp_path
):
    pytest.importorskip("bitsandbytes")
    model = build(tiny_model_dir, method="qlora")
    model.load_state_dict({n: w for n, w in adapter_model.state_dict().items() if "lora_" in n}, strict=False)
    four_bit_dir = save(model, tmp_path / "four_bit", base_digest)
    folded = fold_adapter(tiny_model_dir, four_bit_dir)
    assert torch.equal(logits(folded), logits(fold_adapter(tiny_model_dir, adapter_dir)))
    assert {weight.dtype for weight in folded.parameters()} == {torch.float32}


def test_adapter_of_another_base_names_both(adapter_dir, tiny_model_dir, base_digest, tmp_path):
    other = tmp_path / "other"
    with pytest.raises(UserError) as refused:
        check_adapter(adapter_dir, other, "0" * 64)
    for part in (str(tiny_model_dir), base_digest[:12], str(other), "000000000000", "train again"):
        assert part in str(refused.value)


def test_refused_merge_leaves_the_earlier_model(adapter_dir, tiny_model_dir, tmp_path):
    merged_dir = tmp_path / "merged"
    merged_dir.mkdir()
    (merged_dir / "earlier").touch()
    with pytest.raises(UserError):
        write_merged(tiny_model_dir, adapter_dir, merged_dir, "inputs", {"base": "0" * 64})
    assert [path.name for path in merged_dir.iterdir()] == ["earlier"]


def test_altered_adapter_is_refused(adapter_dir, tiny_model_dir, base_digest):
    with (adapter_dir / "adapter_model.safetensors").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(UserError, match=r"is damaged \(\S*adapter_model\.safetensors: changed since"):
        check_adapter(adapter_dir, tiny_model_dir, base_digest)


def test_adapter_that_is_not_finite_is_refused(adapter_model, tiny_model_dir, base_digest, tmp_path):
    with torch.no_grad():
        next(weight for name, weight in adapter_model.named_parameters() if "lora_B" in name).fill_(torch.nan)
    broken = save(adapter_model, tmp_path / "broken", base_digest)
    with pytest.raises(UserError, match=r"broken cannot be folded .*train again"):
        fold_adapter(tiny_model_dir, broken)


def test_adapter_without_manifest_is_incomplete(adapter_dir, tiny_model_dir, base_digest):
    (adapter_dir / artifacts.MANIFEST).unlink()
    with pytest.raises(UserError, match=r"run `python -m jobs\.train_lora`"):
        check_adapter(adapter_dir, tiny_model_dir, base_digest)


@pytest.mark.parametrize(
    ("config", "dtype"),
    [({"dtype": "float16"}, "float16"), ({"torch_dtype": "float16"}, "float16"), ({}, "bfloat16")],
)
def test_precision_is_the_base_models(tmp_path, config, dtype):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read_dtype(tmp_path) == dtype
