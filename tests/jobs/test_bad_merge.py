"""Bad recipes through the command line: one message that names thing and remedy, and the earlier model stays."""

import shutil

import pytest
import torch
import yaml

from eshop_ray import artifacts
from eshop_ray.cli import run_job
from eshop_ray.config import LoraSection, TrainSection
from eshop_ray.models import model_digest
from eshop_ray.training.model import build_model, save_trained


@pytest.fixture(scope="module")
def adapters_dir(tiny_model_dir, tmp_path_factory):
    """Adapters of one base, the last of a larger rank."""
    folder = tmp_path_factory.mktemp("experiment") / "adapters"
    for seed, (name, rank) in enumerate({"ner": 4, "ranking": 4, "large": 8}.items()):
        model = build_model(
            tiny_model_dir, TrainSection(precision="fp32"), LoraSection(r=rank), seed, torch.device("cpu")
        )
        weights = {name: weight.detach() for name, weight in model.named_parameters() if weight.requires_grad}
        save_trained(weights, model, folder / name / "adapter")
        parents = {"base": model_digest(tiny_model_dir)}
        artifacts.write_manifest(folder / name / "adapter", "adapter", "inputs", parents)
    return folder


@pytest.fixture
def adapters(adapters_dir, tmp_path):
    return {path.name: path / "adapter" for path in shutil.copytree(adapters_dir, tmp_path / "adapters").iterdir()}


@pytest.fixture
def refuse(adapters, tiny_model_dir, tmp_path, capsys):
    """Return a function that merges adapters, which must be refused, and returns the message."""

    def run(*names, model_dir=tiny_model_dir, **merge):
        merged = tmp_path / "runs" / "run" / "merged"
        merged.mkdir(parents=True, exist_ok=True)
        (merged / "earlier").touch()
        merge = {"adapters": [str(adapters[name]) for name in names], **merge}
        config = {
            "name": "run",
            "run_root": str(tmp_path / "runs"),
            "model": {"source": str(model_dir)},
            "merge": merge,
        }
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(config))
        with pytest.raises(SystemExit) as stopped:
            run_job("merge_lora", [str(tmp_path / "recipe.yaml")])
        assert stopped.value.code == 2
        assert [path.name for path in merged.iterdir()] == ["earlier"]
        return capsys.readouterr().err.strip().partition("error: ")[2]

    return run


def test_weights_that_do_not_match_the_adapters(refuse):
    message = refuse("ner", "ranking", weights=[1, 2, 3])
    assert "`merge.weights` has 3 weights, and there are 2 adapters; give one weight per adapter" in message


def test_ranks_that_differ(refuse):
    message = refuse("ner", "large", method="ties")
    assert "needs equal ranks" in message
    assert "4 in ner, 8 in large; set `cat` or `svd`" in message


def test_same_adapter_twice(refuse, adapters):
    assert f"adapters {adapters['ner']} and {adapters['ner']} are the same" in refuse("ner", "ranking", "ner")


def test_recipe_of_another_experiment(refuse, adapters):
    digests = [artifacts.find_manifest(adapters["ner"]).digest, "0" * 64]
    message = refuse("ner", "ranking", digests=digests)
    assert f"the recipe was found for another adapter than {adapters['ranking']}" in message
    assert "run `eshop search-merge` again" in message


@pytest.mark.parametrize("density", [0, 1.5])
def test_density_outside_its_range(refuse, density):
    assert "`merge.density`" in refuse("ner", "ranking", method="ties", density=density)


def test_method_that_is_none(refuse):
    assert "`merge.method`" in refuse("ner", "ranking", method="slerp")


def test_base_that_they_were_not_trained_on(refuse, adapters, tiny_model_dir, tmp_path):
    other = shutil.copytree(tiny_model_dir, tmp_path / "other")
    (other / "notes.txt").write_text("another model")
    message = refuse("ner", "ranking", model_dir=other)
    for part in (str(adapters["ner"]), str(tiny_model_dir), model_digest(tiny_model_dir)[:12], str(other)):
        assert part in message
    assert "set `model.source` to the adapter's base, or train again" in message


def test_one_adapter_of_another_base(refuse, adapters, tiny_model_dir):
    artifacts.write_manifest(adapters["ranking"], "adapter", "inputs", {"base": "0" * 64})
    message = refuse("ner", "ranking")
    assert f"adapter {adapters['ranking']} was trained on" in message
    assert "(digest 000000000000)" in message
    assert str(tiny_model_dir) in message


def test_damaged_adapter(refuse, adapters):
    with (adapters["ranking"] / "adapter_model.safetensors").open("ab") as stream:
        stream.write(b"x")
    assert f"adapter {adapters['ranking']} is damaged (" in refuse("ner", "ranking")


def test_folder_without_an_adapter(refuse, adapters):
    shutil.rmtree(adapters["ranking"])
    message = refuse("ner", "ranking")
    assert f"{adapters['ranking']} is missing or incomplete; run `eshop train-lora`" in message


def test_fully_trained_model(refuse, adapters, tiny_model_dir):
    shutil.rmtree(adapters["ranking"])
    folder = shutil.copytree(tiny_model_dir, adapters["ranking"])
    artifacts.write_manifest(folder, "adapter", "inputs", {"base": model_digest(tiny_model_dir)})
    assert f"{folder} holds a fully trained model: only adapters can be combined" in refuse("ner", "ranking")
