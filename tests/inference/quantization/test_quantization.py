"""A quantized model is its parent, rounded as little as 8 bits allow, in a form that others read."""

import json
import math
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, CompressedTensorsConfig, GPT2Config, MixtralConfig

from eshop_ray import artifacts
from eshop_ray.config.quantization import QuantizeSection
from eshop_ray.errors import UserError
from eshop_ray.inference.quantization import write
from eshop_ray.inference.quantization.write import Quantization, write_quantized
from eshop_ray.models import model_digest
from eshop_ray.models.templates import MORE_TEMPLATES, read_templates, save_templates

LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.fixture
def model_dir(tiny_model_dir, tmp_path):
    """A copy to break, in bf16."""
    folder = shutil.copytree(tiny_model_dir, tmp_path / "merged")
    AutoModelForCausalLM.from_pretrained(tiny_model_dir).to(torch.bfloat16).save_pretrained(folder)
    return folder


def quantize(model_dir, ignore=(), **options):
    """Return the folder of the quantized model."""
    folder = model_dir.parent / "quantized"
    write_quantized(Quantization(model_dir, QuantizeSection(ignore=ignore)), folder, **options)
    return folder


def read(folder):
    return {name: tensor for path in folder.glob("*.safetensors") for name, tensor in load_file(path).items()}


def change(model_dir, **tensors):
    """Give tensors of a model other values, by the end of their names."""
    weights = load_file(model_dir / "model.safetensors")
    for end, tensor in tensors.items():
        (name,) = (name for name in weights if name.endswith(f"layers.0.{end.replace('__', '.')}.weight"))
        weights[name] = tensor(weights[name])
    save_file(weights, model_dir / "model.safetensors", metadata={"format": "pt"})


def test_all_linear_layers_and_nothing_else(model_dir):
    before, after = read(model_dir), read(quantize(model_dir))
    names = {name for name, tensor in after.items() if tensor.dtype == torch.int8}
    assert names == {name for name in before if name.split(".")[-2] in LAYERS}
    assert len(names) == 2 * len(LAYERS)
    assert after.keys() == before.keys() | {f"{name}_scale" for name in names}
    for name in before.keys() - names:
        assert torch.equal(after[name], before[name])


def test_what_others_read_is_what_we_wrote(model_dir):
    """Transformers decompresses with the `compressed_tensors` package."""
    folder = quantize(model_dir)
    ours = read(folder)
    config = CompressedTensorsConfig(dequantize=True)
    theirs = AutoModelForCausalLM.from_pretrained(folder, quantization_config=config).state_dict()
    num_compared = 0
    for name, scales in ours.items():
        if name.endswith("_scale"):
            weight = name.removesuffix("_scale")
            assert torch.equal(theirs[weight], ours[weight].to(scales.dtype) * scales)
            num_compared += 1
    assert num_compared == 2 * len(LAYERS)


def test_their_compressor_rounds_with_our_scales_as_we_do(model_dir):
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig

    folder = quantize(model_dir)
    settings = json.loads((folder / "config.json").read_text())["quantization_config"]
    scheme = QuantizationConfig.model_validate(settings).config_groups["group_0"]
    compressor = BaseCompressor.get_value_from_registry(settings["format"])
    before, after = read(model_dir), read(folder)
    for name, scales in after.items():
        if name.endswith("_scale"):
            weight = name.removesuffix("_scale")
            state = {"weight": before[weight].float(), "weight_scale": scales.float()}
            their_values = compressor.compress(state, scheme)["weight"]
            assert (their_values.int() - after[weight].int()).abs().max() <= 1  # -128 is theirs


@torch.no_grad()
def test_logits_are_near_the_parents(model_dir):
    ids = torch.arange(3, 60)[None]
    config = CompressedTensorsConfig(dequantize=True)
    found = AutoModelForCausalLM.from_pretrained(quantize(model_dir), quantization_config=config)(input_ids=ids).logits
    expected = AutoModelForCausalLM.from_pretrained(model_dir)(input_ids=ids).logits
    assert (found - expected).norm() < 0.05 * expected.norm()


def test_rest_of_the_folder_is_the_parents(model_dir):
    (model_dir / "pytorch_model.bin").touch()
    (model_dir / "pytorch_model.bin.index.json").touch()
    save_templates(model_dir, {"default": "{{ messages }}", "tool_use": "{{ tools }}"})
    folder = quantize(model_dir)
    assert read_templates(folder) == {"default": "{{ messages }}", "tool_use": "{{ tools }}"}
    kept = {path.name for path in model_dir.iterdir()} - {"pytorch_model.bin", "pytorch_model.bin.index.json"}
    assert {path.name for path in folder.iterdir()} == kept | {"manifest.json"}
    kept.remove(MORE_TEMPLATES)
    for name in kept - {"model.safetensors", "config.json"}:
        assert (folder / name).read_bytes() == (model_dir / name).read_bytes()
    config = json.loads((folder / "config.json").read_text())
    assert config.pop("quantization_config")["ignore"] == ["lm_head"]
    assert config == json.loads((model_dir / "config.json").read_text())
    manifest = artifacts.read_manifest(folder, job="quantize")
    assert manifest.parents == {"merged": model_digest(model_dir)}
    assert manifest.details["num_layers"] == 14
    assert 0.001 < manifest.details["relative_error"] <= manifest.details["worst_error"] < 0.02


