"""Every method against PEFT's own, on the adapters' products B @ A."""

import warnings

import pytest
import torch
from lora_files import load_peft, save_adapter
from peft.tuners.lora import LoraModel

from eshop_ray.config import MergeSection
from eshop_ray.config.experiment import METHODS, WITH_DENSITY
from eshop_ray.training.merging.combine import combine, combine_module
from eshop_ray.training.merging.lowrank import truncate
from eshop_ray.training.merging.thinning import find_threshold, seeded

SEED = 3
Q_PROJ = "model.layers.0.self_attn.q_proj"
KINDS = {
    "plain": {},
    "scaled": {"lora_alpha": 3},
    "rslora": {"use_rslora": True},
    "alphas": {"alpha_pattern": {"q_proj": 5, "layers.1.mlp.down_proj": 1}},
    "narrow": {"target_modules": ["q_proj", "down_proj"]},
    "broad": {"target_modules": ["q_proj", "v_proj"]},
    "large": {"r": 6},
    "mixed ranks": {"rank_pattern": {"q_proj": 8}},
    "mixed again": {"rank_pattern": {"q_proj": 8}, "lora_alpha": 16},
}
DENSITIES = [*((method, 1.0) for method in METHODS), *((m, d) for m in sorted(WITH_DENSITY) for d in (0.3, 0.7))]


