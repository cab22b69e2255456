import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from eshop_ray import artifacts
from eshop_ray.config import LoraSection
from eshop_ray.errors import UserError
from eshop_ray.models import model_digest
from eshop_ray.training.loop import build_model
from eshop_ray.training.merge import check_adapter, fold_adapter, read_dtype, write_merged


@pytest.fixture
def base_digest(tiny_model_dir):
    return model_digest(tiny_model_dir)


@pytest.fixture
def adapter_model(tiny_model_dir):
    """Base with an adapter that is not zero."""
    model = build_model(tiny_model_dir, LoraSection(r=4), seed=1).eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.fixture
def adapter_dir(adapter_model, base_digest, tmp_path):
    folder = tmp_path / "adapter"
    adapter_model.save_pretrained(folder)
    artifacts.write_manifest(folder, "adapter", "inputs", {"base": base_digest})
    return folder


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
