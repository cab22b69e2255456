"""Nights on three nodes, of which each loses two: `python -m tests.enrichment.cluster_night DIGEST CONFIG...`.

A process of its own, because a process can be in one Ray only. Prints each night's statistics.
"""

import json
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from eshop_ray.cluster import set_data_context
from eshop_ray.config import load_config
from eshop_ray.enrichment.nightly import run_night
from eshop_ray.models import Model
from tests.processes import end_cluster, find_processes
from tests.waiting import wait_until

ENGINE = "ray::SimulatedEngine"


class Nodes:
    """A head that works nothing, as in a cluster with a head of its own, and two workers."""

    def __init__(self):
        self.cluster = Cluster(
            initialize_head=True, connect=False, head_node_args={"num_cpus": 0, "include_dashboard": False}
        )
        self.workers = [self.cluster.add_node(num_cpus=3) for _ in range(2)]
        self.cluster.wait_for_nodes()

    def find_engine(self):
        """The worker that an engine runs on, or None."""
        for node in self.workers:
            (raylet,) = node.all_processes["raylet"]
            if find_processes(raylet.process.pid, ENGINE):
                return node
        return None

    def lose(self, node):
        """A machine goes down at once, and another comes up in its place."""
        self.workers.remove(node)
        self.cluster.remove_node(node, allow_graceful=False)
        self.workers.append(self.cluster.add_node(num_cpus=3))


def run_losing(nodes, config, digest, chance):
    """Run a night during which the engine's node goes down and later any; return the night's statistics."""
    log = Path(config.table_uri) / "_delta_log"
    started, killed = len(list(log.glob("*.json"))) + 1, []
    moments = (chance.randrange(1, 3), True), (chance.randrange(3, 6), chance.random() < 0.5)
    with ThreadPoolExecutor() as threads:
        night = threads.submit(run_night, config, Model(None, digest))
        for commits, is_engines in moments:  # a node starts from the main thread only
            engines = wait_until(
                lambda commits=commits: len(list(log.glob("*.json"))) >= started + commits and nodes.find_engine(),
                f"{commits} commits and an engine",
                is_running=lambda: not night.done(),
            )
            if engines:
                nodes.lose(engines if is_engines else next(node for node in nodes.workers if node is not engines))
                killed.append("engine" if is_engines else "other")
        Path(config.infer.engine_kwargs["hurry_on"]).touch()
        return {"killed": killed, **night.result()}


def main(digest, *config_paths):
    nodes = Nodes()
    ray.init(address=nodes.cluster.address, log_to_driver=False)
    set_data_context()
    for seed, path in enumerate(config_paths):
        print(json.dumps(run_losing(nodes, load_config(path, []), digest, random.Random(seed))))
    ray.shutdown()
    end_cluster(nodes.cluster)


if __name__ == "__main__":
    main(*sys.argv[1:])
