"""Requests and answers line by line: what is understood, what is refused and how, and what is written."""

import json

import pytest

from eshop_ray.errors import UserError
from eshop_ray.inference.openai_batch.requests import Rules, read_defaults, read_request
from eshop_ray.inference.openai_batch.results import write_answer, write_error
from eshop_ray.schema import decode

RULES = Rules(("shop", "shop-2"), {"temperature": 1.0, "max_tokens": 256})
SECRET = "unobtainium"
USER = {"role": "user", "content": f"{SECRET} scarf"}
SCHEMA = {"type": "object", "properties": {"brand": {"type": "string"}}}


def line(body=None, **values):
    request = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions"}
    request["body"] = {"model": "shop", "messages": [USER], **(body or {})}
    return json.dumps({**request, **values}).encode()


def read_params(**body):
    row = read_request(line(body), 1, RULES)
    assert row["error"] is None, row["error"]
    return decode(row["sampling_params"])


def refuse(text, number=7):
    """The code of a refused line, and its message, which must not quote the prompt."""
    row = read_request(text, number, RULES)
    assert (row["messages"], row["line"]) == (None, number)
    assert SECRET not in row["error"]
    code, _, message = row["error"].partition(": ")
    return code, message


def test_request_becomes_a_row():
    row = read_request(line({"temperature": 0, "max_tokens": 5, "stop": "."}), 3, RULES)
    assert (row["id"], row["line"], row["error"]) == ("a", 3, None)
    assert row["messages"] == [USER]
    assert decode(row["sampling_params"]) == {"temperature": 0, "max_tokens": 5, "stop": ["."]}


def test_silent_request_has_the_defaults():
    assert read_params() == RULES.defaults
    nulls = dict.fromkeys(("temperature", "max_tokens", "tools", "stop", "response_format", "no_such_field"))
    assert read_params(**nulls) == RULES.defaults
    assert read_params(max_tokens=1, max_completion_tokens=2)["max_tokens"] == 2
    assert read_params(n=1, stream=False, logprobs=False, user="x", metadata={"a": "b"}, seed=-1) == RULES.defaults


def test_sampling_parameters_keep_their_names():
    stated = {"top_p": 0.5, "top_k": 3, "min_p": 0.1, "seed": 4, "stop": ["a", "b"], "stop_token_ids": [1]}
    stated |= {"presence_penalty": 1.0, "frequency_penalty": -1.0, "repetition_penalty": 1.5, "min_tokens": 2}
    stated |= {"ignore_eos": True, "include_stop_str_in_output": True, "skip_special_tokens": False}
    stated |= {"bad_words": ["x"], "allowed_token_ids": [1, 2], "spaces_between_special_tokens": False}
    assert read_params(**stated) == {**RULES.defaults, **stated}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, {"json_object": True}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
            {"json": SCHEMA},
        ),
        ({"structured_outputs": {"regex": "a+", "json": None}}, {"regex": "a+"}),
        (
            {"structured_outputs": {"json": SCHEMA, "disable_any_whitespace": True}},
            {"json": SCHEMA, "disable_any_whitespace": True},
        ),
        ({"guided_choice": ["red", "blue"]}, {"choice": ["red", "blue"]}),
        ({"guided_json": SCHEMA}, {"json": SCHEMA}),
    ],
)
def test_constraints_of_every_spelling(body, expected):
    assert read_params(**body).get("structured_outputs") == expected


