"""What the errors of a deployment's handle are to a client, and that a stream left early is cancelled."""

import asyncio
from contextlib import aclosing
from types import SimpleNamespace
from unittest.mock import Mock

import httpx
import pytest
from ray.exceptions import ActorDiedError
from ray.serve.exceptions import BackPressureError

from eshop_ray.config import ServeSection
from eshop_ray.data.prompts import PromptSettings
from eshop_ray.inference.requests import Answer
from eshop_ray.serving import deployments
from eshop_ray.serving.calls import ModelFacts, PromptCall
from eshop_ray.serving.deployments import DeployedModel, GatewayDeployment
from eshop_ray.serving.errors import RefusalError
from tests.serving.made_model import MadeRecorder

CALL = PromptCall([], {"max_tokens": 1})


class Pieces:
    """As Ray Serve's generator of responses."""

    def __init__(self, *pieces):
        self._pieces = iter(pieces)
        self.is_cancelled = False
        self.trouble = None

    def __aiter__(self):
        return self

    async def __anext__(self):
        piece = next(self._pieces, None)
        if piece is None:
            raise StopAsyncIteration
        if isinstance(piece, Exception):
            self.trouble = piece  # Ray says it again when such a stream is cancelled
            raise piece
        return piece

    def cancel(self):
        self.is_cancelled = True
        if self.trouble:
            raise self.trouble


def model_of(pieces):
    stream = SimpleNamespace(answer_call=SimpleNamespace(remote=lambda *_: pieces))
    return DeployedModel(SimpleNamespace(options=lambda **_: stream))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BackPressureError(num_queued_requests=9, max_queued_requests=9), "overloaded"),
        (ActorDiedError(), "model_unavailable"),
    ],
)
def test_trouble_of_the_deployment_is_a_refusal_to_come_back_after(error, code):
    async def read():
        return [piece async for piece in model_of(Pieces(["a"], error)).ask(CALL, "1")]

    with pytest.raises(RefusalError) as refused:
        asyncio.run(read())
    assert (refused.value.status, refused.value.code) == (503, code)
    assert refused.value.retry_after


def test_a_replica_that_dies_before_its_first_word_is_not_the_end():
    tries = [Pieces(ActorDiedError()), Pieces(["a"], ["b"])]
    stream = SimpleNamespace(answer_call=SimpleNamespace(remote=lambda *_: tries.pop(0)))
    model = DeployedModel(SimpleNamespace(options=lambda **_: stream))

    async def read():
        return [piece async for piece in model.ask(CALL, "1")]

    assert asyncio.run(read()) == [["a"], ["b"]]


def test_a_second_death_is_a_refusal_and_so_is_one_after_the_first_word():
    for tries in ([Pieces(ActorDiedError()), Pieces(ActorDiedError())], [Pieces(["a"], ActorDiedError())]):
        left = list(tries)
        asked = SimpleNamespace(answer_call=SimpleNamespace(remote=lambda *_, left=left: left.pop(0)))
        model = DeployedModel(SimpleNamespace(options=lambda asked=asked, **_: asked))

        async def read(model=model):
            return [piece async for piece in model.ask(CALL, "1")]

        with pytest.raises(RefusalError, match="try again"):
            asyncio.run(read())
        assert not left


def test_what_nobody_reads_on_is_cancelled():
    pieces = Pieces(["a"], ["b"], ["c"])

    async def read():
        async with aclosing(model_of(pieces).ask(CALL, "1")) as answers:
            return await anext(answers)

    assert asyncio.run(read()) == ["a"]
    assert pieces.is_cancelled


class Running:
    """A handle of a model that is up."""

    def __init__(self):
        self.describe_model = SimpleNamespace(remote=self._describe)
        answer = Answer("a", "stop", 1, 1, 0.5)
        self.answer_call = SimpleNamespace(remote=lambda *_: Pieces(answer))

    def options(self, **_):
        return self

    async def _describe(self):
        return ModelFacts(64)


class Coming(Running):
    """One of a model that starts."""

    async def _describe(self):
        await asyncio.sleep(3600)


@pytest.mark.parametrize(("model", "status"), [(Running(), 200), (Coming(), 503)])
def test_a_gateway_takes_over_only_once_it_knows_a_model_that_is_up(monkeypatch, model, status):
    monkeypatch.setattr(deployments, "FIRST_SECONDS", 0.2)
    monkeypatch.setattr(deployments, "open_access_log", lambda: None)
    monkeypatch.setattr(deployments, "RayRecorder", MadeRecorder)

    async def ask():
        gateway = object.__new__(GatewayDeployment)
        budgets = SimpleNamespace(reserve=None, settle=None)
        await gateway.__init__(ServeSection(), PromptSettings(), model, budgets, None, Mock())
        app = await gateway.__serve_build_asgi_app__()
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as http:
            return (await http.get("/v1/models")).status_code

    assert asyncio.run(ask()) == status
