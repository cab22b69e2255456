"""Adapters that are to be merged: one A for all that does not learn, and A that are orthogonal to one another."""

import itertools

import pytest
import torch
from safetensors.torch import load_file

from eshop_ray import artifacts
from eshop_ray.config import LoraSection, MergeSection, TrainSection
from eshop_ray.errors import UserError
from eshop_ray.models import model_digest
from eshop_ray.training.adapter_start import list_frozen
from eshop_ray.training.checkpoint import collect_state, load_checkpoint, save_checkpoint
from eshop_ray.training.execution import Execution
from eshop_ray.training.feed import Microbatches
from eshop_ray.training.history import Progress
from eshop_ray.training.kernels.fused_lora import can_fuse
from eshop_ray.training.learner import build_learner
from eshop_ray.training.merging.adapters import AdapterFile
from eshop_ray.training.merging.combine import combine
from eshop_ray.training.merging.fold import write_merged
from eshop_ray.training.merging.recipe import Recipe
from eshop_ray.training.model import build_model, check_method
from eshop_ray.training.packing.pack import build_pack

CPU = torch.device("cpu")
FROZEN = {"freeze_a": True}


def build(model_dir, lora=None, seed=1, precision="fp32"):
    train = TrainSection(precision=precision)
    return build_model(model_dir, train, LoraSection(r=4, **(lora or {})), seed, CPU)


def check(model_dir, **lora):
    check_method(TrainSection(), LoraSection(**{"r": 4, **lora}), model_dir)


def read_a(model):
    return {name: weight.detach().clone() for name, weight in model.named_parameters() if ".lora_A." in name}


def learn(model_dir, lora, rows, folder, seed=1):
    """Make three steps on rows and leave a finished adapter; return the learner."""
    learner = build_learner(model_dir, TrainSection(precision="fp32"), LoraSection(r=4, **lora), seed, CPU)
    for _ in range(3):
        make_step(learner, rows)
    save(folder, learner)
    artifacts.write_manifest(folder / "adapter", "adapter", "inputs", {"base": model_digest(model_dir)})
    return learner


def make_step(learner, rows):
    learner.step(Microbatches(0, float(len(rows)), len(rows), 60, [build_pack(rows)]), 0.05)


def save(folder, learner):
    folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(folder, learner.model, collect_state(learner.model, learner.optimizer), Progress(step=3))


def test_frozen_a_stays_bit_by_bit_and_is_part_of_the_adapter(tiny_model_dir, token_rows, tmp_path):
    check(tiny_model_dir, **FROZEN)
    start = read_a(build(tiny_model_dir))
    learner = learn(tiny_model_dir, FROZEN, token_rows[:6], tmp_path)
    assert all(torch.equal(weight, start[name]) for name, weight in read_a(learner.model).items())
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert len(saved) == 2 * len(start)
    for name, weight in start.items():
        assert torch.equal(saved[name.replace(".default", "")], weight)
    assert all(weight.any() for name, weight in saved.items() if ".lora_B." in name)


def test_frozen_a_is_kept_in_fp32_where_frozen_projections_are_not(tiny_model_dir):
    assert {weight.dtype for weight in read_a(build(tiny_model_dir, FROZEN, precision="bf16")).values()} == {
        torch.float32
    }


def test_a_run_goes_on_with_the_a_of_its_checkpoint(tiny_model_dir, token_rows, tmp_path):
    learner = learn(tiny_model_dir, FROZEN, token_rows[:6], tmp_path)
    # Another seed draws another A: as if another machine computed it otherwise.
    resumed = build_learner(tiny_model_dir, TrainSection(precision="fp32"), LoraSection(r=4, **FROZEN), 2, CPU)
    load_checkpoint(tmp_path, resumed.model, resumed.optimizer)
    for one in (learner, resumed):
        make_step(one, token_rows[:6])
    states = [collect_state(one.model, one.optimizer)["model"] for one in (learner, resumed)]
    assert all(torch.equal(weight, states[1][name]) for name, weight in states[0].items())
    assert len(list_frozen(resumed.model)) == len(read_a(resumed.model))


