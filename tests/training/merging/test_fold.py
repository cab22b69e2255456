"""What is folded in is what PEFT and memory would give, however large the base."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from lora_files import load_peft, save_adapter
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from eshop_ray import artifacts
from eshop_ray.config import LoraSection, MergeSection, TrainSection
from eshop_ray.errors import UserError
from eshop_ray.models import model_digest, shards
from eshop_ray.training.merging import fold
from eshop_ray.training.merging.adapters import AdapterFile
from eshop_ray.training.merging.fold import fold_adapter, read_dtype, write_merged
from eshop_ray.training.merging.recipe import Recipe, check_adapter
from eshop_ray.training.model import build_model, check_method, save_trained
from tests.training.adapter_road import save_base


@pytest.fixture
def base_digest(tiny_model_dir):
    return model_digest(tiny_model_dir)


def build(model_dir, **train):
    """Return a model whose adapter, if it has one, is not zero."""
    train = TrainSection(**{"precision": "fp32", **train})
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


def test_a_quantized_base_is_refused_before_anything_is_loaded(adapter_dir, tiny_model_dir, tmp_path):
    base = shutil.copytree(tiny_model_dir, tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "gptq"}}))
    with pytest.raises(UserError, match=r"is kept quantized \(gptq\).*`eshop quantize`"):
        write_merged(make_recipe(base, adapter_dir), tmp_path / "merged")
    with pytest.raises(UserError, match=r"is kept quantized \(gptq\)"):
        check_method(TrainSection(), LoraSection(), base)


@pytest.mark.parametrize("share", [0.0, 0.9])
def test_a_merge_that_is_not_base_plus_update_leaves_nothing(adapter_dir, tiny_model_dir, tmp_path, monkeypatch, share):
    def add_less(located, change, dtype, folder, max_shard_bytes):
        def lose(name, weight):
            return weight + share * (change(name, weight.clone()) - weight)

        shards.write_shards(located, lose, dtype, folder, max_shard_bytes)

    monkeypatch.setattr(fold, "write_shards", add_less)
    with pytest.raises(
        UserError, match=r"differs from base plus adapter by \S+ \(rounding explains .*nothing was kept"
    ):
        write_merged(make_recipe(tiny_model_dir, adapter_dir), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


@pytest.fixture
def in_memory(monkeypatch):
    """Return a list of the adapters that are folded in memory."""
    folded = []
    monkeypatch.setattr(fold, "fold_adapter", lambda *args: folded.append(args[1]) or fold_adapter(*args))
    return folded


def make_recipe(model_dir, *adapter_dirs, **merge):
    return Recipe(model_dir, adapter_dirs, MergeSection(**merge), 0)


@torch.no_grad()
def logits(model):
    return model(input_ids=torch.arange(3, 60)[None]).logits


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder)


def test_merged_logits_are_those_of_base_and_adapter(adapter_model, adapter_dir, tiny_model_dir):
    expected = logits(adapter_model)
    assert not torch.allclose(logits(load(tiny_model_dir)), expected, atol=0.1)
    torch.testing.assert_close(logits(fold_adapter(tiny_model_dir, adapter_dir)), expected, atol=1e-4, rtol=0)


def test_merged_folder_is_a_model_of_its_own(adapter_model, adapter_dir, tiny_model_dir, base_digest, tmp_path):
    merged_dir = tmp_path / "merged"
    write_merged(make_recipe(tiny_model_dir, adapter_dir), merged_dir)
    merged = load(merged_dir)
    torch.testing.assert_close(logits(merged), logits(adapter_model), atol=1e-4, rtol=0)
    assert not any("lora" in name for name in merged.state_dict())
    assert read_dtype(merged_dir) == "float32"
    assert "<|im_start|>" in (merged_dir / "chat_template.jinja").read_text()
    manifest = artifacts.read_manifest(merged_dir, job="merge_lora")
    assert manifest.parents == {"base": base_digest, "adapter": artifacts.digest_dir(adapter_dir)}
    assert manifest.details["dtype"] == "float32"
    assert 0 <= manifest.details["logits_error"] < 1e-5


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_streamed_files_are_those_that_transformers_writes(adapter_dir, tiny_model_dir, in_memory, tmp_path, dtype):
    model_dir = tmp_path / "base"
    load(tiny_model_dir).to(getattr(torch, dtype)).save_pretrained(model_dir)
    for path in tiny_model_dir.glob("*.j*"):
        if not (model_dir / path.name).exists():
            shutil.copy(path, model_dir)
    artifacts.write_manifest(adapter_dir, "adapter", "inputs", {"base": model_digest(model_dir)})
    write_merged(make_recipe(model_dir, adapter_dir), tmp_path / "merged")
    assert not in_memory
    fold_adapter(model_dir, adapter_dir).to(getattr(torch, dtype)).save_pretrained(tmp_path / "expected")
    for path in (tmp_path / "expected").iterdir():
        if path.suffix == ".json":
            assert json.loads((tmp_path / "merged" / path.name).read_text()) == json.loads(path.read_text())
    found, expected = (load_file(tmp_path / name / "model.safetensors") for name in ("merged", "expected"))
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        assert torch.equal(found[name], weight)


def test_large_base_is_one_shard_in_memory(adapter_dir, tiny_model_dir, monkeypatch, tmp_path):
    """The base comes in files, and goes out in files that are cut elsewhere."""
    model_dir, large = tmp_path / "base", 16 << 20
    shutil.copytree(tiny_model_dir, model_dir)
    (model_dir / "model.safetensors").unlink()
    tensors = load_file(tiny_model_dir / "model.safetensors")
    weight_map = {}
    for number in range(8):
        part = dict(list(tensors.items())[number::8]) | {f"filler.{number}": torch.full((large // 4,), float(number))}
        shards.save_file(part, model_dir / f"part-{number}.safetensors")
        weight_map |= dict.fromkeys(part, f"part-{number}.safetensors")
    (model_dir / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    artifacts.write_manifest(adapter_dir, "adapter", "inputs", {"base": model_digest(model_dir)})
    peaks, save_file = [], shards.save_file

    def save(*args, **kwargs):
        peaks.append(read_private_bytes())
        save_file(*args, **kwargs)

    monkeypatch.setattr(shards, "save_file", save)
    recipe, merged_dir = make_recipe(model_dir, adapter_dir), tmp_path / "merged"
    recipe.check()
    before = read_private_bytes()
    write_merged(recipe, merged_dir, max_shard_bytes=large + (1 << 20))
    assert max(peaks) - before < 3 * large
    files = sorted(path.name for path in merged_dir.glob("*.safetensors"))
    assert files == [f"model-{number:05}-of-{len(files):05}.safetensors" for number in range(1, len(files) + 1)]
    assert len(files) >= 8
    index = json.loads((merged_dir / "model.safetensors.index.json").read_text())
    assert index["weight_map"].keys() == weight_map.keys()
    assert index["metadata"]["total_size"] == sum(weight.nbytes for weight in tensors.values()) + 8 * large
    for number in (0, 7):
        with safe_open(merged_dir / index["weight_map"][f"filler.{number}"], framework="pt") as weights:
            assert set(weights.get_tensor(f"filler.{number}").unique().tolist()) == {number}
    assert torch.equal(logits(load(merged_dir)), logits(write_and_load(tiny_model_dir, adapter_dir, tmp_path)))


def write_and_load(model_dir, adapter_dir, tmp_path):
    artifacts.write_manifest(adapter_dir, "adapter", "inputs", {"base": model_digest(model_dir)})
    write_merged(make_recipe(model_dir, adapter_dir), tmp_path / "small")
    return load(tmp_path / "small")


def read_private_bytes():
    """Memory of this process without the files that are mapped into it."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) << 10


