"""What a training run needs to go on where it stopped: adapter, optimizer state, step, losses."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict

ADAPTER = "adapter"
STATE = "state.pt"


@dataclass(slots=True)
class Progress:
    """Where a run stands."""

    step: int = 0
    """Optimizer steps done."""
    losses: list[float] = field(default_factory=list)
    """Mean loss per answer token, one for each step done."""


def save_checkpoint(folder: Path, model: Any, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    """Write the adapter in PEFT's own format, and beside it what only training needs."""
    model.save_pretrained(folder / ADAPTER)
    torch.save(
        {
            "adapter": get_peft_model_state_dict(model),
            "optimizer": optimizer.state_dict(),
            "step": progress.step,
            "losses": progress.losses,
        },
        folder / STATE,
    )


def load_checkpoint(folder: Path, model: Any, optimizer: torch.optim.Optimizer) -> Progress:
    """Put weights and optimizer back as they were and return where the run stood."""
    state = torch.load(folder / STATE, weights_only=True)
    set_peft_model_state_dict(model, state["adapter"])
    optimizer.load_state_dict(state["optimizer"])
    return Progress(step=state["step"], losses=state["losses"])
