"""Requests and answers line by line: what is a request, what is refused and how, and what is written."""

import json

import pyarrow as pa
import pytest

from eshop_ray.inference.dispatch.api_form import RESPONSE_FIELDS
from eshop_ray.inference.openai_batch.requests import Rules, drop_neutral, read_request
from eshop_ray.inference.openai_batch.results import write_results

RULES = Rules(("shop", "shop-2"))
SECRET = "unobtainium"
USER = {"role": "user", "content": f"{SECRET} scarf"}


def line(body=None, **values):
    request = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions"}
    request["body"] = {"model": "shop", "messages": [USER], **(body or {})}
    return json.dumps({**request, **values}).encode()


def refuse(text, number=7):
    """The code of a refused line, and its message, which must not quote the prompt."""
    row = read_request(text, number, RULES)
    assert (row["body"], row["line"]) == (None, number)
    assert SECRET not in row["error"]
    code, _, message = row["error"].partition(": ")
    return code, message


def test_request_becomes_a_row():
    row = read_request(line({"temperature": 0, "n": 2, "tools": [{"type": "function"}]}, metadata={"a": 1}), 3, RULES)
    assert (row["id"], row["line"], row["url"], row["error"]) == ("a", 3, "/v1/chat/completions", None)
    expected = {"model": "shop", "messages": [USER], "temperature": 0, "n": 2, "tools": [{"type": "function"}]}
    assert json.loads(row["body"]) == expected
    assert read_request(line(url="/no/such", method="post"), 3, RULES)["url"] == "/no/such", (
        "the server says what it has"
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"temperature": None, "seed": None, "no_such_field": None}, {}),
        ({"tools": [], "tool_choice": "auto", "logit_bias": {}, "stop": []}, {}),
        ({"tools": [], "tool_choice": "required"}, {"tool_choice": "required"}),
        ({"stream": False, "stream_options": {"include_usage": True}}, {"stream": False}),
        ({"stream": True, "stream_options": {"x": 1}}, {"stream": True, "stream_options": {"x": 1}}),
        ({"messages": [], "guided_choice": [], "allowed_token_ids": []},) * 2,
        ({"temperature": 0, "logprobs": False, "n": 1},) * 2,
    ],
)
def test_what_says_nothing_is_left_out(body, expected):
    assert drop_neutral(body) == expected


@pytest.mark.parametrize(
    ("url", "body", "expected"),
    [
        ("/v1/chat/completions", {}, 9),
        ("/v1/chat/completions", {"max_tokens": None}, 9),
        ("/v1/chat/completions", {"max_tokens": 5}, 5),
        ("/v1/chat/completions", {"max_completion_tokens": 5}, None),
        ("/v1/completions", {"max_completion_tokens": 5}, 9),
    ],
)
def test_limit_of_the_run_is_for_requests_without(url, body, expected):
    row = read_request(line(body, url=url), 1, Rules(("shop",), 9))
    assert json.loads(row["body"]).get("max_tokens") == expected


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        (b"{", "invalid_json_line", "not JSON: Expecting property name enclosed in double quotes at character 2"),
        (b"[" * 100_000, "invalid_json_line", "not JSON: RecursionError"),
        (b"\xff{}", "invalid_json_line", "not UTF-8: invalid start byte at byte 0"),
        (b"[]", "invalid_json_line", "a JSON object is needed, not list"),
        (b"{}", "missing_required_parameter", "custom_id: missing"),
        (line(custom_id=5), "invalid_custom_id", "custom_id: needs a text, not empty"),
        (line(custom_id="\ud800"), "invalid_custom_id", "custom_id: needs a text, not empty"),
        (line(method="GET"), "invalid_method", "method: only POST is supported"),
        (line(url=None), "invalid_url", "url: a text is needed"),
        (line(body=None) + b"}", "invalid_json_line", "not JSON: Extra data at character "),
        (line({"model": "gpt-9"}), "model_not_found", "body.model: this run answers for shop, shop-2 only"),
        (line({"messages": SECRET}), "invalid_value", "body.messages: a list is needed"),
        (line({"messages": [{**USER, "content": "\ud800"}]}), "invalid_value", "body.messages: not Unicode: half of"),
        (line({"prompt": "\ud800"}), "invalid_value", "body.prompt: not Unicode: half of"),
        (
            json.dumps({"custom_id": "a", "method": "POST", "url": "/x", "body": [SECRET]}).encode(),
            "missing_required_parameter",
            "body: a JSON object is needed",
        ),
    ],
)
def test_line_that_is_no_request(text, code, message):
    found, said = refuse(text)
    assert found == code
    assert said.startswith(message)


RESPONSE = {"id": "chatcmpl-1", "object": "chat.completion", "choices": [{"text": "rød \u2028"}]}


def write(**values):
    """The one line of an answered row, and whether it is an error."""
    row = {"id": "a", "line": 3, **dict.fromkeys(field.name for field in RESPONSE_FIELDS), "ignored": [], **values}
    schema = pa.schema([("id", pa.string()), ("line", pa.int64()), *RESPONSE_FIELDS])
    (result,) = write_results(pa.Table.from_pylist([row], schema=schema)).to_pylist()
    assert len(result["text"].splitlines()) == 1
    return json.loads(result["text"]), result["is_error"]


def test_answer_in_the_output_format():
    written, is_error = write(status=200, response=json.dumps(RESPONSE))
    assert not is_error
    assert written["id"].startswith("batch_req_")
    assert (written["custom_id"], written["error"], written["response"]["status_code"]) == ("a", None, 200)
    body = written["response"]["body"]
    assert {**body, "id": "chatcmpl-1"} == RESPONSE
    assert body["id"].startswith("chatcmpl-")
    assert body["id"] != write(status=200, response=json.dumps(RESPONSE))[0]["response"]["body"]["id"]


def test_refusal_of_the_server_is_an_error_with_its_place():
    refusal = {"error": {"message": "too long", "code": "context_length_exceeded"}}
    written, is_error = write(status=400, response=json.dumps(refusal))
    assert is_error
    assert (written["line"], written["response"]["status_code"], written["response"]["body"]) == (3, 400, refusal)


@pytest.mark.parametrize(
    ("error", "status", "code", "param"),
    [
        ("invalid_url: url: only x", 400, "invalid_url", None),
        ("model_not_found: body.model: this run answers for x", 404, "model_not_found", "model"),
        ("invalid_value: body.messages: not Unicode", 400, "invalid_value", "messages"),
        ("engine: HTTP 400", 500, "engine", None),
        ("engine_killed: the engine died of it", 500, "engine_killed", None),
    ],
)
def test_failure_in_the_form_that_a_server_gives_it(error, status, code, param):
    written, is_error = write(id=None, error=error)
    assert is_error
    assert (written["custom_id"], written["error"], written["line"]) == (None, None, 3)
    assert written["response"]["status_code"] == status
    found = written["response"]["body"]["error"]
    assert (found["code"], found["param"], found["message"]) == (code, param, error.partition(": ")[2])
    assert found["type"] == ("server_error" if status == 500 else "invalid_request_error")
