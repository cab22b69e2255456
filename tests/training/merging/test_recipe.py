"""What must not be combined: every message names the thing and the remedy."""

import re
import shutil

import pytest
import torch
from lora_files import MODULES, save_adapter
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from transformers import Qwen3MoeConfig

from eshop_ray import artifacts
from eshop_ray.config import Config, LoraSection, MergeSection
from eshop_ray.config.experiment import EQUAL_RANKS, METHODS
from eshop_ray.errors import UserError
from eshop_ray.training.merging.adapters import AdapterFile
from eshop_ray.training.merging.recipe import Recipe, check_combinable, check_merge


@pytest.fixture
def pair(tiny_model_dir, tmp_path):
    return [save_adapter(tiny_model_dir, tmp_path / name, seed) for seed, name in enumerate(("ner", "ranking"))]


def refuse(adapters, **merge):
    with pytest.raises(UserError) as refused:
        check_merge(adapters, MergeSection(**merge))
    return str(refused.value)


@pytest.mark.parametrize("method", METHODS)
def test_good_adapters_pass(pair, method):
    digests = tuple(adapter.digest for adapter in pair)
    check_merge(pair, MergeSection(method=method, weights=(0.5, -1), density=0.5, digests=digests))


def test_adapter_knows_its_name_and_modules(pair):
    adapter = pair[0]
    assert adapter.name == "ner"
    assert adapter.modules == tuple(
        sorted(f"model.layers.{n}.{'mlp' if m == 'down_proj' else 'self_attn'}.{m}" for n in (0, 1) for m in MODULES)
    )
    assert (adapter.extras, adapter.max_rank, {adapter.rank(module) for module in adapter.modules}) == ((), 4, {4})
    factor_a, factor_b = adapter.read("model.layers.0.mlp.down_proj")
    assert (factor_a.shape, factor_b.shape) == ((4, 128), (64, 4))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ((1.0,), "has 1 weights, and there are 2 adapters; give one weight per adapter"),
        ((0.0, 0.0), "are all 0"),
        ((1.0, float("nan")), "1.0, nan: not all of them are finite"),
        ((float("inf"), 1.0), "not all of them are finite"),
    ],
)
def test_weights_that_cannot_be(pair, weights, message):
    assert message in refuse(pair, weights=weights)


def test_same_adapter_twice(pair, tmp_path):
    copy = shutil.copytree(pair[0].folder, tmp_path / "copy")
    message = refuse([*pair, AdapterFile.open(copy)])
    assert f"adapters {pair[0].folder} and {copy} are the same" in message


def test_recipe_of_other_adapters(pair):
    digests = (pair[0].digest, "0" * 64)
    message = refuse(pair, digests=digests)
    for part in (str(pair[1].folder), "0" * 12, pair[1].digest[:12], "eshop search-merge"):
        assert part in message
    assert "has 1 digests" in refuse(pair, digests=digests[:1])


def test_adapters_of_two_bases(pair, tiny_model_dir, tmp_path):
    other = save_adapter(tiny_model_dir, tmp_path / "other", 5, base="1" * 64)
    message = refuse([*pair, other])
    for part in (str(pair[0].folder), str(other.folder), str(pair[0].base)[:12], "1" * 12, str(tiny_model_dir)):
        assert part in message


@pytest.mark.parametrize("method", METHODS)
def test_ranks_that_differ(pair, tiny_model_dir, tmp_path, method):
    adapters = [*pair, save_adapter(tiny_model_dir, tmp_path / "large", 5, rank_pattern={"1.mlp.down_proj": 8})]
    if method not in EQUAL_RANKS:
        check_merge(adapters, MergeSection(method=method))
        return
    message = refuse(adapters, method=method)
    assert f"`merge.method: {method}`" in message
    assert "model.layers.1.mlp.down_proj has rank 4 in ner, 4 in ranking, 8 in large" in message
    assert "set `cat` or `svd` or `ties_svd`" in message


@pytest.mark.parametrize(
    "settings", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}, {"target_modules": ["embed_tokens"]}]
)
def test_more_than_plain_lora(pair, tiny_model_dir, tmp_path, settings):
    other = save_adapter(tiny_model_dir, tmp_path / "other", 5, **settings)
    message = refuse([*pair, other])
    assert f"{other.folder} is more than plain LoRA (" in message
    assert other.extras[0] in message


