import pytest
import torch

from eshop_ray.config import LoraSection
from eshop_ray.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from eshop_ray.training.loop import build_model


def build(tiny_model_dir, seed):
    model = build_model(tiny_model_dir, LoraSection(r=4), seed)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return model, trained, torch.optim.AdamW(trained, lr=0.01)


def step(trained, optimizer):
    optimizer.zero_grad()
    sum((parameter - 1).square().sum() for parameter in trained).backward()
    optimizer.step()


def test_goes_on_exactly_as_it_would_have(tiny_model_dir, tmp_path):
    model, trained, optimizer = build(tiny_model_dir, seed=1)
    step(trained, optimizer)
    save_checkpoint(tmp_path, model, optimizer, Progress(step=3, losses=[3.0, 2.0, 1.5]))
    step(trained, optimizer)

    other, other_trained, other_optimizer = build(tiny_model_dir, seed=2)
    progress = load_checkpoint(tmp_path, other, other_optimizer)
    step(other_trained, other_optimizer)
    assert progress == Progress(step=3, losses=[3.0, 2.0, 1.5])
    for ours, theirs in zip(trained, other_trained, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_adapter_is_in_pefts_own_format(tiny_model_dir, tmp_path, name):
    model, _, optimizer = build(tiny_model_dir, seed=1)
    save_checkpoint(tmp_path, model, optimizer, Progress(losses=[1.0]))
    assert (tmp_path / "adapter" / name).is_file()
