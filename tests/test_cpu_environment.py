"""What processes that compute on a CPU are told: they make room for others, and a user's word on it stands."""

import os
from pathlib import Path

import pytest

from eshop_ray import cluster
from eshop_ray.cluster import KEEP_MEMORY, NICENESS_VARIABLE, WAIT_VARIABLES, cpu_environment, wait_environment
from eshop_ray.config import InferSection, RaySection, ServeSection
from eshop_ray.inference.engines.serve_app import build_llm_config
from eshop_ray.inference.engines.vllm import actor_options
from eshop_ray.inference.quantization.environment import build_runtime_env


@pytest.fixture(autouse=True)
def untold(monkeypatch):
    for name in (*WAIT_VARIABLES, NICENESS_VARIABLE):
        monkeypatch.setenv(name, "")  # noted, so that what a test leaves is undone
        monkeypatch.delenv(name)


@pytest.fixture
def started(monkeypatch):
    """Arguments and niceness of the Ray that is started, in place of Ray."""
    calls = []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)  # which keeps tests that ask for no Ray from starting one
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(cluster.ray, "cluster_resources", lambda: {"CPU": 4})
    monkeypatch.setattr(cluster.ray, "init", lambda **given: calls.append((given, os.environ.get(NICENESS_VARIABLE))))
    return calls


def test_threads_look_for_a_moment_then_sleep():
    assert wait_environment() == {"GOMP_SPINCOUNT": "5500"}
    assert cpu_environment() == {**KEEP_MEMORY, "GOMP_SPINCOUNT": "5500"}


@pytest.mark.parametrize("own", [{"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "7"}])
def test_own_setting_is_passed_on_alone(monkeypatch, own):
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    assert wait_environment() == own


def test_every_process_that_computes_on_a_cpu_is_told():
    environments = [
        actor_options(InferSection())["runtime_env"]["env_vars"],
        build_llm_config(ServeSection(), Path("model"), "digest")["runtime_env"]["env_vars"],
        build_runtime_env(["a==1"])["env_vars"],
    ]
    assert [environment["GOMP_SPINCOUNT"] for environment in environments] == ["5500"] * 3


def test_own_ray_computes_at_the_niceness_of_its_driver(started, monkeypatch):
    cluster.start_ray(RaySection(), num_cpus=1)
    monkeypatch.setenv(NICENESS_VARIABLE, "5")
    cluster.start_ray(RaySection(), num_cpus=1)
    assert [niceness for _, niceness in started] == ["0", "5"]
    assert {given["address"] for given, _ in started} == {"local"}


def test_cluster_keeps_its_niceness(started):
    cluster.start_ray(RaySection(address="10.0.0.1:6379"), num_cpus=1)
    assert started[0][1] is None
