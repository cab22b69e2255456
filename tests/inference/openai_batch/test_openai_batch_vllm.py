"""A batch on vLLM itself: what a request asks for reaches it, and what is written is what its own batches write."""

import json
import subprocess
import sys

import pytest

from eshop_ray.config import InferSection
from eshop_ray.inference.engines.serve import NEUTRAL_PARAMS
from eshop_ray.inference.engines.vllm_actor import build_params
from eshop_ray.inference.openai_batch import BatchFiles, Rules, answer_batch, look_through, open_batch, read_defaults
from eshop_ray.inference.openai_batch.requests import read_request
from eshop_ray.schema import decode

READ_AND_WRITE = """
import sys
from vllm.entrypoints.launchers.run_batch import BatchRequestOutput
for line in sys.stdin:
    print(BatchRequestOutput.model_validate_json(line).model_dump_json(exclude_unset=True))
"""

RULES = Rules(("tiny",), {"temperature": 1.0, "max_tokens": 8})

EVERY_PARAMETER = {
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 3,
    "min_p": 0.1,
    "seed": 4,
    "stop": ["a"],
    "stop_token_ids": [1],
    "presence_penalty": 1.0,
    "frequency_penalty": -1.0,
    "repetition_penalty": 1.5,
    "min_tokens": 2,
    "max_tokens": 7,
    "ignore_eos": True,
    "include_stop_str_in_output": True,
    "skip_special_tokens": False,
    "spaces_between_special_tokens": False,
    "bad_words": ["x"],
    "allowed_token_ids": [1, 2],
}

ENUM = {"name": "color", "schema": {"enum": ["red"]}}
BODIES = {
    "silent": {},
    "greedy": {"temperature": 0, "max_tokens": 3, "ignore_eos": True},
    "seeded": {"seed": 5, "top_p": 0.9, "max_tokens": 30, "ignore_eos": True},
    "seeded again": {"seed": 5, "top_p": 0.9, "max_tokens": 30, "ignore_eos": True, "user": "me"},
    "choice": {"guided_choice": ["Garden", "Kitchen"], "max_tokens": 32},
    "schema": {"response_format": {"type": "json_schema", "json_schema": ENUM}, "max_tokens": 32},
    "bad regex": {"structured_outputs": {"regex": "("}},
    "too long": {"max_tokens": 5000},
}


def line(custom_id, body):
    body = {"model": "tiny", "messages": [{"role": "user", "content": "red wool scarf"}], **body}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body})


@pytest.fixture(scope="module")
def answered(warm_vllm, tiny_model_dir, tmp_path_factory):  # noqa: ARG001
    """Lines of the output, and of the error file, by custom_id."""
    folder = tmp_path_factory.mktemp("batch")
    (folder / "in.jsonl").write_text("\n".join(line(*request) for request in BODIES.items()))
    infer = InferSection()
    source = look_through(str(folder / "in.jsonl"), infer)
    with BatchFiles(folder / "out.jsonl", folder / "out.errors.jsonl") as files:
        batch = open_batch(files, source, infer, {})
        answer_batch(batch, files, infer, tiny_model_dir, Rules(("tiny",), read_defaults(tiny_model_dir, 8)))
    texts = ((folder / name).read_text().splitlines() for name in ("out.jsonl", "out.errors.jsonl"))
    return tuple({json.loads(text)["custom_id"]: text for text in lines} for lines in texts)


@pytest.mark.usefixtures("starts_vllm")
def test_answers_are_what_was_asked_for(answered):
    bodies = {name: json.loads(text)["response"]["body"] for name, text in answered[0].items()}
    texts = {name: body["choices"][0]["message"]["content"] for name, body in bodies.items()}
    assert bodies["silent"]["usage"]["completion_tokens"] <= 8
    assert bodies["greedy"]["usage"]["completion_tokens"] == 3
    assert bodies["greedy"]["choices"][0]["finish_reason"] == "length"
    assert texts["seeded"] == texts["seeded again"]
    assert texts["choice"] in {"Garden", "Kitchen"}
    assert json.loads(texts["schema"]) == "red"


@pytest.mark.usefixtures("starts_vllm")
def test_refusals_of_the_engine_reach_the_error_file(answered):
    errors = {name: json.loads(text)["response"]["body"]["error"] for name, text in answered[1].items()}
    assert {name: error["code"] for name, error in errors.items()} == {
        "bad regex": "engine",
        "too long": "context_length_exceeded",
    }


@pytest.mark.slow  # test_openai_batch.py has every field of the form
@pytest.mark.usefixtures("starts_vllm")
def test_output_is_read_by_vllms_own_reader(answered):
    texts = list(answered[0].values())
    # In a process of its own: that module turns down the log handlers of the one that imports it.
    command = [sys.executable, "-c", READ_AND_WRITE]
    done = subprocess.run(command, input="\n".join(texts), capture_output=True, text=True, check=True)
    written = [line for line in done.stdout.splitlines() if line.startswith("{")]  # between vLLM's own words
    assert [json.loads(text) for text in written] == [json.loads(text) for text in texts]


@pytest.mark.usefixtures("starts_vllm")
def test_every_parameter_means_the_same_to_both_engines():
    from vllm.entrypoints.openai.completion.protocol import CompletionRequest

    row = read_request(line("a", {**EVERY_PARAMETER, "guided_choice": ["b"]}).encode(), 1, RULES)
    params = decode(row["sampling_params"])
    here = build_params(params)
    request = CompletionRequest(model="tiny", prompt=[1], **{**NEUTRAL_PARAMS, **params})
    assert not request.model_extra
    there = request.to_sampling_params(7, {})
    names = [*EVERY_PARAMETER, "structured_outputs"]
    assert {name: getattr(there, name) for name in names} == {name: getattr(here, name) for name in names}
    assert {name: getattr(here, name) for name in EVERY_PARAMETER} == EVERY_PARAMETER
