"""What is sent: the row's messages and settings, constraints in the endpoint's own form, and its size."""

import json
import re

import pytest

from eshop_ray.config import OpenaiSection
from eshop_ray.inference.engines.openai.chat_request import (
    build_body,
    build_schema,
    fits_estimate,
    measure,
    read_messages,
    unwrap,
    write_messages,
)
from eshop_ray.inference.requests import Request

MESSAGES = [{"role": "system", "content": "Röt?"}, {"role": "user", "content": "red"}]
CHOICE = {"choice": ["yes", "no"]}


def build(output=None, params=None, **config):
    params = {
        "temperature": 0.0,
        "max_tokens": 4,
        **(params or {}),
        **({"structured_outputs": output} if output else {}),
    }
    return build_body(Request(write_messages(MESSAGES), params), OpenaiSection(model="m", **config))


def test_messages_go_through_unchanged():
    assert read_messages(write_messages(MESSAGES)) == MESSAGES
    assert read_messages("Hello") == [{"role": "user", "content": "Hello"}]
    assert build() == {"model": "m", "messages": MESSAGES, "temperature": 0.0, "max_tokens": 4}


def test_own_fields_win_and_null_takes_one_out():
    body = build(extra_body={"temperature": None, "max_tokens": None, "max_completion_tokens": 9, "top_p": 0.5})
    assert body == {"model": "m", "messages": MESSAGES, "max_completion_tokens": 9, "top_p": 0.5}


def test_constraints_go_in_the_form_that_the_endpoint_knows():
    assert build(CHOICE) == build()
    assert build(CHOICE, constrained_decoding="structured_outputs")["structured_outputs"] == CHOICE
    sent = build(CHOICE, constrained_decoding="response_format")["response_format"]
    assert sent["type"] == "json_schema"
    assert sent["json_schema"]["schema"]["properties"] == {"answer": {"type": "string", "enum": ["yes", "no"]}}
    assert "min_tokens" not in build(params={"min_tokens": 8})
    assert build(params={"min_tokens": 8}, constrained_decoding="structured_outputs")["min_tokens"] == 8


def test_probabilities_are_asked_for_in_the_words_of_chats():
    assert build(params={"logprobs": 0})["logprobs"] is True


def test_every_kind_of_output_has_a_schema_with_an_object_at_the_top():
    schema = build_schema({"regex": "[1-3](,[1-3]){2}"})
    pattern = schema["properties"]["answer"]["pattern"]
    assert re.search(pattern, "1,2,3")
    assert not re.search(pattern, "x1,2,3y")
    whole = {"type": "object", "properties": {"color": {"type": "string"}}}
    assert build_schema({"json": whole}) == build_schema({"json": {**whole, "x-guidance": {}}}) == whole
    assert build_schema({"json": json.dumps({"type": "array"})})["properties"]["answer"] == {"type": "array"}


@pytest.mark.parametrize(
    ("text", "answer"),
    [('{"answer": "yes"}', "yes"), ('{"answer": [1, 2]}', "[1, 2]"), ('{"answer": "ye', '{"answer": "ye'), ("7", "7")],
)
def test_the_answer_is_taken_out_of_its_object(text, answer):
    body = build(CHOICE, constrained_decoding="response_format")
    assert unwrap(text, body) == answer
    assert unwrap(text, build()) == text


def test_an_object_of_the_tasks_own_stays_an_object():
    own = {"type": "object", "properties": {"color": {"type": "string"}, "size": {"type": "string"}}}
    body = build({"json": own}, constrained_decoding="response_format")
    assert unwrap('{"color": "red"}', body) == '{"color": "red"}'


def test_a_size_is_never_too_small():
    size = measure(build())
    assert size.num_read > len("Röt?red".encode())
    assert size.num_written == 4
    assert measure(build(extra_body={"max_completion_tokens": 7})).num_written == 7
    assert measure(build(extra_body={"max_tokens": None})).num_written is None


def test_a_prompt_fits_by_a_cautious_estimate():
    long = [{"role": "user", "content": "x" * 3000}]
    assert fits_estimate(1100, long, {"max_tokens": 10})
    assert not fits_estimate(1000, long, {"max_tokens": 10})
