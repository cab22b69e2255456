"""What a run cost: seconds of training, and the price of answers."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eshop_ray import artifacts
from eshop_ray.config import Config
from eshop_ray.evaluation.matrix.plan import Run
from eshop_ray.evaluation.matrix.runs import CELLS

TRAINING = "training.json"
"""Beside an adapter or a conventional model: how it came about."""
MILLION = 1_000_000
SECONDS_PER_HOUR = 3600


@dataclass(frozen=True, slots=True)
class Training:
    """What is known of the training of a run's model."""

    seconds: float
    """Of all adapters that are in it; 0 for a model as it came."""
    pretrained: bool
    """Whether it began with weights that somebody had trained."""


def read_training(config: Config, run: Run) -> Training:
    """Return what a run's model took to train.

    Args:
        config: The matrix's.
        run: Which.
    """
    if run.answers_as == "base":
        return Training(0.0, pretrained=True)
    kind = "conventional" if run.answers_as == "conventional" else "adapter"
    folders = [config.run_dir / CELLS / name / kind for name in run.learned_in]
    histories = [_read(folder) for folder in folders]
    return Training(
        seconds=sum(float(history.get("seconds", 0.0)) for history in histories),
        pretrained=all(history.get("pretrained", True) for history in histories),
    )


def _read(folder: Path) -> dict[str, Any]:
    """Return an artifact's history, and what its manifest says of it."""
    history: dict[str, Any] = json.loads((folder / TRAINING).read_text())
    return {**artifacts.read_manifest(folder, job="run_experiments").details, **history}


def find_price(price_per_hour: float | None, rows_per_second: float | None) -> float | None:
    """Return the price of a million answers; None where the price of an hour, or the speed, is not known."""
    if not price_per_hour or not rows_per_second:
        return None
    return price_per_hour * MILLION / rows_per_second / SECONDS_PER_HOUR


def round_to(number: float | None) -> float | None:
    """Return a measured number as it is written: four digits say more than a clock can."""
    return None if number is None else float(f"{number:.4g}")
