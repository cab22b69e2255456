"""vLLM loads a model, answers, and keeps to constraints."""

import json
import re
import time
from pathlib import Path

import vllm

from eshop_ray.artifacts import find_complete
from eshop_ray.config import ModelSection
from eshop_ray.data.tokenization import tokenize_prompt
from eshop_ray.inference.engines.vllm_output import read_output
from eshop_ray.inference.requests import Answer
from eshop_ray.models import load_tokenizer
from tests.bench.gpu.engine import ask, start
from tests.bench.gpu.models import SMALL, write_model
from tests.bench.gpu.outcome import OutOfToleranceError

NUM_QUESTIONS = {"cuda": 512, "cpu": 8}
MAX_TOKENS = {"cuda": 48, "cpu": 8}
COLOURS = ["red", "blue", "green"]
SCHEMA = {
    "type": "object",
    "properties": {
        "colour": {"enum": COLOURS},
        "sizes": {"type": "array", "items": {"enum": ["S", "L"]}, "maxItems": 2},
    },
    "required": ["colour", "sizes"],
    "additionalProperties": False,
}
STRICT = {"backend": "guidance", "disable_any_whitespace": True}
"""A model of random weights writes blanks between two values until it is cut off."""
CONSTRAINTS = {
    "choice": ({"choice": COLOURS}, lambda text: text in COLOURS),
    "regex": ({"regex": "[0-9]{3}"}, lambda text: re.fullmatch("[0-9]{3}", text)),
    "json": ({"json": SCHEMA}, lambda text: json.loads(text)["colour"] in COLOURS),
}
"""The constraint, and whether an answer keeps to it."""


def measure(job):
    model_dir = find_model(Path(job["workdir"]))
    yield "vllm", vllm.__version__
    yield "model", model_dir.name
    started = time.perf_counter()
    engine = start(model_dir, job["device"], structured_outputs_config=STRICT)
    yield "start_seconds", time.perf_counter() - started
    tokenizer = load_tokenizer(model_dir)
    free = {"temperature": 0.0, "max_tokens": MAX_TOKENS[job["device"]]}
    questions = [(write_prompt(tokenizer, number), free) for number in range(NUM_QUESTIONS[job["device"]])]
    started = time.perf_counter()
    answers = read(ask(engine, questions), free)
    seconds = time.perf_counter() - started
    yield "answers", len(answers)
    yield "rows_per_second", len(answers) / seconds
    yield "tokens_per_second", sum(answer.num_generated_tokens for answer in answers) / seconds
    for name, (constraint, fits) in CONSTRAINTS.items():
        params = {"temperature": 0.0, "max_tokens": 64, "structured_outputs": constraint}
        (answer,) = read(ask(engine, [(write_prompt(tokenizer, 0), params)]), params)
        yield f"constrained_by_{name}", answer.text
        if not fits(answer.text):
            raise OutOfToleranceError(f"constrained by {name}, the model answers {answer.text!r}")


def find_model(workdir):
    """Return the default base where this machine has it already, else a small one with random weights."""
    default = ModelSection()
    cached = Path(default.cache_dir).expanduser() / default.source
    return cached if cached.is_dir() and find_complete(cached) else write_model(workdir / "random", SMALL)


def write_prompt(tokenizer, number):
    return tokenize_prompt(
        tokenizer, [{"role": "user", "content": f"Which colour has red wool scarf {number * 7919}?"}]
    )


def read(outputs, params):
    """Return the answers.

    Raises:
        OutOfToleranceError: if one of them is none.
    """
    replies = [read_output(output, params) for output in outputs]
    if failed := [reply for reply in replies if not isinstance(reply, Answer)]:
        raise OutOfToleranceError(f"{len(failed)} of {len(replies)} questions have no answer: {failed[0]}")
    return replies