@pytest.fixture(scope="module")
def adapters(tiny_model_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    return {
        name: save_adapter(tiny_model_dir, folder / name.replace(" ", "_"), seed, **settings)
        for seed, (name, settings) in enumerate(KINDS.items())
    }


@pytest.fixture(scope="module")
def peft_model(tiny_model_dir, adapters):
    return load_peft(tiny_model_dir, list(adapters.values()))


@pytest.fixture
def expect(peft_model, monkeypatch):
    """Return a function that gives module -> B @ A of PEFT's `add_weighted_adapter`, drawing as `combine` does."""
    original = LoraModel._generalized_task_arithmetic_weighted_adapter
    names = {id(module): name for name, module in peft_model.base_model.model.named_modules()}

    def draw(self, method, adapters, weights, target, *rest):
        with seeded(SEED, names[id(target)]):
            return original(self, method, adapters, weights, target, *rest)

    monkeypatch.setattr(LoraModel, "_generalized_task_arithmetic_weighted_adapter", draw)

    def compute(chosen, merge):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PEFT warns of a density of 1
            peft_model.base_model.add_weighted_adapter(
                [adapter.name for adapter in chosen],
                list(merge.weights),
                "combined",
                combination_type=merge.method,
                svd_rank=merge.svd_rank,
                density=merge.density,
                majority_sign_method=merge.majority_sign,
            )
        products = {
            name: module.lora_B["combined"].weight.detach() @ module.lora_A["combined"].weight.detach()
            for name, module in peft_model.base_model.model.named_modules()
            if "combined" in getattr(module, "lora_A", {})
        }
        peft_model.base_model.delete_adapter("combined")
        return products

    return compute


def check(expect, chosen, **settings):
    # The rank of `ties_svd` is the largest there is: what it approximates is compared in a test of its own.
    rank = 64 if settings["method"] == "ties_svd" else None
    merge = MergeSection(**{"svd_rank": rank, **settings})
    expected = expect(chosen, merge)
    found = {module: b @ a for module, (a, b) in combine(chosen, merge, SEED)}
    assert list(found) == sorted(expected)
    for module, product in found.items():
        assert product.abs().max() > 0
        torch.testing.assert_close(product, expected[module], atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize(("method", "density"), DENSITIES)
@pytest.mark.parametrize("sign", ["total", "frequency"])
def test_three_adapters_with_a_negative_weight(expect, adapters, method, density, sign):
    chosen = [adapters["plain"], adapters["scaled"], adapters["alphas"]]
    check(expect, chosen, method=method, weights=(0.9, -0.4, 0.5), density=density, majority_sign=sign)


@pytest.mark.parametrize("method", METHODS)
def test_rslora_and_modules_that_one_adapter_lacks(expect, adapters, method):
    check(expect, [adapters["rslora"], adapters["narrow"]], method=method, weights=(0.6, 0.7), density=0.5)
    check(expect, [adapters["narrow"], adapters["broad"]], method=method, weights=(0.6, 0.7), density=0.5)


@pytest.mark.parametrize("method", METHODS)
def test_ranks_that_differ_from_module_to_module(expect, adapters, method):
    check(expect, [adapters["mixed ranks"], adapters["mixed again"]], method=method, weights=(1, 0.3), density=0.5)


@pytest.mark.parametrize("method", ["cat", "svd", "ties_svd"])
@pytest.mark.parametrize("other", ["large", "mixed ranks"])
def test_ranks_that_differ_from_adapter_to_adapter(expect, adapters, method, other):
    check(expect, [adapters["plain"], adapters[other]], method=method, weights=(0.5, 0.8), density=0.5)


@pytest.mark.parametrize("rank", [2, 7, 40])
def test_svd_of_a_rank(expect, adapters, rank):
    check(expect, [adapters["plain"], adapters["large"]], method="svd", weights=(0.5, 0.8), svd_rank=rank)


@pytest.mark.parametrize("method", METHODS)
def test_one_adapter_is_only_scaled(expect, adapters, method):
    check(expect, [adapters["alphas"]], method=method, weights=(-0.5,), density=0.2)


def test_weights_are_the_same_for_all_unless_given(adapters):
    chosen = [adapters["plain"], adapters["scaled"]]
    halves = MergeSection(weights=(0.5, 0.5))
    for (_, (a, b)), (_, (c, d)) in zip(combine(chosen, MergeSection(), 0), combine(chosen, halves, 0), strict=True):
        assert torch.equal(b @ a, d @ c)


@pytest.mark.parametrize("method", METHODS)
def test_a_share_of_the_update(adapters, method):
    chosen = [adapters["plain"], adapters["scaled"]]
    whole, part = (MergeSection(method=method, density=0.5, wise_ft=share) for share in (1, 0.25))
    for (_, (a, b)), (_, (c, d)) in zip(combine(chosen, whole, 0), combine(chosen, part, 0), strict=True):
        torch.testing.assert_close(b @ a / 4, d @ c)


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties", "ties_svd"])
def test_chance_depends_on_seed_and_module_alone(adapters, method):
    chosen, merge = [adapters["plain"], adapters["scaled"]], MergeSection(method=method, density=0.5)
    state = torch.get_rng_state()
    updates = dict(combine(chosen, merge, SEED))
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)
    again = combine_module(chosen, merge, SEED, Q_PROJ)
    assert all(map(torch.equal, again, updates[Q_PROJ]))
    other = combine_module(chosen, merge, SEED + 1, Q_PROJ)
    assert torch.equal(other[0], again[0]) == (method == "ties_svd")


def test_modules_draw_differently(adapters):
    chosen, merge = [adapters["plain"], adapters["scaled"]], MergeSection(method="dare_linear", density=0.5)
    updates = dict(combine(chosen, merge, SEED))
    first, second = (updates[f"model.layers.{number}.self_attn.q_proj"][0] == 0 for number in (0, 1))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("density", [1e-6, 0.01, 0.5, 0.999])
def test_threshold_keeps_the_share(adapters, density):
    factor_a, _ = adapters["plain"].read_factors(Q_PROJ)
    kept = factor_a.abs() > find_threshold(adapters["plain"], Q_PROJ, "A", density)
    assert kept.sum() == int(density * factor_a.numel())


@pytest.mark.parametrize("shape", [(256, 320), (320, 256), (64, 96), (96, 64)])
@pytest.mark.parametrize("num_guesses", [4, 24])
def test_truncation_is_nearly_the_best(shape, num_guesses):
    torch.manual_seed(0)
    guess = torch.randn(num_guesses, shape[1])
    weight = torch.randn(shape[0], num_guesses) @ guess
    weight = weight * (torch.rand(shape) < 0.5)  # as after trimming: of full rank
    factor_a, factor_b = truncate(weight, 8, guess)
    assert (factor_a.shape, factor_b.shape) == ((8, shape[1]), (shape[0], 8))
    best = torch.linalg.svdvals(weight)[8:].norm()
    assert 0.9999 * best <= (weight - factor_b @ factor_a).norm() < 1.01 * best
