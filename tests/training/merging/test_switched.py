"""A switched model holds, for every task, exactly the weights that merging its adapter alone gives."""

import json

import pytest
import torch
from lora_files import MODULES, save_adapter
from peft import PeftModel
from transformers import AutoModelForCausalLM

from eshop_ray import artifacts
from eshop_ray.config import Config, MergeSection
from eshop_ray.errors import UserError
from eshop_ray.models import find_model, model_digest
from eshop_ray.models.shards import locate_tensors
from eshop_ray.models.switched import check_has_weights, find_weights, list_held, read_proofs, update_dir
from eshop_ray.models.switched_weights import list_changed, read_folded
from eshop_ray.training.merging.fold import write_merged
from eshop_ray.training.merging.recipe import Recipe

TASKS = {"ner": {}, "classification": {"r": 2, "target_modules": ["v_proj", "up_proj"], "use_rslora": True}}


def save_task_adapter(model_dir, folder, seed, tasks, **settings):
    adapter = save_adapter(model_dir, folder, seed, **settings)
    parents = {"base": model_digest(model_dir)}
    artifacts.write_manifest(adapter.folder, "adapter", "inputs", parents, {"trained_on": tasks} if tasks else {})
    return adapter.folder


@pytest.fixture(scope="module")
def adapters(tiny_model_dir, tmp_path_factory):
    root = tmp_path_factory.mktemp("adapters")
    return {
        task: save_task_adapter(tiny_model_dir, root / task, seed, [task], **settings)
        for seed, (task, settings) in enumerate(TASKS.items())
    }


def switch(model_dir, folders, merged_dir, **merge):
    section = MergeSection(**{"method": "switched", **merge})
    write_merged(Recipe(model_dir, tuple(folders), section, 0), merged_dir)
    return merged_dir


@pytest.fixture(scope="module")
def switched_dir(adapters, tiny_model_dir, tmp_path_factory):
    return switch(tiny_model_dir, adapters.values(), tmp_path_factory.mktemp("switched") / "merged")


def read_all(model_dir):
    weights = AutoModelForCausalLM.from_pretrained(model_dir).state_dict()
    return {name: weights[name] for name in locate_tensors(model_dir)}


@pytest.mark.parametrize("task", TASKS)
def test_the_folded_weights_are_those_of_the_adapter_merged_alone(
    task, adapters, switched_dir, tiny_model_dir, tmp_path
):
    write_merged(Recipe(tiny_model_dir, (adapters[task],), MergeSection(), 0), tmp_path / "merged")
    expected, base = read_all(tmp_path / "merged"), read_all(tiny_model_dir)
    found = dict(read_folded(switched_dir, task, expected))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    changed = {name for name in expected if not torch.equal(expected[name], base[name])}
    assert changed < list_changed(switched_dir, TASKS)


def test_without_a_task_the_weights_are_the_base(switched_dir, tiny_model_dir):
    base = read_all(tiny_model_dir)
    assert all(torch.equal(tensor, base[name]) for name, tensor in read_folded(switched_dir, None, base))


def test_each_update_is_an_adapter_for_peft(adapters, switched_dir, tiny_model_dir):
    ids = torch.tensor([[5, 9, 14, 3]])
    for task in TASKS:
        by_peft = [
            PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model_dir), folder).eval()
            for folder in (adapters[task], update_dir(switched_dir, task))
        ]
        with torch.no_grad():
            ours, theirs = (model(input_ids=ids).logits for model in by_peft)
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_an_example_proves_each_task_and_tells_it_from_the_base(switched_dir):
    proofs = read_proofs(switched_dir)
    assert list(proofs) == sorted(TASKS, key=list(TASKS).index)
    for proof in proofs.values():
        assert len(proof.ids) - 1 == len(proof.logprobs) == len(proof.base_logprobs)
        difference = sum(map(abs, (a - b for a, b in zip(proof.logprobs, proof.base_logprobs, strict=True))))
        assert difference / len(proof.logprobs) > 0.1


def test_a_share_of_the_update_is_folded_in_where_that_is_asked_for(adapters, tiny_model_dir, tmp_path):
    half = switch(tiny_model_dir, adapters.values(), tmp_path / "half", wise_ft=0.5)
    write_merged(Recipe(tiny_model_dir, (adapters["ner"],), MergeSection(wise_ft=0.5), 0), tmp_path / "merged")
    expected = read_all(tmp_path / "merged")
    found = dict(read_folded(half, "ner", expected))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_who_does_not_say_the_task_is_not_given_the_base_in_silence(switched_dir):
    config = Config(name="shop", model={"merged_dir": str(switched_dir)})
    with pytest.raises(UserError, match="has other weights for each task"):
        find_model(config, "merged")
    assert find_model(config, "merged", can_switch=True) == switched_dir


def test_a_task_without_weights_is_named_before_anything_is_asked(switched_dir, tiny_model_dir):
    check_has_weights(switched_dir, [("ner", "ner"), ("ner", "brands")])
    check_has_weights(tiny_model_dir, [("ranking", "ranking")])
    missing = r"has weights for ner, classification, and none for ranking/ranking, summarization/reviews"
    with pytest.raises(UserError, match=missing):
        check_has_weights(switched_dir, [("summarization", "reviews"), ("ner", "ner"), ("ranking", "ranking")])


def test_an_adapter_of_one_group_answers_that_group_alone(adapters, tiny_model_dir, tmp_path):
    pairs = save_task_adapter(tiny_model_dir, tmp_path / "pairs", 5, ["classification/esci_pairs"])
    folder = switch(tiny_model_dir, [adapters["classification"], pairs], tmp_path / "merged")
    held = list_held(folder)
    assert held == ("classification", "classification/esci_pairs")
    assert find_weights(held, "classification", "esci_pairs") == "classification/esci_pairs"
    assert find_weights(held, "classification", "product_category") == "classification"
    assert find_weights(held, "classification", None) == "classification"
    assert find_weights(held[1:], "classification", "product_category") is None


@pytest.mark.parametrize(
    ("tasks", "settings", "merge", "complaint"),
    [
        (["ner"], {}, {}, "ner has two: "),
        ([], {}, {}, "does not say which tasks it was trained on; train it again"),
        (["ranking"], {"use_dora": True}, {}, "is more than plain LoRA"),
        (["ranking"], {}, {"weights": (0.5, 0.5)}, "`merge.method: switched` combines none"),
    ],
)
def test_what_cannot_be_switched_is_refused(tasks, settings, merge, complaint, adapters, tiny_model_dir, tmp_path):
    other = save_task_adapter(tiny_model_dir, tmp_path / "other", 7, tasks, **settings)
    with pytest.raises(UserError, match=complaint):
        switch(tiny_model_dir, [adapters["ner"], other], tmp_path / "merged", **merge)
    assert not (tmp_path / "merged").exists()


def test_the_settings_name_the_way_of_merging(adapters, tiny_model_dir):
    recipes = [
        Recipe(tiny_model_dir, (adapters["ner"],), MergeSection(method=method), 0) for method in ("cat", "switched")
    ]
    assert recipes[0].inputs != recipes[1].inputs


def test_updates_name_their_modules(switched_dir):
    settings = json.loads((update_dir(switched_dir, "ner") / "adapter_config.json").read_text())
    assert settings["target_modules"] == sorted(MODULES)
