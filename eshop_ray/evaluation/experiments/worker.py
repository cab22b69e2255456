"""Who measures: Ray actors, each with the base in memory and its part of a machine's cores, or a GPU."""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import ray
import torch

from eshop_ray.artifacts import AnyFolder
from eshop_ray.cluster import cpu_environment
from eshop_ray.config import Config, SearchSection
from eshop_ray.errors import UserError
from eshop_ray.evaluation.experiments.losses import EvalSet, LossScorer, build_eval_set
from eshop_ray.evaluation.experiments.measurement_log import Measurement
from eshop_ray.evaluation.experiments.trials import Trial
from eshop_ray.training.merging.adapters import AdapterFile, Update, list_modules
from eshop_ray.training.merging.combine import combine
from eshop_ray.training.precision import choose_precision
from eshop_ray.training.tokens import TokenStore


@dataclass(frozen=True, slots=True)
class Setup:
    """What every worker needs to know; small, as folders are read where they are needed."""

    config: Config
    model_dir: AnyFolder
    merged: Sequence[str]
    """Names of the adapters that candidates combine, in the order of the weights."""
    folders: Mapping[str, AnyFolder]
    """Name -> folder of every adapter."""
    tokens_dir: AnyFolder
    """The validation rows."""
    num_threads: int


class LossWorker:
    """Measures trials, one after another; an actor's class."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._eval_sets: dict[range, EvalSet] = {}
        torch.set_num_threads(setup.num_threads)

    def run(self, trial: Trial) -> Measurement:
        """Return the losses of a trial."""
        scorer = self._scorer  # loaded for the first trial, so that trouble with it is told as a trial's
        started = time.monotonic()
        eval_set = self._eval_set(trial.places)
        losses = scorer.measure(self._read(trial), eval_set)
        return Measurement(trial.key, losses, round(time.monotonic() - started, 3))

    def _read(self, trial: Trial) -> Iterable[tuple[str, Update]]:
        if trial.candidate is not None:
            adapters = [self._adapters[name] for name in self._setup.merged]
            return combine(adapters, trial.candidate.to_merge(), self._setup.config.seed)
        if trial.reference is not None:
            adapter = self._adapters[trial.reference]
            return ((module, adapter.read(module)) for module in adapter.modules)
        return ()

    @cached_property
    def _adapters(self) -> dict[str, AdapterFile]:
        return {name: AdapterFile.open(Path(folder)) for name, folder in self._setup.folders.items()}

    def _eval_set(self, places: range) -> EvalSet:
        if places not in self._eval_sets:
            store = TokenStore.open(self._setup.tokens_dir)
            self._eval_sets[places] = build_eval_set(store, self._setup.config.train, places)
        return self._eval_sets[places]

    @cached_property
    def _scorer(self) -> LossScorer:
        config = self._setup.config
        device = torch.device("cuda" if config.search.use_gpu else "cpu")
        modules = list_modules(list(self._adapters.values()))
        return LossScorer(Path(self._setup.model_dir), modules, choose_precision(config.train), device)


def count_workers(search: SearchSection) -> int:
    """Return the number of actors: `search.num_workers`, or one per GPU or core that the cluster has.

    Raises:
        UserError: if GPUs are asked for and there are none.
    """
    if search.num_workers:
        return search.num_workers
    if not search.use_gpu:
        return count_cores()
    num_gpus = int(ray.cluster_resources().get("GPU", 0))
    if not num_gpus:
        raise UserError("`search.use_gpu`: the cluster has no GPU; leave it out, or say `search.num_workers`")
    return num_gpus


def count_cores() -> int:
    """Return the cores of the cluster; of this machine not more than it really has, whatever Ray was told."""
    here = ray.get_runtime_context().get_node_id()
    own = len(os.sched_getaffinity(0))
    nodes = {node["NodeID"]: int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]}
    return max(1, sum(min(own, cpus) if name == here else cpus for name, cpus in nodes.items()))


def start_worker(setup: Setup) -> Any:
    """Return a new actor that knows what it needs to."""
    use_gpu = setup.config.search.use_gpu
    options: dict[str, Any] = {"num_gpus": 1} if use_gpu else {"runtime_env": {"env_vars": cpu_environment()}}
    actor_class = ray.remote(LossWorker).options(num_cpus=1, scheduling_strategy="SPREAD", **options)
    return actor_class.remote(setup)
