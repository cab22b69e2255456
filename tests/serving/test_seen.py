"""What Prometheus sees of a running endpoint, and what Ray Serve's proxies make of a client's headers."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from eshop_ray.serving.metrics import METRICS
from tests.serving.seen_endpoint import NAMES

ROOT = Path(__file__).parents[2]
OF_CHAT = {"route": "/v1/chat/completions", "task": "-", "key": "search"}

pytestmark = pytest.mark.usefixtures("starts_ray")


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("seen")
    command = [sys.executable, "-m", "tests.serving.seen_endpoint", str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=380)
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads((folder / "seen.json").read_text())


@pytest.fixture(scope="module")
def samples(seen):
    """Name -> (labels, value) of each series."""
    found = {}
    for family in text_string_to_metric_families(seen["metrics"]):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def total(samples, name, **labels):
    """Return the sum of the series that have some labels."""
    return sum(value for found, value in samples[name] if labels.items() <= found.items())


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_has_its_name_and_its_labels(samples, metric):
    series = samples[f"{metric.exported_name}{'_bucket' if metric.kind == 'histogram' else ''}"]
    for labels, _ in series:
        assert labels["deployment"] == "Gateway"
        assert {*metric.labels, "application", "replica"} <= labels.keys()


def test_requests_tokens_and_times_are_counted_once(samples):
    assert total(samples, "ray_eshop_requests_total", **OF_CHAT, status="200") == len(NAMES)
    assert total(samples, "ray_eshop_tokens_total", **OF_CHAT, type="completion") == 2 * len(NAMES)
    assert total(samples, "ray_eshop_time_to_first_token_seconds_count", **OF_CHAT) == len(NAMES)
    assert total(samples, "ray_eshop_rejections_total", reason="invalid_api_key", key="-") == 1
    assert total(samples, "ray_eshop_requests_in_hand") == 0


@pytest.mark.slow  # an endpoint of its own
def test_nobody_is_shown_metrics_unless_a_port_is_named():
    command = [sys.executable, "-m", "tests.serving.seen_endpoint"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    assert json.loads(result.stdout.splitlines()[-1]) == []


def test_a_request_has_one_id_that_is_fit_for_a_log(seen):
    (plain, long, strange) = [(status, ids) for status, ids in seen["answers"]]
    assert plain == (200, ["plain"])
    for status, (name,) in (long, strange):
        assert status == 200
        assert name not in NAMES
        assert name.isalnum()
    assert seen["refused"] == [401, ["plain"]]
