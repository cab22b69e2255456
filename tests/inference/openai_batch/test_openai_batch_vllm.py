"""A batch on vLLM itself: what its server can be asked is answered, and its reasons reach the error file."""

import json

import pytest

from eshop_ray.config import InferSection
from eshop_ray.inference.openai_batch import BatchFiles, Rules, answer_batch, look_through, open_batch

SECRET = "unobtainium"
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
USER = {"role": "user", "content": f"red wool scarf of {SECRET}"}
TOOL = {"type": "function", "function": {"name": "price", "parameters": {"type": "object", "properties": {}}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "price", "arguments": "{}"}}
ENUM = {"name": "color", "schema": {"enum": ["red"]}}
GREEDY = {"temperature": 0, "max_tokens": 3, "ignore_eos": True}
SEEDED = {"seed": 5, "top_p": 0.9, "max_tokens": 30, "ignore_eos": True}

ANSWERED = {
    "silent": (CHAT, {}),
    "greedy": (CHAT, GREEDY),
    "greedy again": (CHAT, {**GREEDY, "user": "me", "tools": [], "logit_bias": {}, "n": 1, "stream": False}),
    "seeded": (CHAT, SEEDED),
    "seeded again": (CHAT, {**SEEDED, "metadata": {"a": "b"}}),
    "several": (CHAT, {**SEEDED, "n": 3}),
    "logprobs": (CHAT, {**GREEDY, "logprobs": True, "top_logprobs": 2}),
    "choice": (CHAT, {"guided_choice": ["Garden", "Kitchen"], "max_tokens": 32}),
    "schema": (CHAT, {"response_format": {"type": "json_schema", "json_schema": ENUM}, "max_tokens": 32}),
    "template": (CHAT, {**GREEDY, "chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "low"}),
    "truncated": (CHAT, {**GREEDY, "truncate_prompt_tokens": 5}),
    "begun": (
        CHAT,
        {
            **GREEDY,
            "messages": [USER, {"role": "assistant", "content": "It is"}],
            "add_generation_prompt": False,
            "continue_final_message": True,
        },
    ),
    "tool turns": (
        CHAT,
        {
            **GREEDY,
            "tools": [TOOL],
            "tool_choice": "none",
            "messages": [
                {**USER, "name": "bob"},
                {"role": "assistant", "content": None, "tool_calls": [CALL]},
                {"role": "tool", "tool_call_id": "c1", "content": "9.99"},
            ],
        },
    ),
    "completion": (COMPLETIONS, {**GREEDY, "prompt": ["red", "blue"], "echo": True, "logprobs": 1}),
    "tokens": (COMPLETIONS, {**GREEDY, "prompt": [1, 2, 3]}),
    "odd types": (CHAT, {"temperature": "0", "max_tokens": "3", "ignore_eos": True}),
    "unknown": (CHAT, {**GREEDY, "extra_body": {"top_k": 5}, "best_of": 1}),
}
REFUSED = {
    "bad regex": (CHAT, {"structured_outputs": {"regex": "("}}),
    "impossible": (CHAT, {"structured_outputs": {"regex": r"[^\s\S]"}}),
    "too long": (CHAT, {"messages": [{**USER, "content": "wool " * 5000}]}),
    "stream": (CHAT, {"stream": True}),
    "greedy twice": (CHAT, {**GREEDY, "n": 2}),
    "negative": (CHAT, {"temperature": -1}),
    "not a number": (CHAT, {"temperature": SECRET}),
    "own template": (CHAT, {"chat_template": "{{ x }}"}),
    "image": (CHAT, {"messages": [{**USER, "content": [{"type": "image_url", "image_url": {"url": SECRET}}]}]}),
    "message of no form": (CHAT, {"messages": [{"role": "user", "content": {"a": SECRET}}]}),
    "no prompt": (COMPLETIONS, {"messages": [USER]}),
    "embedding": ("/v1/embeddings", {"input": SECRET}),
    "elsewhere": ("/chat/completions", {}),
}


def line(custom_id, url, body):
    if url != COMPLETIONS:
        body = {"messages": [USER], **body}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": {"model": "tiny", **body}})


@pytest.fixture(scope="module")
def results(warm_vllm, tiny_model_dir, tmp_path_factory):  # noqa: ARG001
    """Lines of the output, and of the error file, by custom_id."""
    folder = tmp_path_factory.mktemp("batch")
    requests = {**ANSWERED, **REFUSED}
    (folder / "in.jsonl").write_text("\n".join(line(name, *request) for name, request in requests.items()))
    infer = InferSection()
    source = look_through(str(folder / "in.jsonl"), infer)
    with BatchFiles(folder / "out.jsonl", folder / "out.errors.jsonl") as files:
        batch = open_batch(files, source, infer, {})
        answer_batch(batch, files, infer, tiny_model_dir, Rules(("tiny",), 8))
    texts = ((folder / name).read_text().splitlines() for name in ("out.jsonl", "out.errors.jsonl"))
    answers, errors = ({json.loads(text)["custom_id"]: json.loads(text) for text in lines} for lines in texts)
    assert answers.keys() == ANSWERED.keys(), errors
    assert errors.keys() == REFUSED.keys()
    bodies = {name: answer["response"]["body"] for name, answer in answers.items()}
    return bodies, {name: error["response"] for name, error in errors.items()}


@pytest.mark.usefixtures("starts_vllm")
def test_answers_are_what_was_asked_for(results):
    bodies, _ = results
    chats = {name: body["choices"][0] for name, body in bodies.items() if body["object"] == "chat.completion"}
    texts = {name: choice["message"]["content"] for name, choice in chats.items()}
    assert bodies["silent"]["usage"]["completion_tokens"] <= 8
    assert bodies["greedy"]["usage"]["completion_tokens"] == 3
    assert (bodies["greedy"]["model"], chats["greedy"]["finish_reason"]) == ("tiny", "length")
    assert texts["seeded"] == texts["seeded again"]
    assert texts["greedy"] == texts["greedy again"] == texts["unknown"] == texts["odd types"]
    assert len({choice["message"]["content"] for choice in bodies["several"]["choices"]}) == 3
    assert texts["choice"] in {"Garden", "Kitchen"}
    assert json.loads(texts["schema"]) == "red"
    assert [len(token["top_logprobs"]) for token in chats["logprobs"]["logprobs"]["content"]] == [2, 2, 2]
    assert bodies["truncated"]["usage"]["prompt_tokens"] == 5
    assert bodies["begun"]["usage"]["prompt_tokens"] > 5
    red, blue = (choice["text"] for choice in bodies["completion"]["choices"])
    assert (red[:3], blue[:4]) == ("red", "blue")
    assert (bodies["tokens"]["usage"]["prompt_tokens"], bodies["tokens"]["usage"]["completion_tokens"]) == (3, 3)
    ids = [body["id"] for body in bodies.values()]
    assert len(set(ids)) == len(ids)


@pytest.mark.usefixtures("starts_vllm")
def test_reasons_reach_the_error_file_and_recite_nothing(results):
    _, refusals = results
    errors = {name: response["body"]["error"] for name, response in refusals.items()}
    assert SECRET not in json.dumps(errors)
    expected = {
        "bad regex": "invalid regex",
        "impossible": "no answer fits its constraint",
        "too long": "maximum context length is 2048 tokens",
        "stream": "stream: not in a batch",
        "greedy twice": "n must be 1 when using greedy sampling",
        "negative": "temperature must be non-negative",
        "not a number": "temperature: Input should be a valid number",
        "own template": "Chat template is passed with request",
        "image": "is not a multimodal model",
        "message of no form": "messages.0: Input should be a valid dictionary",
        "no prompt": "prompt",
        "embedding": "this model has no answers to it",
        "elsewhere": "is not served; there are /v1/chat/completions",
    }
    assert {name: part for name, part in expected.items() if part not in errors[name]["message"]} == {}
    assert {response["status_code"] for response in refusals.values()} == {400}
    assert errors["too long"]["code"] == "context_length_exceeded"
    assert (errors["not a number"]["param"], errors["not a number"]["code"]) == ("temperature", "invalid_value")


@pytest.mark.usefixtures("starts_vllm")
def test_errors_are_read_by_openais_own_types(results):
    from openai.types.chat import ChatCompletion

    bodies, refusals = results
    for body in bodies.values():
        if body["object"] == "chat.completion":
            ChatCompletion.model_validate(body)
    for response in refusals.values():
        assert {type(value) for value in response["body"]["error"].values()} <= {str, type(None)}
