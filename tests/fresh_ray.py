"""A pytest plugin: the session's Ray is there as long as tests want it, and is another one after a test that failed.

It ends before the tests without it: even idle, it takes a tenth of two cores. What a failed test leaves (an engine that
hangs, a pipeline that nobody reads on) holds cores and logical CPUs, and whatever comes next would fail of it. Killing
actors one by one is not enough: some are started anew by what owns them.
"""

import contextlib
import gc
import sys

import psutil
import pytest

IS_STALE = pytest.StashKey[bool]()
"""Whether a test failed since the session's Ray began, or that has ended."""
HAS_BEGUN = pytest.StashKey[bool]()
"""Whether there was one; a start that failed leaves none to be replaced."""
NODE = ("raylet", "gcs_server")
"""Children of this process that make up the session's Ray; workers are below the first."""


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    yield
    failed = call.excinfo is not None and not call.excinfo.errisinstance(pytest.skip.Exception)
    if failed and "ray_session" in item.fixturenames:
        item.config.stash[IS_STALE] = True


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    if "ray_session" in item.fixturenames:
        if item.config.stash.get(IS_STALE, False) and item.config.stash.get(HAS_BEGUN, False):
            item.config.stash[IS_STALE] = False
            restart()
    elif not item.get_closest_marker("ray") and is_up():
        item.config.stash[IS_STALE] = True
        end()


@pytest.fixture(scope="session")
def ray_session(pytestconfig):
    """One Ray for all tests."""
    import ray

    start()
    pytestconfig.stash[HAS_BEGUN] = True
    yield ray
    ray.shutdown()


def start():
    """With as many logical CPUs as a job takes on a small machine: for each a process may start."""
    import ray

    from eshop_ray.cluster import set_data_context

    leave_out_cleaner()
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    set_data_context()


def leave_out_cleaner():
    """Have Ray Train start no actor that clears up after a training whose controller is killed.

    It asks a dashboard, and here is none: a training of less than 20 seconds waits 12 more for it to give up.
    """
    from ray.train.v2._internal.execution.callback import RayTrainCallback
    from ray.train.v2.api import data_parallel_trainer

    data_parallel_trainer.PlacementGroupCleanerCallback = RayTrainCallback


def is_up():
    """Whether this process is in a Ray; asking loads none."""
    return "ray" in sys.modules and sys.modules["ray"].is_initialized()


def restart():
    """End the session's Ray and start another."""
    if is_up():
        end()
    start()


def end():
    """End the session's Ray with all its processes."""
    import ray

    gc.collect()  # iterators over datasets that nobody reads on tell Ray when they are thrown away
    left = [process for child in psutil.Process().children() if child.name() in NODE for process in list_all(child)]
    ray.shutdown()
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def list_all(process):
    """A process and all below it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return []
