import socket

import pytest
import ray

from eshop_ray.cluster import start_ray
from eshop_ray.config import RaySection
from eshop_ray.errors import UserError

pytestmark = pytest.mark.usefixtures("ray_session")


def refuse(config, **needed):
    with pytest.raises(UserError) as refused:
        start_ray(config, **needed)
    return str(refused.value)


def test_plan_that_fits():
    start_ray(RaySection(), num_cpus=4)


def test_too_few_cpus_here_names_the_number_to_raise():
    message = refuse(RaySection(), num_cpus=5)
    assert "needs 5 logical CPUs at one time, this machine's Ray has 4" in message
    assert "raise `ray.num_cpus` to at least 5" in message


def test_too_few_cpus_on_a_cluster_asks_for_nodes(monkeypatch):
    assert "the cluster has 4; add nodes with CPUs" in refuse(RaySection(address="10.0.0.1:6379"), num_cpus=5)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert "the cluster has 4; add nodes with CPUs" in refuse(RaySection(), num_cpus=5)


def test_missing_gpu():
    message = refuse(RaySection(), num_cpus=1, num_gpus=1)
    assert "needs 1 logical GPUs at one time, this machine's Ray has 0; add nodes with GPUs" in message


def test_cluster_that_grows_on_demand_says_how_far():
    start_ray(RaySection(address="10.0.0.1:6379", limits={"CPU": 100, "GPU": 8}), num_cpus=90, num_gpus=8)
    assert "has 8;" in refuse(RaySection(address="10.0.0.1:6379", limits={"GPU": 8}), num_cpus=1, num_gpus=9)


@pytest.mark.parametrize("kind", [RuntimeError, Exception])  # the second where a node is not up in time
def test_a_ray_that_cannot_be_had_is_one_message(monkeypatch, kind):
    def fail(**_):
        raise kind("The GCS did not start within\n30 seconds")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(UserError, match=r"cannot be started here: The GCS did not start within 30 seconds; look for"):
        start_ray(RaySection(), num_cpus=1)
    with pytest.raises(UserError, match=r"the Ray cluster at head:6379 cannot be joined: .*; check `ray\.address`"):
        start_ray(RaySection(address="head:6379"), num_cpus=1)


def test_a_port_for_metrics_that_is_in_use_is_refused_before_ray_starts(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray was started"))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=rf"serve\.metrics_port={port}: .* in use; name another"):
            start_ray(RaySection(), num_cpus=1, metrics_port=port)