def test_several_adapters_are_those_that_peft_combines(tiny_model_dir, base_digest, tmp_path):
    adapters = [save_adapter(tiny_model_dir, tmp_path / name, seed) for seed, name in enumerate("ab")]
    recipe = make_recipe(tiny_model_dir, *(a.folder for a in adapters), weights=(0.8, -0.3), method="ties", density=0.6)
    write_merged(recipe, tmp_path / "merged")
    model = load_peft(tiny_model_dir, adapters)
    model.add_weighted_adapter(["a", "b"], [0.8, -0.3], "both", combination_type="ties", density=0.6)
    model.set_adapter("both")
    torch.testing.assert_close(logits(load(tmp_path / "merged")), logits(model.eval()), atol=1e-4, rtol=0)
    manifest = artifacts.read_manifest(tmp_path / "merged", job="merge_lora")
    assert manifest.parents == {"base": base_digest, "adapter.0": adapters[0].digest, "adapter.1": adapters[1].digest}
    expected = {"method": "ties", "weights": [0.8, -0.3], "density": 0.6, "wise_ft": 1.0, "seed": 0}
    assert expected.items() <= manifest.details.items()


@pytest.mark.parametrize("kind", ["plain", "dora", "full"])
def test_share_of_the_way_from_base_to_trained(tiny_model_dir, base_digest, in_memory, tmp_path, kind):
    if kind == "full":
        model = build(tiny_model_dir, method="full")
        with torch.no_grad():
            for weight in model.parameters():
                weight += 0.01
        adapter_dir = save(model, tmp_path / "adapter", base_digest)
    else:
        adapter_dir = save_adapter(tiny_model_dir, tmp_path, 0, use_dora=kind == "dora").folder
    write_merged(make_recipe(tiny_model_dir, adapter_dir, wise_ft=0.25), tmp_path / "merged")
    assert bool(in_memory) == (kind != "plain")
    base, whole = load(tiny_model_dir).state_dict(), fold_adapter(tiny_model_dir, adapter_dir).state_dict()
    assert not torch.equal(base["model.layers.0.mlp.down_proj.weight"], whole["model.layers.0.mlp.down_proj.weight"])
    for name, weight in load(tmp_path / "merged").state_dict().items():
        torch.testing.assert_close(weight, 0.75 * base[name] + 0.25 * whole[name], atol=1e-6, rtol=0)
    write_merged(make_recipe(tiny_model_dir, adapter_dir, wise_ft=0), tmp_path / "none")
    assert torch.equal(logits(load(tmp_path / "none")), logits(load(tiny_model_dir)))


