"""What the errors of a deployment's handle are to a client, and that a stream left early is cancelled."""

import asyncio
from contextlib import aclosing
from types import SimpleNamespace

import pytest
from ray.exceptions import ActorDiedError
from ray.serve.exceptions import BackPressureError

from eshop_ray.serving.calls import PromptCall
from eshop_ray.serving.deployments import DeployedModel
from eshop_ray.serving.errors import RefusalError

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
