import gc
import math
from collections import Counter

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from eshop_ray.config import LoraSection, TrainSection
from eshop_ray.evaluation.experiments.candidates import Candidate
from eshop_ray.evaluation.experiments.losses import LossScorer, build_eval_set, pool_losses
from eshop_ray.training.learner import build_learner
from eshop_ray.training.merging.adapters import AdapterFile, list_modules
from eshop_ray.training.merging.combine import combine

CPU = torch.device("cpu")
FP32, BF16 = TrainSection(precision="fp32", pack_length=256), TrainSection(precision="bf16", pack_length=256)
CANDIDATES = [
    Candidate("cat", (0.7, 0.9)),
    Candidate("ties", (1.0, 1.0), 0.3),
    Candidate("dare_linear", (0.4, 1.2), 0.6, 0.5),
    Candidate("svd", (0.5, 0.5)),
]


@pytest.fixture(scope="module")
def adapters(make_adapter, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    return [AdapterFile.open(make_adapter(folder / name / "adapter", seed)) for seed, name in enumerate(("one", "two"))]


@pytest.fixture(scope="module")
def eval_set(token_store):
    return build_eval_set(token_store, FP32, range(32))


@pytest.fixture(scope="module")
def scorer(tiny_model_dir, adapters):
    return LossScorer(tiny_model_dir, list_modules(adapters), FP32, CPU)


def read(adapter):
    return [(module, adapter.read(module)) for module in adapter.modules]


@torch.no_grad()
def measure_folded(model_dir, updates, store):
    """The same by nothing of ours: updates added into the weights, one row at a time, Transformers' own forward."""
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    for module, (down, up) in updates:
        model.get_submodule(module).weight += up @ down
    sums, counts = Counter(), Counter()
    for row in store.read(range(len(store))):
        ids = torch.tensor([[*row.prompt_ids, *row.answer_ids]])
        num_answer = len(row.answer_ids)
        scores = model(input_ids=ids).logits[0, -num_answer - 1 : -1]
        sums[row.task] += cross_entropy(scores, ids[0, -num_answer:], reduction="sum").item()
        counts[row.task] += num_answer
    return {task: sums[task] / counts[task] for task in sums}


def test_exam_holds_every_row_once_in_few_packs(eval_set, token_store):
    assert sorted(name for pack in eval_set.packs for name in pack.ids) == sorted(token_store.ids.to_pylist())
    assert eval_set.rows == {"classification": 6, "ner_tagging": 6}
    assert sum(map(len, eval_set.packs)) < (token_store.num_prompt + token_store.num_answer).sum() / 2
    assert max(map(len, eval_set.packs)) <= FP32.pack_length


def test_stages_divide_the_rows_and_their_losses_pool_to_those_of_all(token_store, scorer, eval_set, adapters):
    stages = [
        build_eval_set(token_store, FP32, places) for places in (range(2), range(2, 5), range(5, 8), range(8, 32))
    ]
    names = [name for stage in stages for pack in stage.packs for name in pack.ids]
    assert [stage.num_rows for stage in stages] == [4, 6, 2, 0]
    assert sorted(names) == sorted(token_store.ids.to_pylist())
    parts = [(stage, scorer.measure(read(adapters[0]), stage)) for stage in stages[:3]]
    assert pool_losses(parts) == pytest.approx(scorer.measure(read(adapters[0]), eval_set), abs=1e-4)


def test_loss_that_is_no_number_in_one_part_is_none_in_all(token_store):
    parts = [build_eval_set(token_store, FP32, places) for places in (range(2), range(2, 5))]
    losses = [{"ner_tagging": None, "classification": 1.0}, {"ner_tagging": 1.0, "classification": 2.0}]
    pooled = pool_losses(zip(parts, losses, strict=True))
    assert pooled["ner_tagging"] is None
    assert 1.0 < pooled["classification"] < 2.0


@pytest.mark.parametrize(("train", "tolerance"), [(FP32, 1e-4), (BF16, 0.02)], ids=["fp32", "bf16"])
def test_losses_are_those_that_training_measures(tiny_model_dir, adapters, token_store, train, tolerance):
    eval_set = build_eval_set(token_store, train, range(32))
    scorer = LossScorer(tiny_model_dir, adapters[0].modules, train, CPU)
    lora = LoraSection(r=4, lora_alpha=8, init_from=str(adapters[0].folder))
    expected = build_learner(tiny_model_dir, train, lora, 0, CPU).measure(eval_set.packs, eval_set.tasks)
    assert scorer.measure(read(adapters[0]), eval_set) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda candidate: candidate.method)
def test_candidates_losses_are_those_of_the_merged_weights(
    scorer, eval_set, tiny_model_dir, adapters, token_store, candidate
):
    updates = list(combine(adapters, candidate.to_merge(), 0))
    expected = measure_folded(tiny_model_dir, updates, token_store)
    base = measure_folded(tiny_model_dir, [], token_store)
    assert all(abs(expected[task] - base[task]) > 1e-3 for task in base)
    assert scorer.measure(updates, eval_set) == pytest.approx(expected, abs=1e-4)
    assert scorer.measure([], eval_set) == pytest.approx(base, abs=1e-4)


def test_layer_without_an_update_forgets_the_one_before(scorer, eval_set, adapters):
    base, part = scorer.measure([], eval_set), read(adapters[1])[::3]
    expected = scorer.measure(part, eval_set)
    assert expected != base
    scorer.measure(read(adapters[0]), eval_set)
    assert scorer.measure(part, eval_set) == expected
    assert scorer.measure([], eval_set) == base


def test_update_of_an_unknown_layer_is_no_silent_loss(scorer, eval_set):
    with pytest.raises(KeyError):
        scorer.measure([("model.layers.9.mlp.up_proj", (torch.zeros(1, 64), torch.zeros(128, 1)))], eval_set)


def test_loss_that_is_no_number_is_told_as_none(scorer, eval_set, adapters):
    (module, (down, up)), *others = read(adapters[0])
    losses = scorer.measure([(module, (down, up * math.inf)), *others], eval_set)
    assert losses == {"classification": None, "ner_tagging": None}


@pytest.mark.slow  # memory
def test_memory_stays_flat_over_candidates(scorer, eval_set, adapters):
    sizes = []
    for candidate in (*CANDIDATES, *CANDIDATES):
        scorer.measure(combine(adapters, candidate.to_merge(), 0), eval_set)
        scorer.measure([], eval_set)
        gc.collect()
        tensors = [held for held in gc.get_objects() if issubclass(type(held), torch.Tensor)]
        sizes.append((len(tensors), sum(held.numel() for held in tensors)))
    assert len(set(sizes[len(CANDIDATES) :])) == 1