def test_fully_trained_model_is_taken_as_it_is(tiny_model_dir, base_digest, tmp_path):
    model = build(tiny_model_dir, method="full")
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.01
    adapter_dir, merged_dir = save(model, tmp_path / "adapter", base_digest), tmp_path / "merged"
    write_merged(make_recipe(tiny_model_dir, adapter_dir), merged_dir)
    assert torch.equal(logits(load(merged_dir)), logits(model))
    assert "<|im_start|>" in (merged_dir / "chat_template.jinja").read_text()
    parents = {"base": base_digest, "adapter": artifacts.digest_dir(adapter_dir)}
    assert artifacts.read_manifest(merged_dir, job="merge_lora").parents == parents
    with pytest.raises(UserError, match="was trained on another model"):
        check_adapter(adapter_dir, tiny_model_dir, "0" * 64)


def test_more_than_plain_lora_goes_through_peft(tiny_model_dir, in_memory, tmp_path):
    adapter = save_adapter(tiny_model_dir, tmp_path, 0, use_dora=True)
    write_merged(make_recipe(tiny_model_dir, adapter.folder), tmp_path / "merged")
    assert in_memory == [adapter.folder]
    expected = logits(load_peft(tiny_model_dir, [adapter]).eval())
    torch.testing.assert_close(logits(load(tmp_path / "merged")), expected, atol=1e-4, rtol=0)


def test_adapter_of_a_four_bit_base_folds_into_the_base_on_disk(
    adapter_model, adapter_dir, tiny_model_dir, base_digest, tmp_path
):
    pytest.importorskip("bitsandbytes")
    model = build(tiny_model_dir, method="qlora")
    model.load_state_dict({n: w for n, w in adapter_model.state_dict().items() if "lora_" in n}, strict=False)
    four_bit_dir = save(model, tmp_path / "four_bit", base_digest)
    assert AdapterFile.open(four_bit_dir).extras == ()
    folded = fold_adapter(tiny_model_dir, four_bit_dir)
    assert torch.equal(logits(folded), logits(fold_adapter(tiny_model_dir, adapter_dir)))
    assert {weight.dtype for weight in folded.parameters()} == {torch.float32}


