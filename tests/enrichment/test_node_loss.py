"""Nights on a cluster of three nodes that lose two of them, one after the other."""

import json
import os
import signal
import subprocess
import sys

import pytest

from tests.enrichment.drivers import PATIENCE, ROOT, Reader
from tests.enrichment.shop import timeless
from tests.processes import stop

pytestmark = pytest.mark.ray

NUM_NIGHTS = 2


def run_nights(shops, folder):
    """Run a night of each shop on one cluster in a process of its own, and return the nights' statistics."""
    digest = shops[0].digest
    command = [sys.executable, "-m", "tests.enrichment.cluster_night", digest, *(shop.write_config() for shop in shops)]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    errors = folder / "stderr"
    with errors.open("w") as stream:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=stream, start_new_session=True
        )
        try:
            printed = process.communicate(timeout=2 * PATIENCE)[0]
        finally:
            stop(process, signal.SIGKILL, 10)
    assert process.returncode == 0, errors.read_text()[-3000:]
    return [json.loads(line) for line in printed.splitlines() if line.startswith(b"{")]  # Ray prints there too


def test_nights_survive_the_loss_of_nodes(tmp_path, old_shop, undisturbed):
    shops = [old_shop.copy(tmp_path / str(seed)) for seed in range(NUM_NIGHTS)]
    with Reader(shops[0].config().table_uri) as reader:
        nights = run_nights(shops, tmp_path)
    assert reader.troubles == []
    assert reader.counts == sorted(reader.counts)
    assert sum(len(stats["killed"]) for stats in nights) >= NUM_NIGHTS
    assert [stats["killed"][0] for stats in nights] == ["engine"] * NUM_NIGHTS
    for shop, stats in zip(shops, nights, strict=True):
        assert timeless(shop.rows()) == timeless(undisturbed[1])
        assert shop.quarantine() == []
        assert stats["num_inferred"] == undisturbed[0]["num_inferred"]
