"""A small file that says what a set of answers has cost so far; it outlives a killed run."""

import json
from collections import Counter
from pathlib import Path

from eshop_ray.places import place_of
from eshop_ray.storage import Storage


class Ledger:
    """Stands beside the folder of predictions; picklable, as the meter writes it."""

    def __init__(self, predictions_dir: Path | None, inputs: str) -> None:
        """Name the file.

        Args:
            predictions_dir: Where the answers are to stand; None: nothing is noted.
            inputs: Digest of all that determines them; what others have cost does not count.
        """
        self._storage = Storage(place_of(predictions_dir.parent)) if predictions_dir else None
        self._name = f".{predictions_dir.name}.spending.json" if predictions_dir else ""
        self._inputs = inputs

    def read(self) -> tuple[float, Counter[str]]:
        """Return what was spent at most, and the counts."""
        content = self._storage.read(self._name) if self._storage else None
        noted = json.loads(content) if content else {}
        if noted.get("inputs") != self._inputs:
            return 0.0, Counter()
        return float(noted["spent"]), Counter(noted["counts"])

    def write(self, spent: float, counts: Counter[str]) -> None:
        """Note what was spent, or is about to be."""
        if self._storage:
            self._storage.make_folder()
            noted = {"inputs": self._inputs, "spent": spent, "counts": dict(counts)}
            self._storage.write(self._name, json.dumps(noted).encode())

    def remove(self) -> None:
        """Clear away what the manifest of the answers says by now."""
        if self._storage:
            self._storage.delete(self._name)
