"""A run goes on exactly where it stopped, and never from a checkpoint that is not whole."""

from pathlib import Path

import pytest
import torch

from eshop_ray.config import LoraSection, TrainSection
from eshop_ray.errors import UserError
from eshop_ray.storage import Storage
from eshop_ray.training.checkpoint import (
    collect_state,
    find_damage,
    load_checkpoint,
    open_intact,
    read_progress,
    save_checkpoint,
)
from eshop_ray.training.history import HeldOut, Progress
from eshop_ray.training.model import build_model

PROGRESS = Progress(step=3, losses=[3.0, 2.0, 1.5], held_out=[HeldOut(3, {"ner": 1.0, "ranking": 2.0}, 1.5)])
FILES = ["adapter/adapter_config.json", "adapter/adapter_model.safetensors", "state.pt", "progress.json"]


def build(model_dir, seed=1, method="lora", lora=None):
    train = TrainSection(method=method, precision="fp32")
    model = build_model(model_dir, train, LoraSection(r=4, **(lora or {})), seed, torch.device("cpu"))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return model, trained, torch.optim.AdamW(trained, lr=0.01)


def step(trained, optimizer):
    optimizer.zero_grad()
    sum((parameter - 1).square().sum() for parameter in trained).backward()
    optimizer.step()


def save(folder, model, optimizer, progress=PROGRESS):
    folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(folder, model, collect_state(model, optimizer), progress)
    return folder


@pytest.fixture(scope="module")
def trained_model(tiny_model_dir):
    model, trained, optimizer = build(tiny_model_dir)
    step(trained, optimizer)
    return model, optimizer


@pytest.fixture
def checkpoint_dir(trained_model, tmp_path):
    return save(tmp_path / "checkpoint_2026-11-22_09-00-00.000000", *trained_model)


@pytest.mark.parametrize(
    ("method", "lora"),
    [("lora", {}), ("lora", {"options": {"use_dora": True}}), ("qlora", {}), ("full", {})],
)
def test_goes_on_exactly_as_it_would_have(tiny_model_dir, tmp_path, method, lora):
    if method == "qlora":
        pytest.importorskip("bitsandbytes")
    model, trained, optimizer = build(tiny_model_dir, 1, method, lora)
    step(trained, optimizer)
    save(tmp_path, model, optimizer)
    step(trained, optimizer)

    other, other_trained, other_optimizer = build(tiny_model_dir, 2, method, lora)
    assert load_checkpoint(tmp_path, other, other_optimizer) == PROGRESS
    step(other_trained, other_optimizer)
    for ours, theirs in zip(trained, other_trained, strict=True):
        assert torch.equal(ours, theirs)


def test_only_trained_weights_are_kept(trained_model):
    model, optimizer = trained_model
    weights = collect_state(model, optimizer)["model"]
    assert len(weights) == 28
    assert all("lora_" in name for name in weights)


def test_adapter_is_in_pefts_own_format(checkpoint_dir):
    assert {"adapter_config.json", "adapter_model.safetensors"} <= {
        path.name for path in (checkpoint_dir / "adapter").iterdir()
    }
    assert read_progress(checkpoint_dir) == PROGRESS


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["missing", "altered"])
def test_damage_to_any_file_is_found(checkpoint_dir, name, damage):
    assert find_damage(checkpoint_dir) is None
    path = checkpoint_dir / name
    if damage == "missing":
        path.unlink()
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    assert find_damage(checkpoint_dir) == f"{name} {damage}"


@pytest.mark.parametrize("num_bytes", [0, 40])
def test_a_checkpoint_cut_off_before_its_seal_is_damaged(checkpoint_dir, num_bytes):
    seal = checkpoint_dir / "checkpoint.json"
    seal.write_bytes(seal.read_bytes()[:num_bytes])
    assert "not written to its end" in find_damage(checkpoint_dir)
    seal.unlink()
    assert "not written to its end" in find_damage(checkpoint_dir)


def test_damaged_checkpoint_is_not_loaded(checkpoint_dir, tiny_model_dir):
    (checkpoint_dir / "state.pt").unlink()
    model, _, optimizer = build(tiny_model_dir)
    with pytest.raises(UserError, match=r"checkpoint_2026\S+ is damaged \(state\.pt missing\); remove it"):
        load_checkpoint(checkpoint_dir, model, optimizer)


def test_checkpoint_of_another_method_is_refused(checkpoint_dir, tiny_model_dir):
    model, _, optimizer = build(tiny_model_dir, method="full")
    with pytest.raises(UserError, match="other weights than this config trains"):
        load_checkpoint(checkpoint_dir, model, optimizer)


def find_newest(folder):
    with open_intact(Storage(str(folder))) as found:
        return found


@pytest.mark.usefixtures("s3")
def test_a_checkpoint_in_an_object_store_is_read_from_a_copy(checkpoint_dir):
    storage = Storage("s3://shop/checkpoints")
    for path in filter(Path.is_file, checkpoint_dir.rglob("*")):
        storage.upload(f"{checkpoint_dir.name}/{path.relative_to(checkpoint_dir)}", path)
    with open_intact(storage) as found:
        assert find_damage(found) is None
    assert not found.exists()
    storage.delete(f"{checkpoint_dir.name}/state.pt")
    with pytest.raises(UserError, match="every checkpoint in s3://shop/checkpoints is damaged"), open_intact(storage):
        pass


def test_newest_whole_checkpoint_is_found(checkpoint_dir, trained_model, caplog):
    assert find_newest(checkpoint_dir.parent) == checkpoint_dir
    newer = save(checkpoint_dir.with_name("checkpoint_2026-11-22_10-00-00.000000"), *trained_model, Progress(step=6))
    assert find_newest(checkpoint_dir.parent) == newer
    (newer / "progress.json").unlink()
    assert find_newest(checkpoint_dir.parent) == checkpoint_dir
    assert f"{newer} is damaged (progress.json missing)" in caplog.text


def test_no_checkpoint_is_no_error_but_only_damaged_ones_are(checkpoint_dir, tmp_path):
    assert find_newest(tmp_path / "nowhere") is None
    (checkpoint_dir / "checkpoint.json").unlink()
    with pytest.raises(UserError, match=r"every checkpoint in \S+ is damaged; remove that folder to train from"):
        find_newest(checkpoint_dir.parent)
