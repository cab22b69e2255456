"""A scheme that no kernel runs is refused before any work, with those that run."""

import contextlib
import json

import pytest
import torch

from eshop_ray.errors import UserError
from eshop_ray.inference.quantization import platform
from eshop_ray.inference.quantization.platform import SCHEMES, check_model, check_scheme, find_scheme, list_schemes
from eshop_ray.inference.quantization.recipe import FP8
from eshop_ray.inference.quantization.write import W8A8


@pytest.fixture
def gpu(monkeypatch):
    """Return a function that gives this machine a GPU, or none."""
    return lambda capability: monkeypatch.setattr(platform, "_find_capability", lambda: capability)


@pytest.mark.parametrize(
    ("capability", "missing"),
    [
        (None, ()),
        ((7, 0), SCHEMES),
        ((7, 5), ()),
        ((8, 9), ()),
        ((9, 0), ()),
        ((10, 0), ("w8a8",)),
        ((12, 0), ("w8a8",)),
    ],
)
def test_schemes_of_a_platform(capability, missing):
    assert set(SCHEMES) - set(list_schemes(capability)) == set(missing)


def test_refusal_names_what_runs(gpu):
    gpu((12, 0))
    with pytest.raises(UserError) as refused:
        check_scheme("w8a8", use_gpu=True)
    assert "`quantize.scheme` is w8a8, for which vLLM has no kernel" in str(refused.value)
    assert "(compute capability 12.0); choose fp8 or w4a16_gptq or w4a16_awq" in str(refused.value)
    check_scheme("w8a8", use_gpu=False)
    gpu((7, 0))
    with pytest.raises(UserError, match="use the model as it is"):
        check_scheme("fp8", use_gpu=True)


def test_gpu_that_is_not_here_is_not_judged(gpu):
    gpu(None)
    check_scheme("w8a8", use_gpu=True)


@pytest.mark.parametrize(
    ("capability", "use_gpu", "message"),
    [(None, False, "fp8 on a CPU"), ((8, 0), True, "weights only"), ((9, 0), True, None)],
)
def test_what_is_slow_is_said(gpu, caplog, capability, use_gpu, message):
    gpu(capability)
    check_scheme("fp8", use_gpu)
    assert (message in caplog.text) if message else not caplog.text


def write_model(folder, **quantization_config):
    (folder / "config.json").write_text(json.dumps({"quantization_config": quantization_config}))
    return folder


def test_model_is_judged_by_its_own_config(gpu, tmp_path):
    gpu((10, 0))
    check_model(write_model(tmp_path, quant_method="compressed-tensors", config_groups={"group_0": FP8}), use_gpu=True)
    check_model(write_model(tmp_path, quant_method="awq"), use_gpu=True)
    (tmp_path / "config.json").write_text("{}")
    check_model(tmp_path, use_gpu=True)
    folder = write_model(tmp_path, quant_method="compressed-tensors", config_groups={"group_0": W8A8})
    with pytest.raises(UserError, match=f"the scheme of model {folder} is w8a8"):
        check_model(folder, use_gpu=True)


@pytest.mark.parametrize("has_amx", [True, False])
def test_type_that_a_cpus_int8_kernel_cannot_take_is_known_before_the_start(has_amx, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx)
    folder = write_model(tmp_path, quant_method="compressed-tensors", config_groups={"group_0": W8A8})
    for dtype in (None, "auto", "bfloat16"):
        check_model(folder, use_gpu=False, dtype=dtype)
    refused = pytest.raises(UserError, match=r"`engine_kwargs.dtype` to bfloat16, now float32")
    with refused if has_amx else contextlib.nullcontext():
        check_model(folder, use_gpu=False, dtype="float32")


def test_int4_is_known_by_its_weights():
    weights = {"num_bits": 4, "type": "int", "group_size": 64}
    group = {"weights": weights, "input_activations": None}
    config = {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}}
    assert find_scheme(config) == "w4a16_gptq"
    config["config_groups"]["group_0"] = {"weights": {**weights, "num_bits": 3}}
    assert find_scheme(config) is None
