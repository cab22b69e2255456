"""Workers that share a model out learn what workers with whole models learn, and what one worker learns alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sharded_workers import CASES, CHANGES, MAX_NORM, PACKS, train_alone

from eshop_ray.training.checkpoint import find_damage
from eshop_ray.training.merging.fold import fold_adapter

WAYS = [(case, way) for case in CASES for way in ("replicate", "fsdp")]
CHANGED = [(case, f"from {before}") for case, (before, _) in CHANGES.items()]


@pytest.fixture(scope="module")
def folder(tiny_model_dir, tmp_path_factory):
    """Where two processes have left their trails."""
    folder = tmp_path_factory.mktemp("workers")
    script = Path(__file__).with_name("sharded_workers.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    workers = [
        subprocess.Popen([sys.executable, script, str(rank), folder, tiny_model_dir], env=environment)
        for rank in range(2)
    ]
    try:
        assert [worker.wait(timeout=300) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
    return folder


@pytest.fixture(scope="module")
def alone(tiny_model_dir):
    """Case -> what one worker leaves behind."""
    return {case: train_alone(tiny_model_dir, case) for case in CASES}


@pytest.mark.parametrize(("case", "way"), WAYS + CHANGED)
def test_two_workers_learn_what_one_does(folder, alone, case, way):
    expected, trail = alone[case], torch.load(folder / f"{case} {way}" / "trail.pt")
    assert len(expected.losses) == len(PACKS)
    assert expected.losses[0] - min(expected.losses) > 0.01
    assert min(expected.norms) > MAX_NORM
    assert trail["losses"] == pytest.approx(expected.losses, abs=1e-4)
    assert trail["norms"] == pytest.approx(expected.norms, rel=1e-3)
    assert trail["weights"].keys() >= expected.weights.keys()
    for name, weight in expected.weights.items():
        torch.testing.assert_close(trail["weights"][name], weight, atol=1e-4, rtol=0)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(("sharding", "share"), [("replicate", 1.0), ("fsdp", 0.5)])
def test_each_worker_holds_its_share(folder, rank, sharding, share):
    shares = json.loads((folder / f"shares-{rank}.json").read_text())
    for case in CASES:
        assert shares[f"{case} {sharding}"] == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("case", ["lora", "frozen"])
def test_shares_of_an_adapter_are_saved_whole(folder, case):
    saved, whole = folder / f"{case} fsdp", folder / f"{case} replicate"
    assert find_damage(saved) is None
    ours, theirs = (load_file(path / "adapter" / "adapter_model.safetensors") for path in (saved, whole))
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name], atol=1e-4, rtol=0)


def test_shares_of_a_model_are_saved_as_a_model(folder, tiny_model_dir):
    trail = torch.load(folder / "full fsdp" / "trail.pt")
    model = fold_adapter(tiny_model_dir, folder / "full fsdp" / "adapter")
    assert type(model).__name__ == "LlamaForCausalLM"
    assert all(torch.equal(weight, trail["weights"][name]) for name, weight in model.named_parameters())
