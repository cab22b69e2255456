"""Nights on a cluster of three nodes that lose two of them, one after the other."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.enrichment.drivers import ROOT, Reader
from tests.enrichment.shop import timeless
from tests.processes import stop
from tests.waiting import PATIENCE_S, wait_for_exit

pytestmark = pytest.mark.usefixtures("ray_session")


def run_nights(shops, folder):
    """Run a night of each shop on one cluster in a process of its own, and return the nights' statistics."""
    digest = shops[0].digest
    command = [sys.executable, "-m", "tests.enrichment.cluster_night", digest, *(shop.write_config() for shop in shops)]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    printed, errors = folder / "stdout", folder / "stderr"
    with printed.open("w") as out, errors.open("w") as err:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=err, start_new_session=True)
        try:
            status = wait_for_exit(process, "the nights on the cluster", 2 * PATIENCE_S)
        finally:
            stop(process, signal.SIGKILL, 10)
    assert status == 0, errors.read_text()[-3000:]
    lines = printed.read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]  # Ray prints there too


@pytest.mark.slow  # three nodes and their successors; drivers and engines are killed by faster tests
@pytest.mark.parametrize("num_nights", [1, 2])
def test_nights_survive_the_loss_of_nodes(tmp_path, old_shop, undisturbed, num_nights):
    shops = [old_shop.copy(tmp_path / str(seed)) for seed in range(num_nights)]
    for shop in shops:
        # The same answers, but slowly until both nodes are lost: a commit takes 32 of them.
        shop.faults = {"rows_per_second": 8, "hurry_on": str(shop.folder / "hurry")}
    with Reader(shops[0].config().table_uri) as reader:
        nights = run_nights(shops, tmp_path)
    assert reader.troubles == []
    assert reader.counts == sorted(reader.counts)
    for stats in nights:
        assert len(stats["killed"]) == 2
        assert stats["killed"][0] == "engine"
    for shop, stats in zip(shops, nights, strict=True):
        assert timeless(shop.rows()) == timeless(undisturbed[1])
        assert shop.quarantine() == []
        assert stats["num_inferred"] == undisturbed[0]["num_inferred"]
