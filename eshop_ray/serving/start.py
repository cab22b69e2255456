"""What is looked at before the endpoint starts, when it counts as started, and how it ends."""

import errno
import logging
import os
import signal
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from threading import Event
from typing import Any

from eshop_ray.config import Config, ServeSection
from eshop_ray.errors import UserError
from eshop_ray.serving.application import BATCHES, GATEWAY, count_replicas
from eshop_ray.serving.guards import is_loopback
from eshop_ray.serving.keys import KeyRing

logger = logging.getLogger(__name__)

MODEL_CPUS = 2
"""Logical CPUs of a replica of Ray Serve LLM."""
GATEWAY_CPUS = 1

READY_SECONDS = 600.0
"""After the replicas are up, in which the first token has to come."""
POLL_SECONDS = 0.5

DRAIN_STEP_SECONDS = 1.0
"""That a gateway is waited for before it is asked again."""
CALLS_EACH = 4
"""Calls at a time for each gateway: few rounds miss one."""


def check_exposure(section: ServeSection) -> None:
    """Refuse to listen to other machines without API keys.

    Raises:
        UserError: if the endpoint would, or if the keys cannot be used.
    """
    if KeyRing.of(section).is_open and not is_loopback(section.host):
        raise UserError(
            f"serve.host={section.host} lets other machines in, and there are no API keys: `eshop make-key ID >> keys` "
            "makes one, `serve.api_keys_file=keys` names their file"
        )


@contextmanager
def hold_port(config: Config) -> Iterator[None]:
    """Have a port for this endpoint as long as the block lasts; on a cluster that runs already, Ray Serve has it.

    Ray Serve's proxies share a port with whoever listens there and belongs to the same user: half of the requests
    would go elsewhere. So a name that goes with the port is held, which no other process gets.

    Raises:
        UserError: if it is in use.
    """
    section = config.serve
    if config.ray.address or os.environ.get("RAY_ADDRESS"):
        yield
        return
    in_use = UserError(
        f"port {section.port} of {section.host} is in use: end what listens there, or set `serve.port` to another"
    )
    with closing(socket.socket(socket.AF_UNIX)) as name:
        try:
            name.bind(f"\0eshop-serve-{section.port}")
        except OSError:
            raise in_use from None
        family = socket.AF_INET6 if ":" in section.host else socket.AF_INET
        with closing(socket.socket(family)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((section.host, section.port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise in_use from None
                raise UserError(f"serve.host={section.host}, serve.port={section.port}: {error.strerror}") from None
        yield


def count_needed(section: ServeSection) -> tuple[int, int]:
    """Return the logical CPUs and the GPUs without which the endpoint cannot start."""
    fewest, _ = count_replicas(section.deployment_config)
    gateways, _ = count_replicas(section.gateway_config)
    return GATEWAY_CPUS * gateways + MODEL_CPUS * fewest, fewest if section.use_gpu else 0


def fit_replicas(section: ServeSection, limits: dict[str, float]) -> ServeSection:
    """Return the section with no more replicas than the cluster can ever hold: Ray would look for room for ever.

    Args:
        section: Of the config; its fewest replicas fit.
        limits: What the cluster has, grown to its limit, by resource.
    """
    _, most = count_replicas(section.deployment_config)
    gateways, _ = count_replicas(section.gateway_config)
    room = int((limits.get("CPU", 0) - GATEWAY_CPUS * gateways) // MODEL_CPUS)
    if section.use_gpu:
        room = min(room, int(limits.get("GPU", 0)))
    if most <= room:
        return section
    logger.info("the cluster has room for %d of up to %g replicas; `ray.num_cpus`, `ray.limits` set it", room, most)
    scaling = {**(section.deployment_config.get("autoscaling_config") or {}), "max_replicas": room}
    return section.model_copy(
        update={"deployment_config": {**section.deployment_config, "autoscaling_config": scaling}}
    )


def read_details() -> dict[str, Any]:
    """Return what Ray Serve says about itself."""
    from ray.serve.context import _get_global_client

    details: dict[str, Any] = _get_global_client().get_serve_details()
    return details


def check_listening(section: ServeSection, details: dict[str, Any]) -> None:
    """Refuse to start where Ray Serve already listens, and elsewhere than wanted: it would stay there.

    Raises:
        UserError: if it does.
    """
    http = details.get("http_options") or {}
    place = (http.get("host"), http.get("port"))
    if place != (section.host, section.port):
        raise UserError(
            f"Ray Serve runs on this cluster already and listens on {place[0]}:{place[1]}: set `serve.host` and "
            "`serve.port` to that, or end it with `serve shutdown`"
        )


def wait_until_ready(section: ServeSection) -> None:
    """Wait until a token has come through the port that clients use.

    Raises:
        UserError: if none comes.
    """
    host = "127.0.0.1" if section.host in ("0.0.0.0", "::") else section.host
    url = f"http://{f'[{host}]' if ':' in host else host}:{section.port}/ready"
    deadline = time.monotonic() + READY_SECONDS
    while True:
        with suppress(OSError), urllib.request.urlopen(url, timeout=30):
            return
        if time.monotonic() > deadline:
            raise UserError(f"{url} is not ready after {READY_SECONDS:g} seconds; see `serve status`")
        time.sleep(POLL_SECONDS)


def wait_for_end() -> None:
    """Return when Ctrl-C or SIGTERM comes; a second Ctrl-C ends the process as ever."""
    end = Event()
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask_for_end(number: int, _frame: object) -> None:
        signal.signal(number, former[signal.Signals(number)])
        end.set()

    for number in former:
        signal.signal(number, ask_for_end)
    while not end.wait(1):
        pass


def drain(section: ServeSection, app: str) -> None:
    """Have the endpoint take no more requests, and wait for its running answers; batches go on at its next start."""
    from ray import serve

    handle = serve.get_deployment_handle(GATEWAY, app)
    logger.info("ending: running answers have %g seconds", section.drain_seconds)
    pausing = serve.get_deployment_handle(BATCHES, app).pause.remote(section.drain_seconds)
    is_idle = False
    with suppress(Exception):  # what has died has nothing running
        is_idle = drain_all(handle, lambda: list_gateways(app), section.drain_seconds)
        pausing.result(timeout_s=section.drain_seconds + 5)
    with suppress(TimeoutError):
        serve.delete(app, _blocking=is_idle)  # waiting, it lets the keeper of budgets close its books


def drain_all(handle: Any, list_ids: Callable[[], set[str]], seconds: float) -> bool:
    """Have every gateway take no more requests; return whether all of them answered what they had within that time.

    Nobody can choose which gateway a call reaches, so they are called until each has said of itself that it is idle.

    Args:
        handle: Of the gateways.
        list_ids: Tells which of them run.
        seconds: That they have.
    """
    deadline = time.monotonic() + seconds
    idle: set[str] = set()
    while not (ids := list_ids()) <= idle:
        left = max(0.0, deadline - time.monotonic())
        calls = [handle.drain.remote(min(left, DRAIN_STEP_SECONDS)) for _ in range(CALLS_EACH * len(ids))]
        answers = [call.result(timeout_s=DRAIN_STEP_SECONDS + 5) for call in calls]
        idle |= {name for name, is_idle in answers if is_idle}
        if not left:
            return ids <= idle
    return True


def list_gateways(app: str) -> set[str]:
    """Return the ids of the gateways that run."""
    replicas = read_details()["applications"][app]["deployments"][GATEWAY]["replicas"]
    return {replica["replica_id"] for replica in replicas if replica["state"] == "RUNNING"}
