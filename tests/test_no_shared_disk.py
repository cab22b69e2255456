"""The whole road on three nodes that share no file, with its run in an object store."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import boto3
import pytest
import yaml

from eshop_ray.enrichment.tables import enriched_table
from eshop_ray.sample_shop.vocabulary import CATEGORIES
from eshop_ray.sample_shop.write import write_sample_shop
from eshop_ray.storage import Storage
from tests.processes import free_port
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[1]
NAMESPACES = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
WIDER = "catalog.path=products.*.jsonl reviews.path=reviews.*.jsonl"
"""The second night's catalogue: all products of the first, and more."""
JOBS = (
    "prepare-data",
    "train-lora",
    "merge-lora",
    "batch-infer",
    "evaluate",
    "enrich-catalog",
    f"enrich-catalog {WIDER}",
    "verify",
)
DRIVER = """
import json, os, pathlib, subprocess, sys, time
import ray
ray.init(log_to_driver=False)
while ray.cluster_resources().get("CPU", 0) < 6:
    time.sleep(0.2)
ray.shutdown()
config = pathlib.Path("/mnt/config.yaml")
config.write_text(sys.argv[1])
for number, words in enumerate(sys.argv[2:]):
    job, *settings = words.split()
    # Each time a driver that knows nothing of those before it.
    environment = {**os.environ, "ESHOP_RAY_CACHE": f"/mnt/driver-{number}"}
    command = [sys.executable, "-m", "eshop_ray", job, str(config), *settings]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    said = (done.stdout + done.stderr)[-4000:]
    print(json.dumps({"job": words, "status": done.returncode, "said": said}), flush=True)
    if done.returncode:
        break
"""

pytestmark = pytest.mark.usefixtures("starts_vllm")


class Node:
    """One node, and what it said."""

    def __init__(self, name, num_cpus, port, *command):
        # A Ray that was started in this process left word that nodes have a token: these have homes without one.
        own = ("RAY_ADDRESS", "RAY_AUTH_MODE")
        environment = {name: value for name, value in os.environ.items() if name not in own}
        environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [*NAMESPACES, "bash", "tests/private_node.sh", name, str(num_cpus), str(port), *command],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def end(self):
        """Let it end, and return what it said."""
        return self.process.communicate(timeout=600)[0]


@pytest.fixture
def config(s3, tiny_model_dir, tmp_path):
    """A run in the object store, with the shop's files and the base model."""
    client = boto3.client("s3", endpoint_url=s3)
    write_sample_shop(str(tmp_path / "raw"), num_products=60, seed=0)
    for folder, prefix in ((tmp_path / "raw", "raw"), (tiny_model_dir, "models/tiny")):
        for path in folder.iterdir():
            client.upload_file(str(path), "shop", f"{prefix}/{path.name}")
    sources = [{"format": "queryner", "path": "queries.{split}.conll"}]
    sources += [{"format": "catalog", "path": "products.{split}.jsonl"}]
    sources += [{"format": "reviews", "path": "review_summaries.{split}.tsv"}]
    return {
        "name": "shop",
        "run_root": "s3://shop/runs",
        "data": {"root": "s3://shop/raw", "sources": sources},
        "model": {"source": "s3://shop/models/tiny"},
        "lora": {"r": 4, "lora_alpha": 8},
        # Two of these fit on no node: they are on two.
        "train": {"num_workers": 2, "cpus_per_worker": 2, "global_batch_size": 64, "checkpoint_steps": 1},
        "infer": {"models": ["merged"], "max_rows": 5, "engine_kwargs": {"dtype": "float32", "max_model_len": 1024}},
        "catalog": {"path": "products.dev.jsonl", "labels": list(CATEGORIES)},
        "reviews": {"path": "reviews.dev.jsonl"},
        "enrich": {"max_quarantined_share": 1.0, "canary_rows": 0},  # this model talks at random
    }


def is_open(port):
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_nodes_need_no_disk_in_common(config):
    if subprocess.run([*NAMESPACES, "true"], check=False).returncode:
        pytest.skip("this machine gives no namespaces to this user")
    port = free_port()
    nodes = [Node("head", 1, port, sys.executable, "-c", DRIVER, yaml.safe_dump(config), *JOBS)]
    try:
        wait_until(lambda: is_open(port), "the head", is_running=lambda: nodes[0].process.poll() is None)
        nodes += [Node("left", 3, port), Node("right", 2, port)]
        head, left, right = (node.end() for node in nodes)
    finally:
        for node in nodes:
            node.process.kill()
    done = [json.loads(line) for line in head.splitlines() if line.startswith("{")]
    assert done, head
    assert [one["job"] for one in done if one["status"] == 0] == list(JOBS), done[-1]["said"]
    assert "all sound: s3://shop/runs/shop/enriched" in done[-1]["said"]
    for name, said in (("head", head), ("left", left), ("right", right)):
        assert f"{name} sees /mnt/of-{name}\n" in said
    for said in (left, right):
        # What both nodes worked with, once each: the base, the rows to learn from.
        assert len(re.findall(r"^\./folders/[0-9a-f]{32}$", said, re.MULTILINE)) >= 2
        assert "./mirror" not in said
    night = json.loads(Storage("s3://shop/runs/shop").read("enrichment.json"))
    # Labels and tags are held to what can be read; what this model sums up cannot.
    assert (night["num_rows"], night["num_unchanged"], night["num_deleted"]) == (180, 40, 0)
    assert len(enriched_table("s3://shop/runs/shop/enriched").snapshot().files) > 0
    names = {file.path.split("/")[0] for file in Storage("s3://shop/runs/shop").list()}
    assert names >= {"config.yaml", "records", "adapter", "merged", "predictions", "metrics.json", "enrichment.html"}
    assert not any(name.startswith(".") for name in names), "a job left something behind"
