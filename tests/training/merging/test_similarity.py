import pytest
import torch
from lora_files import save_adapter

from eshop_ray.training.merging.adapters import list_modules
from eshop_ray.training.merging.similarity import measure_similarity


@pytest.fixture
def adapters(tiny_model_dir, tmp_path):
    kinds = ({}, {"r": 6, "use_rslora": True}, {"target_modules": ["q_proj", "v_proj"]}, {})
    # The last one has the seed of the first.
    return [save_adapter(tiny_model_dir, tmp_path / f"a{n}", n % 3, **kind) for n, kind in enumerate(kinds)]


def read_dense(adapter, module):
    if not adapter.has(module):
        return None
    factor_a, factor_b = adapter.read(module)
    return (factor_b.double() @ factor_a.double()).flatten()


def test_cosines_are_those_of_the_dense_updates(adapters):
    similarity = measure_similarity(adapters)
    modules = list_modules(adapters)
    assert similarity["adapters"] == ["a0", "a1", "a2", "a3"]
    assert list(similarity["modules"]) == modules
    for i, one in enumerate(adapters):
        for j, other in enumerate(adapters):
            pairs = {module: (read_dense(one, module), read_dense(other, module)) for module in modules}
            for module, (x, y) in pairs.items():
                expected = 0.0 if x is None or y is None else float(torch.cosine_similarity(x, y, dim=0))
                assert similarity["modules"][module][i][j] == pytest.approx(expected, abs=2e-6)
            norms = [
                sum(float(update @ update) for update in updates if update is not None) ** 0.5
                for updates in zip(*pairs.values(), strict=True)
            ]
            inner = sum(float(x @ y) for x, y in pairs.values() if x is not None and y is not None)
            assert similarity["overall"][i][j] == pytest.approx(inner / norms[0] / norms[1], abs=2e-6)


def test_same_update_is_1_and_another_is_not(adapters):
    overall = measure_similarity(adapters)["overall"]
    assert overall[0][3] == overall[2][2] == 1
    assert abs(overall[0][1]) < 0.5
