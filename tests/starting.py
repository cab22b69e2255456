"""A pytest plugin: tests get the markers `ray` and `engine` by the fixtures that they use, never by hand.

`make test` runs them in two processes: all that have vLLM answer in one of them, so that they share one engine, those
of a folder that start Ray in one of them, so that they share what its fixtures prepare, and the rest file by file in
whichever has time.

A test that starts Ray asks for the fixture `ray_session`, or for `starts_ray` if it starts one of its own in another
process; a test that has vLLM answer asks for `starts_vllm` too. One that starts either without having asked fails.
"""

import pytest

FIXTURES = {"ray": {"ray_session", "starts_ray"}, "engine": {"starts_vllm"}}
"""Marker -> fixtures that bring it."""
ENGINES = ("VllmActor", "LLMServer")
"""Classes of the actors that run vLLM."""
LONGEST = ("engine", "training", "enrichment", "jobs")
"""Groups of more than a minute and a half, the longest first."""
TIMEOUT_S = 400
"""Beyond which a test of them hangs; pyproject.toml has that of others."""
UNASKED = "this test asked for no Ray; it needs the fixture `ray_session` or `starts_ray`"


@pytest.hookimpl(wrapper=True, tryfirst=True)  # before tests are chosen by their markers, and dealt by their groups
def pytest_collection_modifyitems(items):
    for item in items:
        markers = [marker for marker, fixtures in FIXTURES.items() if fixtures & set(item.fixturenames)]
        if markers:
            markers.append(pytest.mark.timeout(TIMEOUT_S))
        for marker in markers:
            item.add_marker(marker)
    items.sort(key=rank)  # what takes long begins first: no process is left with it in the end
    for item in items:
        item.add_marker(pytest.mark.xdist_group(name_group(item)))
    return (yield)


def rank(item):
    """0 for the group that takes longest."""
    group = name_group(item)
    return LONGEST.index(group) if group in LONGEST else len(LONGEST) + (item.get_closest_marker("ray") is None)


def name_group(item):
    """Name the tests that one process runs together with this one."""
    if item.get_closest_marker("engine"):
        return "engine"
    path = item.path.relative_to(item.config.rootpath / "tests")
    return path.parts[0] if item.get_closest_marker("ray") else str(path)


@pytest.fixture(scope="session")
def starts_ray():
    """For tests that start a Ray of their own."""


@pytest.fixture(scope="session")
def starts_vllm():
    """For tests that start vLLM."""


@pytest.fixture(autouse=True)
def refuse_ray_unasked(request, monkeypatch):
    """Have Ray refuse to start in a test that did not ask for it, and in its children."""
    if not request.node.get_closest_marker("ray"):
        monkeypatch.setenv("RAY_ADDRESS", UNASKED)


@pytest.fixture(autouse=True)
def refuse_vllm_unasked(request):
    """Fail a test in the session's Ray that started vLLM and did not ask for it."""
    if "ray_session" not in request.fixturenames or request.node.get_closest_marker("engine"):
        yield
        return
    before = find_engines()
    yield
    assert find_engines() <= before, "this test started vLLM; it needs the fixture `starts_vllm`"


def find_engines():
    """Ids of all actors that run or ran vLLM in the session's Ray."""
    import ray
    from ray._private import state

    if not ray.is_initialized():
        return set()
    return {name for name, actor in state.actors().items() if actor["ActorClassName"].endswith(ENGINES)}
