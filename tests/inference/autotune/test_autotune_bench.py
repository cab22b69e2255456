"""Autotuning measures engines themselves, and leaves none behind."""

import os
from pathlib import Path

import pytest

from eshop_ray.config import InferSection
from eshop_ray.inference.autotune.bench import EngineBench
from eshop_ray.inference.autotune.search import TrialError
from eshop_ray.inference.autotune.workload import Workload
from tests.processes import find_processes
from tests.waiting import wait_until


def words(number):
    return [{"role": "user", "content": f"scarf {number}"}]


WORKLOAD = Workload([(words(number), {"temperature": 0.0, "max_tokens": 8}) for number in range(40)])


def test_no_round_repeats_a_prompt():
    rounds = [WORKLOAD.build_round(number, lambda messages: messages[0]["content"]) for number in range(12)]
    prompts = [request.prompt for one in rounds for request in one]
    assert len(set(prompts)) == len(prompts) == 480
    for number, one in enumerate(rounds):
        assert all(request.prompt.startswith(f"{number}. scarf ") for request in one)


@pytest.fixture
def find_engines():
    """The engines of one test: another's Ray may have some too."""
    others = set(list_engines())
    return lambda: set(list_engines()) - others


def list_engines():
    return find_processes(os.getpid(), "ray::SimulatedEngine")


def wait_for_none(find_engines):
    wait_until(lambda: not find_engines(), "the end of the engine", timeout_s=10)


def simulated(batch_size=8, **options):
    return InferSection(engine="simulated", batch_size=batch_size, engine_kwargs=options, timeout_seconds=2)


@pytest.mark.slow  # two engines; the search has faster tests
@pytest.mark.usefixtures("ray_session")
def test_rate_is_the_engines_own(monkeypatch, find_engines):
    monkeypatch.setattr("eshop_ray.inference.autotune.bench.PASS_SECONDS", 1.0)
    with EngineBench(WORKLOAD, Path(), 60) as bench:
        bench.start(simulated(rows_per_second=100, start_seconds=0.5))
        assert bench.start_seconds > 0.5
        for size in (8, 40):
            config = simulated(size, rows_per_second=100, start_seconds=0.5)
            rates = (
                bench.measure(config) for _ in range(5)
            )  # a busy machine slows some of them, and makes none faster
            assert any(rate == pytest.approx(100, rel=0.15) for rate in rates)
        assert bench.pass_seconds > 0.3
        assert len(find_engines()) == 1
    wait_for_none(find_engines)


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(
    ("options", "trouble"),
    [
        ({"start_seconds": 1e6}, "it did not start within 1 s"),
        ({"kill_on": "scarf 3"}, "the engine died"),
        ({"stall_on": "scarf 3"}, "it did not answer within 2 s"),
    ],
)
def test_engine_that_fails_is_given_up_and_ended(options, trouble, find_engines):
    with EngineBench(WORKLOAD, Path(), 1 if "start_seconds" in options else 60) as bench:
        with pytest.raises(TrialError, match=trouble):
            bench.start(simulated(**options))
        assert bench.running is None
        wait_for_none(find_engines)


@pytest.mark.usefixtures("ray_session")
def test_engine_that_answers_nothing_is_no_fast_one():
    with EngineBench(WORKLOAD, Path(), 60) as bench:
        bench.start(simulated(reject_on="scarf"))
        with pytest.raises(TrialError, match="1600 of 1600 rows failed"):
            bench.measure(simulated(reject_on="scarf"))