@pytest.mark.parametrize("settings", [{"target_modules": ["lm_head"]}, {"modules_to_save": ["embed_tokens"]}])
def test_embedding_that_the_base_uses_twice(tiny_model_dir, tmp_path, settings):
    adapter = save_adapter(tiny_model_dir, tmp_path, 0, **settings)
    with pytest.raises(UserError, match=r"changes (lm_head|model\.embed_tokens), which the base .* ties to its other"):
        write_merged(make_recipe(tiny_model_dir, adapter.folder), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def keep_as_pickle(model_dir):
    torch.save(load(model_dir).state_dict(), model_dir / "pytorch_model.bin")
    (model_dir / "model.safetensors").unlink()


def keep_under_short_names(model_dir):
    """As base models without a head are published: Transformers adds the prefix."""
    weights = load_file(model_dir / "model.safetensors")
    weights = {name.removeprefix("model."): weight.clone() for name, weight in weights.items()}
    shards.save_file(weights, model_dir / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("keep", [keep_as_pickle, keep_under_short_names])
def test_base_in_another_format_is_folded_in_memory(
    adapter_dir, tiny_model_dir, adapter_model, in_memory, tmp_path, keep
):
    model_dir = shutil.copytree(tiny_model_dir, tmp_path / "base")
    keep(model_dir)
    digest = model_digest(model_dir)
    artifacts.write_manifest(adapter_dir, "adapter", "inputs", {"base": digest})
    write_merged(make_recipe(model_dir, adapter_dir), tmp_path / "merged")
    assert in_memory == [adapter_dir]
    torch.testing.assert_close(logits(load(tmp_path / "merged")), logits(adapter_model), atol=1e-4, rtol=0)


@pytest.mark.parametrize("keep", [keep_as_pickle, keep_under_short_names])
def test_base_in_another_format_takes_several_adapters(tiny_model_dir, tmp_path, keep):
    model_dir = shutil.copytree(tiny_model_dir, tmp_path / "base")
    keep(model_dir)
    merged = []
    for base in (tiny_model_dir, model_dir):
        digest = model_digest(base)
        adapters = [
            save_adapter(tiny_model_dir, tmp_path / name, seed, digest).folder for seed, name in enumerate("ab")
        ]
        merged.append(tmp_path / f"merged-{base.name}")
        write_merged(make_recipe(base, *adapters, method="ties", weights=(0.8, -0.3), density=0.6), merged[-1])
    torch.testing.assert_close(logits(load(merged[1])), logits(load(merged[0])), atol=1e-4, rtol=0)


def test_weights_that_a_base_keeps_turned_take_several_adapters(tiny_model_dir, tmp_path):
    base = save_base("turned", tiny_model_dir, tmp_path / "base")
    names = {"target_modules": ["c_attn", "c_proj"]}  # of the attention's c_proj, both sides are as long
    adapters = [save_adapter(base, tmp_path / name, seed, **names) for seed, name in enumerate("ab")]
    write_merged(make_recipe(base, *(a.folder for a in adapters), weights=(0.8, -0.3)), tmp_path / "merged")
    model = load_peft(base, adapters)
    model.add_weighted_adapter(["a", "b"], [0.8, -0.3], "both", combination_type="cat")
    model.set_adapter("both")
    torch.testing.assert_close(logits(load(tmp_path / "merged").eval()), logits(model.eval()), atol=1e-4, rtol=0)


def test_adapter_of_another_base_names_both(adapter_dir, tiny_model_dir, base_digest, tmp_path):
    other = tmp_path / "other"
    with pytest.raises(UserError) as refused:
        check_adapter(adapter_dir, other, "0" * 64)
    for part in (str(tiny_model_dir), base_digest[:12], str(other), "000000000000", "train again"):
        assert part in str(refused.value)


def test_refused_merge_leaves_the_earlier_model(adapter_dir, tiny_model_dir, tmp_path):
    artifacts.write_manifest(adapter_dir, "adapter", "inputs", {"base": "0" * 64})
    merged_dir = tmp_path / "merged"
    merged_dir.mkdir()
    (merged_dir / "earlier").touch()
    with pytest.raises(UserError):
        write_merged(make_recipe(tiny_model_dir, adapter_dir), merged_dir)
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
    for refused in (lambda: fold_adapter(tiny_model_dir, broken), make_recipe(tiny_model_dir, broken).check):
        with pytest.raises(UserError, match=r"broken cannot be folded .*train again"):
            refused()


def test_adapter_without_manifest_is_incomplete(adapter_dir, tiny_model_dir, base_digest):
    (adapter_dir / artifacts.MANIFEST).unlink()
    with pytest.raises(UserError, match=r"run `eshop train-lora`"):
        check_adapter(adapter_dir, tiny_model_dir, base_digest)


@pytest.mark.parametrize(
    ("config", "dtype"),
    [
        ({"dtype": "float16"}, "float16"),
        ({"torch_dtype": "float16"}, "float16"),
        ({"text_config": {"dtype": "float16"}}, "float16"),
        ({}, "float32"),
    ],
)
def test_precision_is_the_base_models(tmp_path, config, dtype):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert read_dtype(tmp_path) == dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_precision_that_a_config_does_not_tell_is_that_of_the_weights(tmp_path, dtype):
    (tmp_path / "config.json").write_text("{}")
    weights = {"a": torch.zeros(2, dtype=dtype), "b": torch.zeros(2, dtype=dtype), "c": torch.zeros(2)}
    save_file({**weights, "position": torch.arange(3)}, tmp_path / "model.safetensors")
    assert read_dtype(tmp_path) == str(dtype).removeprefix("torch.")
