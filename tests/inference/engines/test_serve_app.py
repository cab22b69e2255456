"""When the application is deployed, left alone or refused; tests/inference/engines/test_serve.py deploys a real one."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from ray import serve

from eshop_ray.config import ServeSection
from eshop_ray.errors import UserError
from eshop_ray.inference.engines import serve_app as app
from eshop_ray.inference.engines.serve_app import SERVE_APP, Served, ensure_running, wait_until_running

MODEL = Path("merged")


@pytest.fixture
def deployed(monkeypatch):
    """Names of the applications that were deployed."""
    names = []
    monkeypatch.setattr(serve, "start", lambda **_: None)
    monkeypatch.setattr(serve, "run_many", lambda targets, **_: names.extend(target.name for target in targets))
    monkeypatch.setattr(app, "build_model", lambda *_: SimpleNamespace())
    monkeypatch.setattr(app, "wait_until_running", lambda: None)
    return names


def serve_now(monkeypatch, served):
    monkeypatch.setattr(app, "find_served", lambda: served)


@pytest.mark.parametrize("is_declarative", [False, True])
def test_application_of_this_very_model_is_left_alone(monkeypatch, deployed, is_declarative):
    serve_now(monkeypatch, Served("digest", is_declarative))
    ensure_running(ServeSection(), MODEL, "digest")
    assert deployed == []


@pytest.mark.parametrize("served", [None, Served("another", False), Served(None, False)])
def test_missing_application_and_another_model_are_deployed_anew(monkeypatch, deployed, served):
    serve_now(monkeypatch, served)
    ensure_running(ServeSection(), MODEL, "digest")
    assert deployed == [SERVE_APP]


def test_application_that_was_declared_is_not_replaced(monkeypatch, deployed):
    serve_now(monkeypatch, Served(None, True))
    with pytest.raises(UserError, match=r"declared elsewhere.*model_digest: digest"):
        ensure_running(ServeSection(), MODEL, "digest")
    assert deployed == []


def report(monkeypatch, *states):
    """Have Ray Serve report these states, one after another."""
    reports = iter(states)

    def status():
        state, message = next(reports)
        deployment = SimpleNamespace(message=message)
        application = SimpleNamespace(status=state, message="", deployments={"LLMServer:eshop": deployment})
        return SimpleNamespace(applications={SERVE_APP: application})

    monkeypatch.setattr(serve, "status", status)
    monkeypatch.setattr(app.time, "sleep", lambda _: None)


def test_waiting_says_what_for(monkeypatch, caplog):
    monkeypatch.setattr(app, "SAY_SECONDS", 0.0)
    report(monkeypatch, ("DEPLOYING", "Resources required: GPU"), ("RUNNING", ""))
    caplog.set_level("INFO")
    wait_until_running()
    assert "waiting for `eshop` (DEPLOYING) Resources required: GPU" in caplog.text


def test_application_that_fails_or_never_comes_up_ends_the_job(monkeypatch):
    report(monkeypatch, ("DEPLOYING", ""), ("DEPLOY_FAILED", "no such model"))
    with pytest.raises(UserError, match=r"not up \(DEPLOY_FAILED\): no such model"):
        wait_until_running()
    monkeypatch.setattr(app, "APP_START_SECONDS", 0.0)
    report(monkeypatch, ("DEPLOYING", "Resources required: GPU"))
    with pytest.raises(UserError, match="Resources required: GPU"):
        wait_until_running()