def test_what_is_ignored_is_left_and_named(model_dir):
    folder = quantize(model_dir, ["*.down_proj", "model.layers.1.*"])
    names = {name for name, tensor in read(folder).items() if tensor.dtype == torch.int8}
    assert names == {name for name in read(model_dir) if re.search(r"layers\.0.*(?<!down)_proj", name)}
    ignored = json.loads((folder / "config.json").read_text())["quantization_config"]["ignore"]
    assert {"lm_head", "model.layers.0.mlp.down_proj", "model.layers.1.self_attn.q_proj"} < set(ignored)
    config = CompressedTensorsConfig(dequantize=True)
    AutoModelForCausalLM.from_pretrained(folder, quantization_config=config)


def test_large_model_is_one_shard_in_memory(model_dir, monkeypatch):
    """The model comes in files, and goes out in files that are cut elsewhere."""
    large, tensors, weight_map = 16 << 20, load_file(model_dir / "model.safetensors"), {}
    expected = read(quantize(model_dir))
    (model_dir / "model.safetensors").unlink()
    for number in range(6):
        part = dict(list(tensors.items())[number::6]) | {f"filler.{number}": torch.full((large // 4,), float(number))}
        save_file(part, model_dir / f"part-{number}.safetensors")
        weight_map |= dict.fromkeys(part, f"part-{number}.safetensors")
    (model_dir / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    peaks, before = [], read_private_bytes()

    def save(*args, **kwargs):
        peaks.append(read_private_bytes())
        save_file(*args, **kwargs)

    monkeypatch.setattr(write, "save_file", save)
    folder = quantize(model_dir, max_shard_bytes=large + (1 << 20))
    assert max(peaks) - before < 3 * large
    files = sorted(path.name for path in folder.glob("*.safetensors"))
    assert files == [f"model-{number:05}-of-{len(files):05}.safetensors" for number in range(1, len(files) + 1)]
    assert len(files) >= 6
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    found = {name: load_file(folder / file)[name] for name, file in index["weight_map"].items()}
    assert found.keys() == expected.keys() | {f"filler.{number}" for number in range(6)}
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in found.values())
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor)


def read_private_bytes():
    """Memory of this process without the files that are mapped into it."""
    return int(re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) << 10


def refuse(model_dir, *ignore):
    """Return the message; what stood there before must still stand, and nothing else."""
    folder = model_dir.parent / "quantized"
    folder.mkdir()
    (folder / "earlier").touch()
    with pytest.raises(UserError) as refused:
        quantize(model_dir, ignore)
    assert [path.name for path in folder.iterdir()] == ["earlier"]
    assert not list(model_dir.parent.glob(".*"))
    return str(refused.value)


def test_quantized_model_is_not_quantized_again(model_dir):
    again = model_dir.parent / "again"
    quantize(model_dir).rename(again)
    assert f"model {again} is quantized already; set `quantize.model` or `model.source`" in refuse(again)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite(model_dir, value):
    change(model_dir, mlp__down_proj=lambda weight: weight.index_fill(0, torch.tensor(3), value))
    message = refuse(model_dir)
    assert (
        f"{model_dir}/model.safetensors: model.layers.0.mlp.down_proj.weight has values that are not finite" in message
    )


def test_weights_of_another_kind(model_dir):
    change(model_dir, self_attn__q_proj=lambda weight: weight.to(torch.float8_e4m3fn))
    assert "model.layers.0.self_attn.q_proj.weight is kept as torch.float8_e4m3fn; set" in refuse(model_dir)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (GPT2Config(n_embd=8, n_layer=1, n_head=2), "has no linear layer to quantize: its architecture has none"),
        (
            MixtralConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2),
            r"is a mixture of experts (model.layers.0.mlp.experts), whose weights are no linear layers",
        ),
    ],
)
def test_architecture_without_linear_layers(model_dir, config, reason):
    config.save_pretrained(model_dir)
    assert f"model {model_dir} {reason}" in refuse(model_dir)


def test_architecture_that_is_unknown(model_dir):
    (model_dir / "config.json").write_text('{"model_type": "abacus"}')
    assert "builds no causal language model from its config.json (ValueError" in refuse(model_dir)


def test_damaged_weights(model_dir):
    with (model_dir / "model.safetensors").open("r+b") as stream:
        stream.truncate(100_000)
    assert f"model {model_dir}: its weights cannot be read (SafetensorError" in refuse(model_dir)


def test_weights_in_another_format(model_dir):
    (model_dir / "model.safetensors").rename(model_dir / "model.bin")
    assert "have no model.layers.0.self_attn.q_proj.weight; save it with `save_pretrained`" in refuse(model_dir)


def test_pattern_that_fits_nothing(model_dir):
    message = refuse(model_dir, "*.down_proj", "down_proj")
    assert "no linear layer of" in message
    assert "'down_proj'; they are called model.layers.0.self_attn.q_proj, " in message


def test_patterns_that_leave_nothing(model_dir):
    assert "`quantize.ignore` leaves none" in refuse(model_dir, "*")


def test_pattern_that_divides_what_runs_as_one(model_dir):
    message = refuse(model_dir, "*.layers.1.*.k_proj")
    assert "names model.layers.1.self_attn.k_proj, but not q_proj, v_proj beside it" in message
    assert "name all of q_proj, k_proj, v_proj, or none" in message
