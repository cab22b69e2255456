"""Replicas come and go on a local cluster: with the load, to nothing, with a new version, and when one hangs."""

import time

import httpx
import pytest
from ray import serve

from eshop_ray.serving.application import GATEWAY
from eshop_ray.serving.start import drain
from tests.processes import free_port
from tests.serving.double import APP, MODEL, Load, count_failed, count_replicas, deploy, list_replicas
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

QUICK = {"upscale_delay_s": 0.5, "downscale_delay_s": 2.0, "look_back_period_s": 11.0}
"""Ray Serve's own delays are half a minute and ten minutes."""


@pytest.fixture(scope="module")
def port(ray_session):  # noqa: ARG001
    yield free_port()
    serve.shutdown()


@pytest.fixture
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ledger")


def ask_once(port, **options):
    body = {"model": "eshop", "messages": [{"role": "user", "content": "a question"}]}
    return httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body, timeout=150, **options)


def test_replicas_follow_the_load_up_and_down_to_the_minimum(port, folder):
    scaling = {"min_replicas": 1, "max_replicas": 2, "target_ongoing_requests": 2, **QUICK}
    deploy(folder, port, seconds=0.3, autoscaling_config=scaling)
    assert count_replicas() == 1
    with Load(port, clients=8) as load:
        wait_until(lambda: count_replicas() == 2, "the second replica")
    assert count_failed(load.got) == 0
    assert all(one.is_right for one in load.got)
    wait_until(lambda: count_replicas() == 1, "the minimum")
    time.sleep(3)
    assert count_replicas() == 1


def test_a_model_that_nobody_asks_sleeps_and_the_next_request_waits_for_it(port, folder):
    scaling = {"min_replicas": 0, "max_replicas": 1, "target_ongoing_requests": 2, **QUICK}
    deploy(folder, port, autoscaling_config={**scaling, "initial_replicas": 1})
    ready = f"http://127.0.0.1:{port}/ready"
    wait_until(lambda: httpx.get(ready, timeout=30).status_code == 200, "the first token")

    def has_none_left():
        assert httpx.get(ready, timeout=30).status_code == 200  # who looks at it does not keep it awake
        return count_replicas() == 0

    wait_until(has_none_left, "sleep")
    answer = ask_once(port)
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] == "one a question"
    assert count_replicas() == 1


def test_beyond_their_room_clients_are_told_at_once_and_none_hangs(port, folder):
    deploy(folder, port, seconds=0.3, num_replicas=1, max_ongoing_requests=2, max_queued_requests=2)
    with Load(port, clients=20) as load:
        wait_until(lambda: sum(one.status == 200 for one in load.got) > 20, "answers")
    refused = [one for one in load.got if one.status != 200]
    assert {one.status for one in refused} == {503}
    assert all(one.retry_after == "1" for one in refused)
    assert all(one.is_right for one in load.got)


def test_a_new_version_takes_over_without_a_failed_request(port, folder):
    deploy(folder, port, label="old", num_replicas=2)
    with Load(port, clients=4) as load:
        wait_until(lambda: len(load.got) > 20, "answers of the old version")
        deploy(folder, port, label="new", num_replicas=2)
        num_before = len(load.got)
        wait_until(lambda: len(load.got) > num_before + 20, "answers of the new version")
    assert count_failed(load.got) == 0
    assert all(one.is_right for one in load.got)
    labels = [one.text.split()[0] for one in sorted(load.got, key=lambda one: one.ended)]
    assert labels[0] == "old"
    assert set(labels[-20:]) == {"new"}


def test_a_replica_that_hangs_is_found_and_replaced(port, folder):
    deploy(folder, port, num_replicas=1)
    (hanging,) = list_replicas()
    serve.get_deployment_handle(MODEL, APP).stick.remote().result(timeout_s=60)
    wait_until(lambda: list_replicas() not in ([], [hanging]), "a replica in its place")
    assert ask_once(port).status_code == 200


def test_at_the_end_every_gateway_is_told_and_running_answers_are_finished(port, folder):
    section = deploy(folder, port, seconds=1.0, num_replicas=1, max_ongoing_requests=32, gateway={"num_replicas": 2})
    wait_until(lambda: count_replicas(GATEWAY) == 2, "both gateways")
    with Load(port, clients=12) as load:
        wait_until(lambda: sum(one.status == 200 for one in load.got) > 24, "answers of both gateways")
        began = time.monotonic()
        drain(section, APP)
    assert {one.status for one in load.got if one.began < began} == {200}
    assert {one.status for one in load.got if one.began > began} <= {200, 503, 404}
    assert all(one.is_right for one in load.got)