def test_adapters_that_will_not_go_together_are_told_before_training(tiny_model_dir, tmp_path):
    for plain in ({}, {"use_rslora": True, "rank_pattern": {"q_proj": 2}}, {"velora_config": {"num_groups": 4}}):
        check_combinable(tiny_model_dir, LoraSection(options=plain))
    with pytest.raises(UserError, match=r"`merged` combines plain LoRA, .* more \(use_dora, .*take `merged` out"):
        check_combinable(tiny_model_dir, LoraSection(options={"use_dora": True}))
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "head_dim": 16}
    Qwen3MoeConfig(**small, num_key_value_heads=2, num_experts=2, num_experts_per_tok=1).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"more \(target_parameters\).*experts are updated as stacks"):
        check_combinable(tmp_path, LoraSection())
    check_combinable(tmp_path, LoraSection(target_modules=("q_proj", "k_proj", "v_proj", "o_proj")))


def test_fully_trained_model(tiny_model_dir, tmp_path):
    folder = shutil.copytree(tiny_model_dir, tmp_path / "adapter")
    artifacts.write_manifest(folder, "adapter", "inputs", {})
    with pytest.raises(UserError, match="holds a fully trained model: only adapters can be combined"):
        AdapterFile.open(folder)


def test_folder_without_an_adapter(pair, tmp_path):
    with pytest.raises(UserError, match=r"none is missing or incomplete; run `eshop train-lora`"):
        AdapterFile.open(tmp_path / "none")
    (pair[0].folder / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"no adapter there \(adapter_model\.safetensors is missing\)"):
        AdapterFile.open(pair[0].folder)


def test_damaged_adapter(pair):
    with (pair[1].folder / "adapter_config.json").open("a") as stream:
        stream.write(" ")
    assert re.search(r"ranking/adapter is damaged \(\S*adapter_config\.json: changed since", refuse(pair))


def test_values_that_are_not_finite(pair):
    path = pair[1].folder / "adapter_model.safetensors"
    weights = load_file(path)
    weights = {name: weight.clone() for name, weight in weights.items()}
    weights["base_model.model.model.layers.1.mlp.down_proj.lora_B.weight"][3, 1] = torch.nan
    save_file(weights, path)
    artifacts.write_manifest(pair[1].folder, "adapter", "inputs", pair[1].manifest.parents)
    message = refuse([pair[0], AdapterFile.open(pair[1].folder)])
    assert "ranking/adapter cannot be folded (values of model.layers.1.mlp.down_proj are not finite)" in message


@pytest.mark.parametrize("density", [0, -0.5, 1.01])
def test_density_outside_its_range(density):
    with pytest.raises(ValidationError, match=r"merge\.density\n.*(greater than 0|less than or equal to 1)"):
        Config.model_validate({"name": "run", "merge": {"density": density}})


def test_recipe_is_the_same_wherever_adapters_lie(pair, tiny_model_dir, tmp_path):
    config = Config(
        name="run",
        run_root=str(tmp_path),
        merge={"adapters": [str(adapter.folder) for adapter in pair], "density": 0.5},
    )
    recipe = Recipe.of(config, tiny_model_dir)
    assert list(recipe.parents) == ["base", "adapter.0", "adapter.1"]
    assert recipe.settings["weights"] == [0.5, 0.5]
    moved = [str(shutil.copytree(adapter.folder, tmp_path / f"moved{n}")) for n, adapter in enumerate(pair)]
    assert Recipe.of(merge_with(config, adapters=moved), tiny_model_dir).inputs == recipe.inputs
    for changed in ({"density": 0.6}, {"adapters": moved[::-1]}, {"weights": (0.5, 0.4)}, {"wise_ft": 0.9}):
        assert Recipe.of(merge_with(config, **changed), tiny_model_dir).inputs != recipe.inputs


def merge_with(config, **settings):
    return config.model_copy(update={"merge": config.merge.model_copy(update=settings)})


def test_own_adapter_needs_no_settings(pair, tiny_model_dir, tmp_path):
    recipe = Recipe.of(Config(name="ner", run_root=str(tmp_path)), tiny_model_dir)
    assert recipe.adapter_dirs == (pair[0].folder,)
    assert recipe.settings == {}
    assert recipe.inputs == artifacts.fingerprint({"base": pair[0].base, "adapter": pair[0].digest})