def test_layers_with_a_frozen_a_are_fused_and_keep_no_inputs(tiny_model_dir):
    model = build(tiny_model_dir, FROZEN)
    layers = [module for module in model.modules() if can_fuse(module)]
    Execution.prepare(model, TrainSection(precision="fp32"), CPU, replaces_head=False)
    assert len(layers) == len(read_a(model))
    assert all("forward" in vars(layer) for layer in layers)
    states = torch.randn(5, layers[0].in_features, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        output = layers[0](states)
    assert states.shape not in {tensor.shape for tensor in kept}
    output.sum().backward()
    assert layers[0].lora_A["default"].weight.grad is None
    assert layers[0].lora_B["default"].weight.grad is not None


def test_adapters_with_one_a_add_up_in_b_alone(tiny_model_dir, token_rows, tmp_path):
    for place in range(2):
        learn(tiny_model_dir, FROZEN, token_rows[place * 6 :][:6], tmp_path / str(place))
    folders = tuple(tmp_path / str(place) / "adapter" for place in range(2))
    adapters = [AdapterFile.open(folder) for folder in folders]
    whole = dict(combine(adapters, MergeSection(method="cat", weights=(1.0, 1.0)), 0))
    for module, (factor_a, factor_b) in combine(adapters, MergeSection(method="svd", weights=(1.0, 1.0)), 0):
        assert len(factor_a) == 4
        change = whole[module][1] @ whole[module][0]
        assert (factor_b @ factor_a - change).norm() < 1e-5 * change.norm(), "the sum has the rank of one adapter"
        sum_of_b = sum(adapter.read(module)[1] for adapter in adapters)
        assert (sum_of_b @ adapters[0].read(module)[0] - change).norm() < 1e-5 * change.norm()
    recipe = Recipe(tiny_model_dir, folders, MergeSection(method="cat", weights=(1.0, 1.0)), 0)
    write_merged(recipe, tmp_path / "merged")  # which proves the files and the answers
    assert artifacts.read_manifest(tmp_path / "merged", job="merge_lora").details["logits_error"] < 1e-4


@pytest.mark.parametrize("frozen", [False, True])
def test_blocks_are_orthogonal_to_one_another(tiny_model_dir, frozen):
    check(tiny_model_dir, orthogonal=(2, 3), freeze_a=frozen)
    plain = read_a(build(tiny_model_dir))
    starts = [read_a(build(tiny_model_dir, {"orthogonal": (place, 3), "freeze_a": frozen})) for place in (1, 2, 3)]
    for name, weight in plain.items():
        rows = torch.cat([start[name] for start in starts]).double()
        products = rows @ rows.T / rows.norm(dim=1).outer(rows.norm(dim=1))
        assert (products - torch.eye(len(rows))).abs().max() < 1e-6
        for start in starts:
            assert start[name].norm() == pytest.approx(weight.norm(), rel=1e-5), "as long as PEFT's own"
    names = list(plain)
    q_proj, k_proj = (next(name for name in names if part in name) for part in ("q_proj", "k_proj"))
    assert not torch.equal(starts[0][q_proj], starts[0][k_proj]), "each layer has rows of its own"


def test_updates_of_orthogonal_frozen_a_have_nothing_in_common(tiny_model_dir, token_rows, tmp_path):
    for place in (1, 2, 3):
        learn(tiny_model_dir, {"orthogonal": (place, 3), **FROZEN}, token_rows[:6], tmp_path / str(place))
    adapters = [AdapterFile.open(tmp_path / str(place) / "adapter") for place in (1, 2, 3)]
    for one, other in itertools.combinations(adapters, 2):
        for module in one.modules:
            (a1, b1), (a2, b2) = one.read(module), other.read(module)
            scale = (b1 @ a1).norm() * (b2 @ a2).norm()
            assert ((b1 @ a1) * (b2 @ a2)).sum().abs() < 1e-6 * scale


def test_an_orthogonal_start_leaves_the_base_as_it_is(tiny_model_dir):
    model = build(tiny_model_dir, {"orthogonal": (1, 2)}).eval()
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        found = model(input_ids=ids).logits
        with model.disable_adapter():
            assert torch.equal(model(input_ids=ids).logits, found)


@pytest.mark.parametrize(
    ("lora", "said"),
    [
        ({"orthogonal": (1, 2), "init_from": "somewhere"}, "goes on from an adapter; leave one out"),
        ({"orthogonal": (1, 2), "options": {"init_lora_weights": "orthogonal"}}, "needs a B that begins at 0"),
        ({"orthogonal": (1, 2), "options": {"init_lora_weights": False}}, "needs a B that begins at 0"),
        ({"orthogonal": (1, 17)}, r"takes 64 numbers in, no room for 17 blocks of `lora\.r` 4"),
    ],
)
def test_a_start_that_cannot_be_is_told_before_loading(tiny_model_dir, lora, said):
    with pytest.raises(UserError, match=said):
        check(tiny_model_dir, **lora)


def test_a_part_beyond_the_last_is_refused():
    with pytest.raises(ValueError, match="the part comes first"):
        LoraSection(orthogonal=(3, 2))
