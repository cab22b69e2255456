"""`/v1/tasks/...`: the prompt and the parser of bulk inference, for one record or several."""

import asyncio

import pytest

from eshop_ray.data.prompts import build_prompt
from eshop_ray.inference.openai_api import write_error
from eshop_ray.inference.requests import Failure
from eshop_ray.schema import decode, encode
from eshop_ray.serving.openapi import describe_api
from eshop_ray.tasks import get_task, list_tasks
from tests.serving.made_model import MadeModel, client_of

RECORD = {"text": "A spade.", "labels": ["Garden", "Kitchen"]}


def post(folder, path, body, model=None):
    async def run():
        async with client_of(model or MadeModel(), folder) as http:
            return await http.post(f"/v1/tasks/{path}", json=body)

    return asyncio.run(run())


def made_model(text):
    model = MadeModel()
    model.text = text
    return model


def test_prediction_of_a_record(tmp_path):
    model = made_model("Garden")
    response = post(tmp_path, "classification", RECORD, model)
    assert response.status_code == 200
    task = get_task("classification")
    assert response.json() == {
        "model": "eshop",
        "task": "classification",
        "version": task.version,
        "prediction": task.parse("Garden"),
        "confidence": 0.75,
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11},
    }


@pytest.mark.parametrize("name", list_tasks())
def test_the_model_is_asked_as_in_bulk_inference(tmp_path, name):
    example = dict(get_task(name).examples[0])
    fields = {key: value for key, value in example.items() if key not in ("id", "target", "group", "metric")}
    model = MadeModel()
    assert post(tmp_path, name, example, model).status_code == 200
    row = {"id": "1", "task": name, "group": None, "metric": None, "target": "null", "fields": encode(fields)}
    prompt = build_prompt(row)
    (call,) = model.calls
    assert call.messages == prompt["messages"]
    assert call.params == decode(prompt["sampling_params"])


@pytest.mark.parametrize("record", [{}, {"text": 3, "labels": 4}, {"text": "very secret"}])
def test_a_record_that_makes_no_prompt_is_told_what_is_wanted(tmp_path, caplog, record):
    response = post(tmp_path, "classification", record)
    assert response.status_code == 422
    assert "`text`, `labels`" in response.json()["error"]["message"]
    assert "very secret" not in response.text + caplog.text


def test_several_records_get_an_answer_or_an_error_each(tmp_path):
    response = post(tmp_path, "classification:batch", {"records": [RECORD, {}, 3, RECORD]}, made_model("Kitchen"))
    assert response.status_code == 200
    results = response.json()["results"]
    assert [result.get("prediction") for result in results] == ["Kitchen", None, None, "Kitchen"]
    assert [result["error"]["code"] for result in results[1:3]] == ["invalid_record"] * 2


@pytest.mark.parametrize("body", [{}, {"records": []}, {"records": [RECORD] * 129}, {"records": RECORD}])
def test_several_are_a_list(tmp_path, body):
    assert post(tmp_path, "classification:batch", body).status_code == 422


def test_a_record_that_is_too_long_names_the_setting(tmp_path):
    class TooLong(MadeModel):
        async def ask(self, call, request_id):
            if len(call.messages) > 1:
                yield Failure("too_long", "9000 prompt tokens and 16 to generate exceed the context of 2048")
            else:
                async for piece in super().ask(call, request_id):
                    yield piece

    error = post(tmp_path, "classification", RECORD, TooLong()).json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert "serve.engine_kwargs.max_model_len" in error["message"]


def test_documentation_names_every_task_with_the_fields_of_its_records():
    paths = describe_api("shop")["paths"]
    for name in list_tasks():
        body = paths[f"/v1/tasks/{name}"]["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert all(record["required"] for record in body["anyOf"])
        assert f"/v1/tasks/{name}:batch" in paths
    chat = paths["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert chat["properties"]["model"] == {"type": "string", "const": "shop"}


class BusyModel(MadeModel):
    """Has no room for anything but the first call, by which a gateway finds out whether it is up."""

    is_known = False

    async def ask(self, call, request_id):
        if self.is_known:
            yield write_error(503, "the engine is busy")
            return
        self.is_known = True
        async for piece in super().ask(call, request_id):
            yield piece


def test_a_busy_engine_is_worth_another_try(tmp_path):
    response = post(tmp_path, "classification", RECORD, BusyModel())
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) >= 1
    (answer,) = post(tmp_path, "classification:batch", {"records": [RECORD]}, BusyModel()).json()["results"]
    assert answer["error"]["code"] == "model_unavailable"
