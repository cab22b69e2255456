"""A health check that generates: an engine that hangs fails it, a busy one is left in peace."""

import asyncio
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from eshop_ray.config import Config, ServeSection
from eshop_ray.inference.openai_api import write_error
from eshop_ray.inference.requests import Answer, ApiAnswer, Failure
from eshop_ray.serving import application, pulse
from eshop_ray.serving.pulse import TOKEN_SECONDS, Pulse


class Engine:
    def __init__(self):
        self.num_asked = 0
        self.is_stuck = False

    async def generate(self):
        self.num_asked += 1
        if self.is_stuck:
            await asyncio.sleep(3600)


def test_an_engine_that_generates_is_asked_again_only_when_that_is_long_ago(monkeypatch):
    engine = Engine()
    beating = Pulse(engine.generate)

    async def run():
        await beating.check()
        await beating.check()
        assert engine.num_asked == 1
        monkeypatch.setattr(pulse, "FRESH_SECONDS", 0.0)
        await beating.check()
        assert engine.num_asked == 2

    asyncio.run(run())


def test_an_engine_that_hangs_fails_also_after_it_once_generated(monkeypatch):
    monkeypatch.setattr(pulse, "FRESH_SECONDS", 0.0)
    engine = Engine()
    beating = Pulse(engine.generate, seconds=0.01)

    async def run():
        await beating.check()
        engine.is_stuck = True
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await beating.check()

    asyncio.run(run())


def test_tokens_that_others_get_are_a_pulse_too(monkeypatch):
    engine = Engine()
    engine.is_stuck = True
    beating = Pulse(engine.generate, seconds=0.05)
    monkeypatch.setattr(pulse, "FIRST_TOKEN_SECONDS", 0.05)

    async def run():
        check = asyncio.create_task(beating.check())
        await asyncio.sleep(0.01)
        beating.beat()
        await check
        await beating.check()

    asyncio.run(run())
    assert engine.num_asked == 1


TOKENS = [
    Answer("word", "stop", 10, 1, 0.5),
    ApiAnswer(200, "{}", 10, 1),
    ['data: {"id": "1", "choices": [{"index": 0}]}\n\n'],
]
NO_TOKENS = [
    Failure("too_long", "2049 tokens"),
    write_error(400, "has to be a number"),
    write_error(503, "the engine is down"),
    ['data: {"error": {"message": "has to be a number"}}\n\n', "data: [DONE]\n\n"],
    [],
]


@pytest.mark.parametrize("piece", [*TOKENS, *NO_TOKENS])
def test_what_an_engine_has_not_generated_is_no_pulse(monkeypatch, piece):
    """Clients that send nonsense all the time would else keep an engine up that hangs."""
    engine = Engine()
    engine.is_stuck = True
    beating = Pulse(engine.generate)
    monkeypatch.setattr(pulse, "FIRST_TOKEN_SECONDS", 0.01)

    async def run():
        beating.follow(piece)
        with nullcontext() if piece in TOKENS else pytest.raises(TimeoutError):
            await beating.check()

    asyncio.run(run())
    assert engine.num_asked == (piece not in TOKENS)


def test_the_first_token_may_take_longer_than_any_other():
    async def generate():
        await asyncio.sleep(0.05)

    asyncio.run(Pulse(generate, seconds=0.01).check())


def test_trouble_of_the_engine_is_not_swallowed():
    async def fail():
        raise RuntimeError("dead")

    with pytest.raises(RuntimeError, match="dead"):
        asyncio.run(Pulse(fail).check())


@pytest.mark.parametrize(("stated", "seconds"), [({}, None), ({"health_check_timeout_s": 90}, 90)])
def test_ray_serve_waits_for_the_check_longer_than_the_check_does(monkeypatch, tmp_path, stated, seconds):
    monkeypatch.setitem(sys.modules, "eshop_ray.serving.replica", SimpleNamespace(ModelReplica=object))
    monkeypatch.setattr(application, "build_model", lambda section, *_, **__: section.deployment_config)
    monkeypatch.setattr(application, "compose", lambda *arguments: arguments[3])
    config = Config(name="x", run_root=str(tmp_path), serve=ServeSection(deployment_config=stated))
    options = application.build_application(config, tmp_path, "digest")
    assert options["health_check_timeout_s"] == (seconds or options["health_check_timeout_s"]) > TOKEN_SECONDS
