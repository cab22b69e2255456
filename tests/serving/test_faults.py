"""What dies under load: how many requests fail, how soon all is well again, and that nobody gets another's answer."""

import time

import pytest
import ray
from ray import serve

from tests.processes import free_port
from tests.serving.double import (
    HUNG,
    Load,
    count_failed,
    count_replicas,
    deploy,
    find_actor,
    find_gap,
    list_replicas,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

SETTLED_SECONDS = 5.0
"""Of answers to everybody, after which all is well again."""
RECOVERY_SECONDS = 120.0
"""On a machine that does much else; Ray Serve looks after its proxies every ten seconds."""


@pytest.fixture(scope="module")
def port(ray_session, tmp_path_factory):  # noqa: ARG001
    port = free_port()
    deploy(tmp_path_factory.mktemp("ledger"), port, num_replicas=2)
    yield port
    serve.shutdown()


def kill_under_load(port, prefix, no_restart=True):
    """Kill an actor while clients ask; return what they got and when it died."""
    with Load(port, clients=4) as load:
        wait_until(lambda: len(load.got) > 20, "answers")
        died = time.monotonic()
        ray.kill(find_actor(prefix), no_restart=no_restart)

        def is_well():
            failed = [one.ended for one in load.got if one.status != 200]
            since = max([died, *failed])
            return time.monotonic() - since > SETTLED_SECONDS and load.got[-1].ended > since

        wait_until(is_well, f"answers after the end of {prefix}")
    assert all(one.is_right for one in load.got)
    assert not [one for one in load.got if one.status == HUNG]
    return load.got, died


def test_a_replica_that_dies_costs_no_request(port):
    got, died = kill_under_load(port, list_replicas()[0])
    assert count_failed(got) == 0
    assert find_gap(got, died, got[-1].ended) < RECOVERY_SECONDS
    wait_until(lambda: count_replicas() == 2, "the replica in its place")


def test_a_proxy_that_dies_comes_back_and_nobody_hangs(port):
    got, died = kill_under_load(port, "SERVE_PROXY_ACTOR")
    failed = [one for one in got if one.status != 200]
    assert {one.status for one in failed} <= {0, 503}
    assert find_gap(got, died, got[-1].ended) < RECOVERY_SECONDS


def test_a_controller_that_dies_costs_no_request_and_comes_back(port):
    got, _ = kill_under_load(port, "SERVE_CONTROLLER_ACTOR", no_restart=False)
    assert count_failed(got) == 0
    wait_until(lambda: count_replicas() == 2, "the controller")
