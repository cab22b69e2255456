"""A pytest plugin: after a test that failed, the next one gets another Ray, without what the failed one left behind.

What a failed test leaves (an engine that hangs, a pipeline that nobody reads on) holds cores and logical CPUs, and
whatever comes next would fail of it. Killing actors one by one is not enough: some are started anew by what owns them.
"""

import contextlib

import psutil
import pytest

IS_STALE = pytest.StashKey[bool]()
"""Whether a test failed since the session's Ray began."""
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
    if "ray_session" in item.fixturenames and item.config.stash.get(IS_STALE, False):
        item.config.stash[IS_STALE] = False
        restart()


@pytest.fixture(scope="session")
def ray_session():
    """One Ray for all tests."""
    import ray

    start()
    yield ray
    ray.shutdown()


def start():
    """With more logical CPUs than cores: they are bookkeeping."""
    import ray
    import ray.data

    ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False


def restart():
    """End the session's Ray with all its processes and start another, unless a failed start left none."""
    import ray

    if not ray.is_initialized():
        return
    left = [process for child in psutil.Process().children() if child.name() in NODE for process in list_all(child)]
    ray.shutdown()
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    start()


def list_all(process):
    """A process and all below it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [process, *process.children(recursive=True)]
    return []
