"""What a deployment's replies mean for a row; tests/inference/engines asks a real one."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.exceptions import ActorDiedError, RayTaskError
from ray.serve.exceptions import BackPressureError

from eshop_ray.config import InferSection
from eshop_ray.errors import UserError
from eshop_ray.inference.build import build_engine
from eshop_ray.inference.dispatch.lifecycle import EngineDiedError
from eshop_ray.inference.engines.serve import judge_error, read_completion
from eshop_ray.inference.requests import Answer, Busy, Failure


def refusal(code):
    return SimpleNamespace(error=SimpleNamespace(code=code, message="secret prompt"))


def completion(finish_reason):
    choice = SimpleNamespace(text="Garden", finish_reason=finish_reason, logprobs=None)
    return SimpleNamespace(choices=[choice], usage=SimpleNamespace(prompt_tokens=7, completion_tokens=2))


def test_responses():
    assert read_completion(completion("length")) == Answer("Garden", "length", 7, 2)
    scored = completion("stop")
    scored.choices[0].logprobs = SimpleNamespace(token_logprobs=[math.log(0.9), None, math.log(0.4)])
    assert read_completion(scored).confidence == pytest.approx(0.6)
    assert read_completion(completion("abort")) == Failure("engine", "the deployment ended with `abort`")
    assert read_completion(refusal(400)) == Failure("engine", "refused by the deployment: HTTP 400")
    assert [read_completion(refusal(code)) for code in (429, 503)] == [Busy("HTTP 429"), Busy("HTTP 503")]


def wrapped(cause):
    return RayTaskError("completions", "secret trace", cause)


def test_errors():
    assert judge_error(BackPressureError(num_queued_requests=9, max_queued_requests=9)) == Busy("BackPressureError")
    assert judge_error(wrapped(ValueError("secret"))) == Failure("engine", "refused by the deployment: ValueError")
    for death in (ActorDiedError(), wrapped(RuntimeError("the core died")), StopAsyncIteration()):
        with pytest.raises(EngineDiedError) as died:
            judge_error(death)
        assert "secret" not in str(died.value)


def test_arguments_for_an_engine_that_is_not_started_here():
    with pytest.raises(UserError, match=r"serve\.engine_kwargs"):
        build_engine(InferSection(engine="serve", engine_kwargs={"max_num_seqs": 8}), Path("none"))
