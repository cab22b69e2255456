"""What llm-compressor is asked, and what becomes of the folder that it leaves."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from eshop_ray import artifacts
from eshop_ray.config import Config
from eshop_ray.config.quantization import QuantizeSection
from eshop_ray.errors import UserError
from eshop_ray.inference.quantization import compressed
from eshop_ray.inference.quantization.compressed import Compression, write_compressed
from eshop_ray.inference.quantization.layers import find_layers
from eshop_ray.inference.quantization.recipe import FP8, build_recipe
from eshop_ray.models import model_digest

PACKAGES = ("compressed-tensors==0.18.0", "llmcompressor==0.13.0", "tqdm==4.70.0")
IDS = [[3, 4, 5], [6, 7]]


@pytest.fixture
def model_dir(tiny_model_dir, tmp_path):
    """A copy to break: 64 inputs of most layers, 128 of `o_proj` and `down_proj`."""
    return shutil.copytree(tiny_model_dir, tmp_path / "merged")


def change(model_dir, end, shape=None, value=None):
    """Give the first tensor of such a name another shape, or one value that is not finite."""
    weights = load_file(model_dir / "model.safetensors")
    name = next(name for name in weights if name.endswith(end))
    weights[name] = torch.zeros(shape) if shape else weights[name].index_fill(0, torch.tensor(1), value)
    save_file(weights, model_dir / "model.safetensors", metadata={"format": "pt"})


def test_groups_divide_the_inputs_of_every_layer(model_dir):
    recipe = build_recipe("w4a16_gptq", find_layers(model_dir, []))
    assert recipe["method"] == "gptq"
    assert recipe["ignore"] == ["lm_head"]
    assert recipe["group_size"] == recipe["config_groups"]["group_0"]["weights"]["group_size"] == 64
    ignore = ["*.self_attn.[qkv]_proj", "*.gate_proj", "*.up_proj"]
    recipe = build_recipe("w4a16_awq", find_layers(model_dir, ignore))
    assert recipe["group_size"] == 128
    assert recipe["config_groups"]["group_0"]["weights"]["symmetric"] is False
    change(model_dir, "down_proj.weight", (64, 96))
    assert build_recipe("w4a16_awq", find_layers(model_dir, ignore))["group_size"] == 32


def test_layer_that_no_group_divides(model_dir):
    change(model_dir, "layers.0.mlp.down_proj.weight", (64, 100))
    with pytest.raises(UserError) as refused:
        build_recipe("w4a16_gptq", find_layers(model_dir, []))
    assert "model.layers.0.mlp.down_proj has 100 inputs, which groups of 128, 64, 32 do not" in str(refused.value)
    assert build_recipe("fp8", find_layers(model_dir, []))["config_groups"] == {"group_0": FP8}


def leave(folder, config):
    """Write what llm-compressor leaves beside the weights."""
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "recipe.yaml").touch()


@pytest.fixture
def job(model_dir, tmp_path, monkeypatch):
    """Return a function that quantizes to fp8, with a stand-in for llm-compressor."""

    def run_apart(_ray, packages, num_gpus, _function, _source, folder, recipe, rows, seed):
        calls.append((packages, num_gpus, recipe, rows, seed))
        leave(Path(folder), {"made": "by another release", "quantization_config": {"format": "float-quantized"}})
        shutil.copyfile(model_dir / "model.safetensors", Path(folder) / "model.safetensors")

    calls = []
    monkeypatch.setattr(compressed, "run_apart", run_apart)
    monkeypatch.setattr(compressed, "read_calibration", lambda *_: IDS)

    def build(**settings):
        section = QuantizeSection(**{"scheme": "fp8", **settings})
        config = Config(name="run", run_root=str(tmp_path), quantize=section, seed=7)
        return Compression(model_dir, config, PACKAGES)

    build.calls = calls
    return build


def test_folder_is_the_parents_but_for_the_weights(job, model_dir, tmp_path):
    folder = tmp_path / "quantized"
    work = job(use_gpu=True)
    details = write_compressed(work, folder)
    assert {path.name for path in folder.iterdir()} == {path.name for path in model_dir.iterdir()} | {"manifest.json"}
    config = json.loads((folder / "config.json").read_text())
    assert config.pop("quantization_config") == {"format": "float-quantized"}
    assert config == json.loads((model_dir / "config.json").read_text())
    assert (folder / "tokenizer.json").read_bytes() == (model_dir / "tokenizer.json").read_bytes()
    manifest = artifacts.read_manifest(folder, job="quantize")
    assert manifest.parents == {"merged": model_digest(model_dir)}
    assert artifacts.is_current(folder, work.inputs)
    assert manifest.details == details
    assert "num_calibration_rows" not in details
    assert details["libraries"] == ["compressed-tensors==0.18.0", "llmcompressor==0.13.0"]
    assert details["num_bytes"] == details["num_bytes_before"] == (folder / "model.safetensors").stat().st_size
    ((packages, num_gpus, recipe, rows, seed),) = job.calls
    assert (packages, num_gpus, rows, seed) == (PACKAGES, 1, [], 7)
    assert recipe["method"] == "round"


def test_what_a_model_was_calibrated_on_is_told(job, tmp_path):
    records = tmp_path / "run" / "records" / "task=ner" / "split=train"
    records.mkdir(parents=True)
    artifacts.write_manifest(tmp_path / "run" / "records", "records", "inputs", {})
    work = job(scheme="w4a16_gptq")
    details = write_compressed(work, tmp_path / "quantized")
    assert details["group_size"] == 64
    assert details["num_calibration_rows"] == 2
    assert details["num_calibration_tokens"] == 5
    assert details["calibration_digest"] == artifacts.fingerprint(IDS)
    assert work.parents.keys() == {"merged", "records"}
    assert job(scheme="w4a16_gptq", num_calibration_rows=3).inputs != work.inputs
    assert job(scheme="w4a16_awq").inputs != work.inputs


def test_what_makes_a_model_stale(job):
    inputs = job().inputs
    assert job(max_lost_share=0.5, use_gpu=True, num_calibration_rows=3).inputs == inputs
    assert job(ignore=("*.down_proj",)).inputs != inputs
    other = Compression(job().model_dir, job().config, ("llmcompressor==0.14.0",))
    assert other.inputs != inputs


def test_nothing_is_asked_of_a_model_that_cannot_be_quantized(job, model_dir, tmp_path):
    change(model_dir, "layers.1.mlp.up_proj.weight", value=math.inf)
    with pytest.raises(UserError, match="has values that are not finite"):
        write_compressed(job(), tmp_path / "quantized")
    assert not job.calls


def test_library_that_leaves_nothing_leaves_nothing_of_ours(job, monkeypatch, tmp_path):
    def run_apart(_ray, _packages, _num_gpus, _function, _source, folder, *_):
        leave(Path(folder), {})

    monkeypatch.setattr(compressed, "run_apart", run_apart)
    with pytest.raises(UserError, match="has left no quantized weights"):
        write_compressed(job(), tmp_path / "quantized")
    assert not (tmp_path / "quantized").exists()