def test_parts_of_text_are_joined():
    parts = [{"type": "text", "text": "red"}, {"type": "text", "text": "scarf"}]
    row = read_request(line({"messages": [{"role": "user", "content": parts, "name": None}]}), 1, RULES)
    assert row["messages"] == [{"role": "user", "content": "red\nscarf"}]


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
        (line(url="/v1/embeddings"), "invalid_url", "url: only /v1/chat/completions is supported"),
        (line(body=None) + b"}", "invalid_json_line", "not JSON: Extra data at character "),
    ],
)
def test_line_that_is_no_request(text, code, message):
    found, said = refuse(text)
    assert found == code
    assert said.startswith(message)


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"messages": None}, "missing_required_parameter", "body.messages: Field required"),
        ({"messages": []}, "invalid_value", "body.messages: List should have at least 1 item"),
        ({"messages": ["x"]}, "invalid_value", "body.messages.0: needs a `role`"),
        ({"messages": [USER, {"role": "tool", "content": "x"}]}, "invalid_value", "body.messages.1: needs a `role`"),
        ({"messages": [{"role": "user"}]}, "invalid_value", "body.messages.0.content: text is needed"),
        (
            {"messages": [{"role": "user", "content": "\ud800"}]},
            "invalid_value",
            "body.messages.0.content: not Uni",
        ),
        ({"messages": [{**USER, "name": "x"}]}, "unsupported_parameter", "body.messages.0: only `role`"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": SECRET}}]}]},
            "unsupported_parameter",
            "body.messages.0.content: only parts of type `text`",
        ),
        ({"model": "gpt-9"}, "model_not_found", "body.model: this run answers for shop, shop-2 only"),
        ({"tools": [{"type": "function"}]}, "unsupported_parameter", "body.tools: not supported"),
        ({"logit_bias": {"5": 1}}, "unsupported_parameter", "body.logit_bias: not supported"),
        ({"n": 2}, "invalid_value", "body.n: Input should be 1"),
        ({"stream": True}, "invalid_value", "body.stream: Input should be False"),
        ({"max_tokens": 0}, "invalid_value", "body.max_tokens: Input should be greater than or equal to 1"),
        ({"temperature": 3}, "invalid_value", "body.temperature: Input should be less than or equal to 2"),
        ({"temperature": float("nan")}, "invalid_value", "body.temperature: Input should be a finite number"),
        ({"temperature": SECRET}, "invalid_value", "body.temperature: Input should be a valid number"),
        ({"stop": [""]}, "invalid_value", "body.stop.0: String should have at least 1 character"),
        ({"min_tokens": 9, "max_tokens": 8}, "invalid_value", "body.min_tokens: more than the 8 of max_tokens"),
        ({"response_format": {"type": "json_schema"}}, "invalid_value", "body.response_format: needs a `type`"),
        ({"structured_outputs": {"xml": SECRET}}, "unsupported_parameter", "body.structured_outputs: supported are"),
        ({"structured_outputs": {"regex": 5}}, "invalid_value", "body.structured_outputs.regex: of the wrong type"),
        ({"structured_outputs": {"choice": []}}, "invalid_value", "body.structured_outputs.choice: needs one text"),
        ({"structured_outputs": {"disable_any_whitespace": True}}, "invalid_value", "body: needs one of json, regex"),
        (
            {"guided_regex": "a", "response_format": {"type": "json_object"}},
            "invalid_value",
            "body: needs one of json, regex, choice, grammar, json_object, structural_tag, not 2",
        ),
        ({"guided_regex": "a", "structured_outputs": {"regex": "b"}}, "invalid_value", "body: `regex` is constrained"),
    ],
)
def test_body_that_cannot_be_asked(body, code, message):
    found, said = refuse(line(body))
    assert found == code
    assert said.startswith(message)


def test_defaults_are_the_models_own(tmp_path):
    (tmp_path / "generation_config.json").write_text('{"temperature": 0.6, "top_p": 0.9, "top_k": null, "eos": 2}')
    assert read_defaults(tmp_path, 5) == {"temperature": 0.6, "max_tokens": 5, "top_p": 0.9}
    assert read_defaults(None) == {"temperature": 1.0, "max_tokens": 256}
    with pytest.raises(UserError, match="--max-tokens 0"):
        read_defaults(None, 0)


ANSWERED = {
    "id": "a",
    "line": 3,
    "error": None,
    "generated_text": "rød \u2028",
    "finish_reason": "length",
    "num_input_tokens": 5,
    "num_generated_tokens": 2,
}


def test_answer_in_the_output_format():
    text = write_answer(ANSWERED, "shop")
    assert "\n" not in text
    written = json.loads(text)
    assert written["id"].startswith("batch_req_")
    assert (written["custom_id"], written["error"], written["response"]["status_code"]) == ("a", None, 200)
    body = written["response"]["body"]
    assert (body["object"], body["model"]) == ("chat.completion", "shop")
    assert body["usage"] == {"prompt_tokens": 5, "total_tokens": 7, "completion_tokens": 2}
    (choice,) = body["choices"]
    assert choice["message"] == {"role": "assistant", "content": "rød \u2028", "refusal": None}
    assert (choice["index"], choice["finish_reason"]) == (0, "length")
    assert write_answer(ANSWERED, "shop") != text, "ids are of one answer only"


@pytest.mark.parametrize(
    ("error", "status", "code", "param"),
    [
        ("invalid_url: url: only x", 400, "invalid_url", None),
        ("too_long: 9 prompt tokens", 400, "context_length_exceeded", None),
        ("model_not_found: body.model: this run answers for x", 404, "model_not_found", "model"),
        ("invalid_value: body.messages.0.content: text is needed", 400, "invalid_value", "messages.0.content"),
        ("engine: HTTP 400", 500, "engine", None),
    ],
)
def test_failure_in_the_form_that_a_server_gives_it(error, status, code, param):
    written = json.loads(write_error({**ANSWERED, "id": None, "error": error}))
    assert (written["custom_id"], written["error"], written["line"]) == (None, None, 3)
    assert written["response"]["status_code"] == status
    found = written["response"]["body"]["error"]
    assert (found["code"], found["param"], found["message"]) == (code, param, error.partition(": ")[2])
    assert found["type"] == ("server_error" if status == 500 else "invalid_request_error")
