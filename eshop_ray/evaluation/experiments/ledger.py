"""What a search has measured so far: one JSON line per measurement, on disk before the next one is asked for."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Measurement:
    """The losses under one update of the base."""

    key: str
    """What was measured."""
    losses: dict[str, float | None]
    """Task -> mean loss per answer token; None for a loss that is no number."""
    seconds: float
    """What combining and measuring took."""


class Ledger:
    """Measurements by their keys, kept through every end of a search."""

    def __init__(self, path: Path) -> None:
        """Read what an earlier search has left; a last line that was cut off is dropped."""
        self._path = path
        self._measurements: dict[str, Measurement] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_bytes() if path.exists() else b""
        num_whole = text.rfind(b"\n") + 1
        if num_whole < len(text):
            os.truncate(path, num_whole)
        for line in text[:num_whole].splitlines():
            measurement = Measurement(**json.loads(line))
            self._measurements[measurement.key] = measurement

    def __contains__(self, key: str) -> bool:
        """Whether it has been measured."""
        return key in self._measurements

    def __getitem__(self, key: str) -> Measurement:
        """Return what was measured."""
        return self._measurements[key]

    def add(self, measurement: Measurement) -> None:
        """Write a measurement; it is on disk when this returns."""
        with self._path.open("ab") as stream:
            stream.write(json.dumps(asdict(measurement)).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        self._measurements[measurement.key] = measurement
