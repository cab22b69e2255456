"""The product's own commands that a run goes through, one after the other, and the room that they need.

adapters/ner:     eshop train-lora
merges/ties-4f2a: eshop merge-lora --> eshop batch-infer
"""

import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace

from eshop_ray.config import Config, InferSection
from eshop_ray.config.training import LearningSection

Command = tuple[str, ...]
"""What a child process runs; the path of the run's config is added to it."""

ESHOP: Command = (sys.executable, "-m", "eshop_ray")
"""The command `eshop`, by the interpreter that runs this process."""

TRAIN: tuple[Command, ...] = ((*ESHOP, "train-lora"),)
ANSWER: tuple[Command, ...] = ((*ESHOP, "batch-infer"),)
MERGE_AND_ANSWER: tuple[Command, ...] = ((*ESHOP, "merge-lora"), *ANSWER)
"""What chains are made of."""


@dataclass(frozen=True, slots=True)
class Chain:
    """Commands that one run goes through, in this order; what is complete and unchanged they skip themselves."""

    config: Config
    commands: tuple[Command, ...]


@dataclass(frozen=True, slots=True)
class Needs:
    """What one chain holds of the cluster."""

    num_cpus: float
    """Logical."""
    num_gpus: float = 0
    max_parallel: int | None = None
    """Chains that can run at one time, whatever room there is."""


def needs_of_training(train: LearningSection) -> Needs:
    """Return what `train_lora` reserves, or `train_encoder`."""
    return Needs(train.num_cpus, train.num_gpus)


def needs_of_inference(infer: InferSection) -> Needs:
    """Return what `batch_infer` reserves. Runs that share one Ray Serve deployment take turns: each brings a model."""
    if infer.engine == "serve":
        return Needs(1, max_parallel=1)
    return Needs(infer.num_cpus, infer.num_gpus)


def count_room(limits: Mapping[str, float], needs: Needs, max_parallel: int) -> int:
    """Return how many chains fit into a cluster at one time, at least one.

    Args:
        limits: Resource -> what the cluster has, or can grow to.
        needs: Of one chain.
        max_parallel: As many as are wanted.
    """
    reserved = {"CPU": needs.num_cpus, "GPU": needs.num_gpus}
    rooms = [int(limits.get(resource, 0) // needed) for resource, needed in reserved.items() if needed]
    return max(1, min(*rooms, max_parallel, needs.max_parallel or max_parallel))


def share_cores(chain: Chain, num_parallel: int, num_nodes: int) -> Chain:
    """Give a run's workers their part of the cores: each would take all of them, and they would stand in each other's
    way. Runs that are alone, are told, or train on GPUs stay as they are.
    """
    if num_parallel < 2:
        return chain
    config = chain.config
    shared = {
        name: _share(section, num_parallel, num_nodes)
        for name, section in (("train", config.train), ("conventional", config.conventional))
    }
    return replace(chain, config=config.model_copy(update=shared))


def _share(section: LearningSection, num_parallel: int, num_nodes: int) -> LearningSection:
    if section.torch_threads or section.use_gpu:
        return section
    workers_per_node = math.ceil(num_parallel * section.max_workers / num_nodes)
    threads = max(1, (os.cpu_count() or 1) // workers_per_node)
    return section.model_copy(update={"torch_threads": threads})
