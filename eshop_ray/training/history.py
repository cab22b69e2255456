"""How far a training run is and how well it has done so far."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Loss on rows that are not trained on."""

    step: int
    """Optimizer steps done when it was measured."""
    losses: dict[str, float]
    """Task -> mean loss per answer token."""
    mean: float
    """Mean over the tasks."""


@dataclass(slots=True)
class Progress:
    """Where a run stands."""

    step: int = 0
    """Optimizer steps done."""
    losses: list[float] = field(default_factory=list)
    """Mean loss per answer token, one for each step done."""
    held_out: list[HeldOut] = field(default_factory=list)
    """One for each checkpoint, if rows are held out."""
    is_packed: bool = True
    """Whether several rows share a pass."""
    seconds: float = 0.0
    """Of learning, those before an interruption among them."""
