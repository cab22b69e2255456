"""The parts that need no engine: each returns its figures."""

import asyncio
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import ray

from tests.bench.serve.application import BARE, measure_memory, start
from tests.bench.serve.clients import ask, load, write_body
from tests.bench.serve.figures import compute_growth, compute_overhead, describe, find_gap, find_percentile
from tests.serving.double import find_actor, list_replicas

CHAT = "/v1/chat/completions"
WARM_UP = 200
OVERLOAD = 5
"""Clients for each request that the model takes at a time, beyond which it has no room."""


def write_short(number):
    """Return a body that a model answers at once."""
    return write_body(number, "eshop", 1, stream=False)


def measure_guards(settings):
    """One client, with and without guards in turns: what they add."""

    async def measure(url, headers):
        sides = {"guarded": (f"{url}{CHAT}", headers), "bare": (f"{url}/{BARE}", None)}
        rounds = []
        async with httpx.AsyncClient(timeout=60) as http:
            for address, own in sides.values():
                for number in range(WARM_UP):
                    await ask(http, address, write_short(number), own)
            for _ in range(settings.repeats):
                seconds = {side: [] for side in sides}
                for number in range(settings.requests):
                    for side, (address, own) in sides.items():
                        got = await ask(http, address, write_short(number), own)
                        assert got.status == 200, f"{side}: status {got.status}"
                        seconds[side].append(got.seconds)
                rounds.append(seconds)
        return rounds

    with tempfile.TemporaryDirectory() as folder, start(Path(folder), with_bare=True) as (url, headers):
        rounds = asyncio.run(measure(url, headers))
    p95 = {side: [1000 * find_percentile(one[side], 0.95) for one in rounds] for side in ("guarded", "bare")}
    return {"guard_overhead_ms_p95": compute_overhead(rounds), "guards_p95_ms": p95}


def measure_growth(settings):
    """The memory of proxy, gateway and replica after ten times as many requests."""
    early, late = settings.growth_requests // 10, settings.growth_requests
    with tempfile.TemporaryDirectory() as folder, start(Path(folder)) as (url, headers):
        asyncio.run(load(f"{url}{CHAT}", 8, early, write_short, headers))
        before = measure_memory()
        asyncio.run(load(f"{url}{CHAT}", 8, late - early, write_short, headers))
        after = measure_memory()
    return {"memory_growth": compute_growth(before, after), "memory_mib": to_mib(before, after)}


def to_mib(*measured):
    """Return memory in MiB, by name, in the order in which it was measured."""
    return {name: [round(one[name] / 2**20, 1) for one in measured] for name in measured[0]}


def measure_overload(settings):
    """Five times as many clients as there is room for: all get an answer or a refusal, and none hangs."""
    room = {"max_ongoing_requests": 8, "max_queued_requests": 8}
    with tempfile.TemporaryDirectory() as folder, start(Path(folder), seconds=0.2, **room) as (url, headers):
        got = asyncio.run(load(f"{url}{CHAT}", OVERLOAD * sum(room.values()), settings.requests, write_short, headers))
    figures = describe(got)
    return {"answered_or_refused_share": figures["answered_or_refused_share"], "overload": figures}


def measure_faults(settings):
    """What is killed under load, how many requests fail, and how long nobody gets an answer."""
    victims = {"replica": None, "proxy": "SERVE_PROXY_ACTOR", "controller": "SERVE_CONTROLLER_ACTOR"}
    figures = {}
    with tempfile.TemporaryDirectory() as folder, start(Path(folder), seconds=0.05, num_replicas=2) as (url, headers):
        for name, prefix in victims.items():
            moments = []

            def kill(prefix=prefix, name=name, moments=moments):
                time.sleep(5)
                actor = find_actor(prefix or list_replicas()[0])
                moments.append(time.monotonic())
                ray.kill(actor, no_restart=name != "controller")

            killer = threading.Thread(target=kill)
            killer.start()
            got = asyncio.run(load_for(f"{url}{CHAT}", settings.fault_seconds, headers))
            killer.join()
            failed = [one for one in got if one.status != 200]
            figures[name] = {
                "requests": len(got),
                "failed_share": len(failed) / len(got),
                "statuses": dict(Counter(str(one.status) for one in got)),
                "longest_silence_seconds": find_gap(got, moments[0]),
            }
    return {"faults": figures}


async def load_for(url, seconds, headers, num_clients=4):
    """Return what becomes of requests that clients send for so many seconds."""
    until = time.monotonic() + seconds
    got = []
    async with httpx.AsyncClient(timeout=60) as http:

        async def go_on(number):
            while time.monotonic() < until:
                got.append(await ask(http, url, write_short(number + len(got)), headers))
                if got[-1].status != 200:
                    await asyncio.sleep(0.05)

        await asyncio.gather(*(go_on(number) for number in range(num_clients)))
    return got
