"""What keeps the endpoint from starting, before Ray or a model does."""

import logging
import os
import random
import signal
import socket
import threading
from types import SimpleNamespace

import pytest

from eshop_ray.config import Config, ServeSection
from eshop_ray.errors import UserError
from eshop_ray.serving.application import count_replicas
from eshop_ray.serving.keys import make_key, write_line
from eshop_ray.serving.start import (
    check_exposure,
    check_listening,
    count_needed,
    drain_all,
    fit_replicas,
    hold_port,
    wait_for_end,
)
from tests.processes import free_port


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "localhost", "::1"])
def test_this_machine_needs_no_keys(host):
    check_exposure(ServeSection(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "::", "shop.example"])
def test_other_machines_need_keys(tmp_path, host):
    with pytest.raises(UserError, match=r"serve\.host=.* no API keys: `eshop make-key"):
        check_exposure(ServeSection(host=host))
    path = tmp_path / "keys"
    path.touch(0o600)
    path.write_text(write_line(make_key("a")[1]))
    check_exposure(ServeSection(host=host, api_keys_file=str(path)))


def config_of(port):
    return Config(name="x", serve=ServeSection(port=port))


def test_a_port_that_is_in_use_even_by_one_who_shares_it(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} of 127.0.0.1 is in use"), hold_port(config_of(port)):
            pass
    with hold_port(config_of(port)):
        pass


def test_a_second_endpoint_does_not_get_a_port_that_the_first_is_about_to_use(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    config = config_of(free_port())
    with hold_port(config), pytest.raises(UserError, match="is in use"), hold_port(config):
        pass
    with hold_port(config):
        pass


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, (1, 1)),
        ({"num_replicas": 3}, (3, 3)),
        ({"num_replicas": "auto"}, (1, float("inf"))),
        ({"autoscaling_config": {"min_replicas": 0, "max_replicas": 4}}, (1, 4)),
        ({"autoscaling_config": {"min_replicas": 1, "initial_replicas": 2, "max_replicas": 4}}, (2, 4)),
    ],
)
def test_replicas_of_a_deployment(options, expected):
    assert count_replicas(options) == expected


def test_no_more_replicas_are_asked_for_than_there_can_ever_be(caplog):
    caplog.set_level(logging.INFO)
    section = ServeSection()
    assert count_needed(section) == (3, 0)
    fitted = fit_replicas(section, {"CPU": 4.0})
    assert fitted.deployment_config["autoscaling_config"]["max_replicas"] == 1
    assert fitted.deployment_config["max_ongoing_requests"] == 64
    assert "room for 1 of up to 2 replicas" in caplog.text
    assert fit_replicas(section, {"CPU": 5.0}) is section
    gpus = ServeSection(use_gpu=True)
    assert count_needed(gpus) == (3, 1)
    assert fit_replicas(gpus, {"CPU": 64.0, "GPU": 1.0}).deployment_config["autoscaling_config"]["max_replicas"] == 1


def test_a_ray_serve_that_listens_elsewhere_is_named():
    check_listening(ServeSection(), {"http_options": {"host": "127.0.0.1", "port": 8000}})
    with pytest.raises(UserError, match=r"listens on 127\.0\.0\.1:9000"):
        check_listening(ServeSection(), {"http_options": {"host": "127.0.0.1", "port": 9000}})


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait_and_the_next_one_means_what_it_did(number):
    former = signal.getsignal(number)
    threading.Timer(0.05, os.kill, (os.getpid(), number)).start()
    try:
        wait_for_end()
        assert signal.getsignal(number) is former
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


class Gateways:
    """Several behind one handle, which picks one for each call; a busy one is idle after some calls to it."""

    def __init__(self, **busy):
        self.left = dict(busy)
        self.drained = set()
        self._random = random.Random(0)
        self.drain = self

    def remote(self, seconds):
        assert 0 <= seconds <= 1
        name = self._random.choice(sorted(self.left))
        self.drained.add(name)
        self.left[name] -= 1
        answer = (name, self.left[name] <= 0)
        return SimpleNamespace(result=lambda timeout_s: answer)  # noqa: ARG005


def test_every_gateway_is_drained_and_each_is_waited_for():
    gateways = Gateways(a=1, b=40, c=1)
    assert drain_all(gateways, lambda: {"a", "b", "c"}, 60)
    assert gateways.drained == {"a", "b", "c"}
    assert all(left <= 0 for left in gateways.left.values())


def test_a_gateway_that_dies_meanwhile_is_not_waited_for():
    running = iter([{"a", "gone"}, {"a"}, {"a"}])
    assert drain_all(Gateways(a=1), lambda: next(running), 60)


def test_time_that_is_up_ends_the_wait_and_all_have_been_told():
    gateways = Gateways(a=1, b=10**6)
    assert not drain_all(gateways, lambda: {"a", "b"}, 0.0)
    assert gateways.drained == {"a", "b"}
