"""A training on two nodes of which one is lost half-way: `python -m tests.training.elastic_run CONFIG STEPS`.

A process of its own, because a process can be in one Ray only. Every worker writes the step that it makes and how
many workers there are into the file STEPS.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ray
import ray.train
from ray.cluster_utils import Cluster

from eshop_ray.cluster import set_data_context
from eshop_ray.config import load_config
from eshop_ray.training import loop, trainer
from eshop_ray.training.learner import Learner
from tests.fresh_ray import leave_out_cleaner
from tests.processes import end_cluster
from tests.waiting import wait_until


def note_steps(path):
    """Return a worker that notes its steps, and takes its time for them."""

    def train_worker(settings):
        original, world_size = Learner.step, ray.train.get_context().get_world_size()

        def step(self, share, rate):
            with Path(path).open("a") as stream:
                stream.write(f"{share.step} {world_size}\n")
            time.sleep(0.3)
            return original(self, share, rate)

        Learner.step = step
        loop.train_worker(settings)

    return train_worker


def main(config_path, steps):
    config = load_config(config_path, [])
    cluster = Cluster(initialize_head=True, connect=False, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=3) for _ in range(2)]
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    set_data_context()
    leave_out_cleaner()
    trainer.train_worker = note_steps(steps)
    with ThreadPoolExecutor() as threads:
        training = threads.submit(
            trainer.train_adapter, config, Path(config.model.source), "f" * 64, {"base": "b" * 64}
        )
        if wait_until(lambda: len(read(steps)) > 7, "eight notes of steps", is_running=lambda: not training.done()):
            cluster.remove_node(nodes[0], allow_graceful=False)
        training.result()
    ray.shutdown()
    end_cluster(cluster)


def read(steps):
    path = Path(steps)
    return path.read_text().splitlines() if path.exists() else []


if __name__ == "__main__":
    main(*sys.argv[1:])
