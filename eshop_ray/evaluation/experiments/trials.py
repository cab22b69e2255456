"""What a search has to measure: the base, every adapter alone, and every candidate, by more and more rows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from eshop_ray.artifacts import fingerprint, read_complete
from eshop_ray.config import Config
from eshop_ray.evaluation.experiments.candidates import Candidate, build_candidates
from eshop_ray.evaluation.experiments.members import MIXED
from eshop_ray.models import model_digest
from eshop_ray.tasks import get_task
from eshop_ray.training.merging.adapters import AdapterFile

BASE = "base"
"""The trial without any update."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One update of the base whose losses are measured: a candidate's, an adapter's, or none."""

    update: str
    """The candidate's id, the adapter's digest, or `base`."""
    name: str
    """In messages."""
    places: range
    """Which rows of each task to measure by, in the order of `build_eval_set`."""
    candidate: Candidate | None = None
    reference: str | None = None
    """Name of the adapter that is measured alone."""

    @property
    def key(self) -> str:
        """In the log of measurements."""
        return to_key(self.update, self.places)


def to_key(update: str, places: range) -> str:
    """Return the name of a measurement: of what, and by which rows of each task."""
    return f"{update} by {places.start}-{places.stop}"


@dataclass(frozen=True)
class SearchPlan:
    """What a search works on, and all that follows from it before anything is measured."""

    config: Config
    model_dir: Path
    adapters: Sequence[AdapterFile]
    """What is merged, in the order of the weights."""
    tasks_of: Mapping[str, Sequence[str]]
    """Adapter's name in the report -> tasks that it was trained on, in the order of the adapters."""
    mixed: AdapterFile | None = None
    """The adapter trained on all tasks, for comparison."""

    @cached_property
    def tasks(self) -> list[str]:
        """The tasks that are compared: those with an adapter of their own."""
        return sorted({task for tasks in self.tasks_of.values() for task in tasks})

    @cached_property
    def references(self) -> dict[str, AdapterFile]:
        """Name -> adapter that is measured alone."""
        mixed = {MIXED: self.mixed} if self.mixed else {}
        return {**dict(zip(self.tasks_of, self.adapters, strict=True)), **mixed}

    @cached_property
    def candidates(self) -> list[Candidate]:
        """The merges to try."""
        return build_candidates(self.config.search, len(self.adapters))

    @cached_property
    def stages(self) -> list[range]:
        """Which rows of each task a stage adds to those of the stages before."""
        search = self.config.search
        growth = max(2, math.ceil(1 / search.kept_share))
        stops = [search.max_rows if search.kept_share == 1 else min(search.first_rows, search.max_rows)]
        while stops[-1] < search.max_rows:
            stops.append(min(search.max_rows, stops[-1] * growth))
        return [range(start, stop) for start, stop in zip([0, *stops], stops, strict=False)]

    def plan_stage(self, places: range, candidates: Sequence[Candidate]) -> list[Trial]:
        """Return what a stage measures, what others are compared with first."""
        adapters = self.references.items()
        references = [Trial(adapter.digest, f"adapter {name}", places, reference=name) for name, adapter in adapters]
        measured = [Trial(each.id, f"candidate {each.id}", places, each) for each in candidates]
        return [Trial(BASE, "the base", places), *references, *measured]

    @cached_property
    def inputs(self) -> str:
        """Digest of all that determines the losses of a trial; which trials there are does not."""
        train = self.config.train
        settings = [self.config.search.max_rows, train.precision, train.max_row_length, self.config.seed]
        versions = {name: get_task(name).version for name in self.tasks}
        digests = [adapter.digest for adapter in self.adapters]
        records = read_complete(self.config.records_dir, job="prepare_data").digest
        return fingerprint([digests, model_digest(self.model_dir), records, versions, settings])
