import shutil
from pathlib import Path

import pytest

from eshop_ray import artifacts
from eshop_ray.config import MergeSection
from eshop_ray.models import model_digest
from eshop_ray.training.merging.fold import write_merged
from eshop_ray.training.merging.recipe import Recipe
from tests.training.merging.lora_files import save_adapter

TASKS = ("classification", "ner_tagging")


def save_expert(model_dir: Path, folder: Path, seed: int, trained_on: list[str]) -> Path:
    """Write an adapter that says what it was trained on, and return its folder."""
    adapter = save_adapter(model_dir, folder, seed)
    parents = {"base": model_digest(model_dir)}
    artifacts.write_manifest(adapter.folder, "adapter", "inputs", parents, {"trained_on": trained_on})
    return adapter.folder


def merge(model_dir: Path, folders: list[Path], merged_dir: Path, **settings) -> Path:
    """Write what a merge makes of adapters, and return its folder."""
    write_merged(Recipe(model_dir, tuple(folders), MergeSection(**settings), 0), merged_dir)
    return merged_dir


@pytest.fixture(scope="session")
def experts(tiny_model_dir, tmp_path_factory):
    """Task -> an adapter of its own."""
    root = tmp_path_factory.mktemp("experts")
    return {task: save_expert(tiny_model_dir, root / task, seed, [task]) for seed, task in enumerate(TASKS)}


@pytest.fixture(scope="session")
def switched_dir(experts, tiny_model_dir, tmp_path_factory):
    """One model that keeps them apart."""
    folder = tmp_path_factory.mktemp("switched") / "merged"
    return merge(tiny_model_dir, list(experts.values()), folder, method="switched")


@pytest.fixture
def teach(make_config):
    """Return a function that makes a config with a teacher."""

    def make(teacher, **train):
        return make_config(teacher=str(teacher), **{"teacher_top_k": 16, **train})

    return make


@pytest.fixture
def copy_model(tiny_model_dir, tmp_path):
    """Return a function that copies the base, to be altered."""

    def make(name="teacher"):
        return Path(shutil.copytree(tiny_model_dir, tmp_path / name))

    return make
