"""What a training run needs to go on where it stopped: trained weights, optimizer state, progress.

A checkpoint has checksums like an artifact: one that was half written, or altered later, is found out and not used.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor

from eshop_ray.artifacts import hash_files, is_intact, read_checksummed, write_checksummed, write_json
from eshop_ray.errors import UserError
from eshop_ray.storage import Storage
from eshop_ray.training.adapter_start import list_frozen
from eshop_ray.training.history import HeldOut, Progress
from eshop_ray.training.model import save_trained

logger = logging.getLogger(__name__)

ADAPTER = "adapter"
STATE = "state.pt"
PROGRESS = "progress.json"
CHECKSUMS = "checkpoint.json"
CHECKPOINTS = "checkpoints"
"""In a run's working folder: what Ray Train keeps."""


def collect_state(model: Any, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the weights to keep (`model`) and optimizer state (`optimizer`), whole and on the CPU.

    What is kept is what is trained, and of an adapter also an A that is not.

    Every worker has to call it, as each may hold a share only; the first one's result is whole. It may be the very
    tensors that are trained: write it before the next step.
    """
    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    trained = _name_trained(model)
    weights = get_model_state_dict(model, options=options)
    return {
        "model": {
            **{name: weight for name, weight in weights.items() if name in trained},
            **{name: _gather(weight) for name, weight in list_frozen(model).items()},
        },
        "optimizer": get_optimizer_state_dict(model, optimizer, options=options),
    }


def restore_state(model: Any, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Put weights and optimizer back as they were; every worker calls it with the whole state."""
    frozen = list_frozen(model)
    if state["model"].keys() != _name_trained(model) | frozen.keys():
        raise UserError("the checkpoint holds other weights than this config trains; start with a new `name`")
    options = StateDictOptions(full_state_dict=True, strict=False)
    once = {
        name: state["model"][name]
        for name, weight in model.named_parameters()
        if weight.requires_grad or name in frozen
    }
    set_model_state_dict(model, once, options=options)  # what is tied comes by one name: shares cannot be set twice
    set_optimizer_state_dict(model, optimizer, state["optimizer"], options=options)


Save = Callable[[Mapping[str, Any], Any, Path], None]
"""Writes trained weights, by name, of a model into a folder."""


def save_checkpoint(
    folder: Path, model: Any, state: Mapping[str, Any], progress: Progress, save: Save = save_trained
) -> None:
    """Write the trained weights in their final format, and beside them what only training needs; one worker does.

    Args:
        folder: Empty.
        model: Gives names and settings.
        state: Of `collect_state`.
        progress: Where the run stands.
        save: Writes the weights in their final format.
    """
    save(state["model"], model, folder / ADAPTER)
    torch.save(dict(state), folder / STATE)
    write_json(folder / PROGRESS, asdict(progress))
    write_checksummed(folder / CHECKSUMS, {"step": progress.step, "files": hash_files(folder)})


def load_checkpoint(folder: Path, model: Any, optimizer: torch.optim.Optimizer) -> Progress:
    """Put weights and optimizer back as they were and return where the run stood.

    Raises:
        UserError: if the checkpoint is damaged.
    """
    damage = find_damage(folder)
    if damage:
        raise UserError(f"checkpoint {folder} is damaged ({damage}); remove it to go on from the one before")
    restore_state(model, optimizer, torch.load(folder / STATE, weights_only=True))
    return read_progress(folder)


def read_progress(folder: Path) -> Progress:
    """Return where the run stood at a checkpoint."""
    content = json.loads((folder / PROGRESS).read_text())
    held_out = [HeldOut(**measured) for measured in content.pop("held_out")]
    return Progress(**content, held_out=held_out)


def find_damage(folder: Path) -> str | None:
    """Compare a checkpoint with its checksums; name the first file that is not as it was written, None if all are."""
    if not is_intact(folder / CHECKSUMS):
        return f"{CHECKSUMS} missing or altered: it was not written to its end"
    recorded, files = read_checksummed(folder / CHECKSUMS)["files"], hash_files(folder)
    for name, digest in recorded.items():
        if files.get(name) != digest:
            return f"{name} {'altered' if name in files else 'missing'}"
    return None


@contextmanager
def open_intact(storage: Storage) -> Iterator[Path | None]:
    """Yield the newest checkpoint that is whole, among those that Ray Train keeps side by side in a storage.

    Yields:
        A local folder, gone afterwards if the storage is not; None if there is no checkpoint at all. A damaged one is
        passed over with a warning.

    Raises:
        UserError: if there are checkpoints and all are damaged.
    """
    folders, _ = storage.list_folder()
    names = sorted((name for name in folders if name.startswith("checkpoint_")), reverse=True)
    for name in names:
        with _open_folder(storage, name) as folder:
            damage = find_damage(folder)
            if damage is None:
                yield folder
                return
            logger.warning("checkpoint %s/%s is damaged (%s); trying the one before", storage.shown, name, damage)
    if names:
        raise UserError(f"every checkpoint in {storage.shown} is damaged; remove that folder to train from the start")
    yield None


@contextmanager
def _open_folder(storage: Storage, name: str) -> Iterator[Path]:
    if storage.folder is not None:
        yield storage.folder / name
        return
    with TemporaryDirectory() as copy:
        for file in storage.list(name):
            path = Path(copy) / file.path.removeprefix(f"{name}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            storage.download(file.path, path)
        yield Path(copy)


def _gather(weight: torch.Tensor) -> torch.Tensor:
    """Return a weight whole and on the CPU; where workers share it out, all of them call this."""
    whole = weight.full_tensor() if isinstance(weight, DTensor) else weight
    return whole.detach().cpu()


def _name_trained(model: Any) -> set[str]:
    """Return all names of what is trained; weights that are tied have several, and PEFT saves by each."""
    return {name for name, weight in model.named_parameters(remove_duplicate=False) if weight.requires_grad}
