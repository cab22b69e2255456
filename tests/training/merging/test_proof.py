"""A merged model is held against what its adapters say."""

import logging
import shutil

import psutil
import pytest
from safetensors.torch import load_file, save_file

from eshop_ray.config import MergeSection
from eshop_ray.errors import UserError
from eshop_ray.training.merging import fold, proof
from eshop_ray.training.merging.fold import write_merged
from eshop_ray.training.merging.proof import check_answers
from eshop_ray.training.merging.recipe import Recipe
from tests.training.merging.lora_files import save_adapter


@pytest.fixture
def adapters(tiny_model_dir, tmp_path):
    return [save_adapter(tiny_model_dir, tmp_path / name, seed) for seed, name in enumerate("ab")]


def make_recipe(model_dir, adapters, **merge):
    return Recipe(model_dir, tuple(adapter.folder for adapter in adapters), MergeSection(**merge), 0)


@pytest.mark.parametrize(
    ("num_adapters", "merge"),
    [(1, {}), (1, {"wise_ft": 0.3}), (2, {"weights": (0.8, -0.3)}), (2, {"method": "ties", "density": 0.5})],
)
def test_merged_model_answers_like_base_and_adapters(tiny_model_dir, adapters, tmp_path, num_adapters, merge):
    recipe = make_recipe(tiny_model_dir, adapters[:num_adapters], **merge)
    write_merged(recipe, tmp_path / "merged")
    error = check_answers(tiny_model_dir, adapters[:num_adapters], recipe.merge, 0, tmp_path / "merged")
    assert 0 < error < 1e-5


@pytest.mark.parametrize(("num_adapters", "merge"), [(1, {}), (1, {"wise_ft": 0.3}), (2, {"weights": (0.8, -0.3)})])
def test_merge_that_changes_nothing_is_no_merge(tiny_model_dir, adapters, monkeypatch, tmp_path, num_adapters, merge):
    monkeypatch.setattr(fold, "check_folded", lambda *_args: None)
    monkeypatch.setattr(
        fold, "combine_module", lambda *args: tuple(0 * factor for factor in proof.combine_module(*args))
    )
    with pytest.raises(UserError, match="the merged model answers otherwise than base and adapter"):
        write_merged(make_recipe(tiny_model_dir, adapters[:num_adapters], **merge), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_one_module_that_is_not_merged_is_seen(tiny_model_dir, adapters, tmp_path):
    recipe, merged = make_recipe(tiny_model_dir, adapters[:1]), tmp_path / "merged" / "model.safetensors"
    write_merged(recipe, merged.parent)
    name = "model.layers.1.mlp.down_proj.weight"
    own = load_file(tiny_model_dir / "model.safetensors")[name]
    save_file(load_file(merged) | {name: own}, merged, {"format": "pt"})
    with pytest.raises(UserError, match="answers otherwise"):
        check_answers(tiny_model_dir, adapters[:1], recipe.merge, 0, merged.parent)


def test_model_larger_than_memory_is_not_asked(tiny_model_dir, adapters, monkeypatch, caplog, tmp_path):
    shutil.copytree(tiny_model_dir, tmp_path / "merged")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 1000}))
    with caplog.at_level(logging.WARNING):
        assert check_answers(tiny_model_dir, adapters[:1], MergeSection(), 0, tmp_path / "merged") is None
    assert "answers of base and merged model are not compared" in caplog.text
