"""What a search has measured so far: one JSON line per measurement, on disk before the next one is asked for."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from eshop_ray.append_log import AppendLog


@dataclass(frozen=True, slots=True)
class Measurement:
    """The losses under one update of the base."""

    key: str
    """What was measured."""
    losses: dict[str, float | None]
    """Task -> mean loss per answer token; None for a loss that is no number."""
    seconds: float
    """What combining and measuring took."""


class MeasurementLog:
    """Measurements by their keys, kept through every end of a search."""

    def __init__(self, path: Path) -> None:
        """Read what an earlier search has left, and keep another search out until the log is closed."""
        self._log = AppendLog(path)
        self._measurements = {one.key: one for one in self._log.read(lambda values: Measurement(**values))}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._log.__exit__(*error)

    def __contains__(self, key: str) -> bool:
        """Whether it has been measured."""
        return key in self._measurements

    def __getitem__(self, key: str) -> Measurement:
        """Return what was measured."""
        return self._measurements[key]

    def add(self, measurement: Measurement) -> None:
        """Write a measurement; it is on disk when this returns."""
        self._log.append([json.dumps(asdict(measurement))])
        self._measurements[measurement.key] = measurement
