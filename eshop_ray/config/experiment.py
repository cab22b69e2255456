"""The sections of a config that experiments read: which adapters are trained, how they are combined, what is tried."""

from typing import Annotated, Literal

from pydantic import Field

from eshop_ray.config.base import PositiveInt, Section, Share

MergeMethod = Literal["linear", "cat", "svd", "ties", "ties_svd", "dare_linear", "dare_ties", "magnitude_prune"]
"""PEFT's `combination_type`s."""
Strategy = Literal["single", "mixed", "merged"]
Density = Annotated[float, Field(gt=0, le=1)]

METHODS: tuple[MergeMethod, ...] = (
    *("linear", "cat", "svd", "ties", "ties_svd", "dare_linear", "dare_ties", "magnitude_prune"),
)
WITH_DENSITY = frozenset({"ties", "ties_svd", "dare_linear", "dare_ties", "magnitude_prune"})
"""Methods that thin updates out first."""
EQUAL_RANKS = frozenset({"linear", "ties", "dare_linear", "dare_ties", "magnitude_prune"})
"""Methods that add factors up, place by place."""


class ExperimentSection(Section):
    """Adapters that are trained beside each other on the same records, each in a run of its own under `adapters/`."""

    strategies: tuple[Strategy, ...] = ("single", "mixed", "merged")
    """`single`: an adapter per task; `mixed`: one adapter on all tasks; `merged`: the adapters of `single`, combined
    by what `search_merge` finds."""
    num_shards: PositiveInt = 1
    """Adapters per task, each on its own part of the task's rows."""
    seeds: tuple[int, ...] = ()
    """Adapters per task and shard, one for each seed; empty takes `seed`."""
    max_parallel: PositiveInt | None = None
    """Jobs at one time; None runs as many as the cluster has room for."""


class MergeSection(Section):
    """What `merge_lora` folds into the base: the run's own adapter, or several combined."""

    adapters: tuple[str, ...] = ()
    """Folders of adapters of one base; empty takes `adapter/` of the run directory, as it is."""
    method: Literal[MergeMethod, "switched"] = "cat"
    """`switched` keeps adapters of different tasks apart: bulk inference answers one task after the other, with its
    adapter folded in. The others are PEFT's `combination_type`s. `cat` adds the updates up, exactly; `svd` keeps the
    largest directions of that sum; `linear` adds up factors; `ties`, `dare_*` and `magnitude_prune` thin the factors
    out first, `ties_svd` the updates."""
    weights: tuple[float, ...] = ()
    """One per adapter; empty gives all the same, 1 in sum."""
    density: Density = 1.0
    """Share of values kept by the methods that thin out."""
    majority_sign: Literal["total", "frequency"] = "total"
    """How `ties`, `ties_svd` and `dare_ties` elect a sign: by the sum of values, or by how many there are of each."""
    svd_rank: PositiveInt | None = None
    """Rank of the update of `svd` and `ties_svd`; None takes the largest of the adapters' ranks."""
    wise_ft: Share = 1.0
    """Share of the combined update that goes into the base: 0 leaves the base as it is (WiSE-FT)."""
    digests: tuple[str, ...] = ()
    """Digests of the adapters that a recipe was found for; others are refused. Empty takes whatever stands there."""


class SearchSection(Section):
    """What `search_merge` tries, how it compares, and when it refuses."""

    methods: tuple[MergeMethod, ...] = METHODS
    """Methods to try."""
    scales: tuple[float, ...] = (0.4, 0.7, 1.0)
    """Weights that all adapters get alike."""
    tilts: tuple[float, ...] = (1.5, 2.5)
    """How many times as much as the others one adapter weighs, each in its turn."""
    soups: bool = False
    """Try the mean of each subset of the adapters too: for several adapters of one task (model soups)."""
    densities: tuple[Density, ...] = (0.3, 0.6)
    """Densities for the methods that thin out."""
    wise_ft: tuple[Share, ...] = (1.0,)
    """Shares of the combined update to try."""
    max_candidates: PositiveInt = 240
    """Candidates at most: every method keeps its share, always the same ones."""
    first_rows: PositiveInt = 4
    """Rows of the split `validation` per task by which every candidate is measured."""
    max_rows: PositiveInt = 32
    """Rows per task, those of earlier stages among them, by which the last ones are measured."""
    kept_share: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Share of a stage's candidates that go on to the next, which has `1 / kept_share` times the rows (successive
    halving); 1 measures every candidate by `max_rows`."""
    num_workers: PositiveInt | None = None
    """Ray actors, each with the base in memory; None takes one per core (GPU) that the cluster has."""
    use_gpu: bool = False
    """One GPU per actor."""
    num_confirmed: PositiveInt = 3
    """Candidates, best by loss, that then generate answers to `validation` and are scored by the tasks' metrics."""
    max_confirm_rows: PositiveInt | None = 100
    """Rows of `validation` per task that they answer."""
    max_lost_share: Share = 0.1
    """A merge is not promoted if it costs any task more than this share of the score of its own adapter."""
