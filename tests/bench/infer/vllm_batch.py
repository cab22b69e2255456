"""The peer on the command line: `vllm run-batch`, by its module: the command fails where vLLM is a CPU build."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.infer.rows import read_rows

URL = "/v1/chat/completions"


def run(job):
    """Answer all rows; the clock runs from the command to its end, the engine's start included."""
    rows = read_rows(job["rows_path"])
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, "in.jsonl"), Path(folder, "out.jsonl")]
        paths[0].write_text("".join(json.dumps(_request(row, job["model_dir"])) + "\n" for row in rows))
        command = [sys.executable, "-m", "vllm.entrypoints.openai.run_batch", "-i", str(paths[0]), "-o"]
        command += [str(paths[1]), "--model", job["model_dir"], *_flags(job["engine"])]
        started = time.time()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds = time.time() - started
        if done.returncode:
            raise SystemExit(f"vllm run-batch failed:\n{(done.stdout + done.stderr)[-3000:]}")
        found = [json.loads(line) for line in paths[1].read_text().splitlines()]
    bodies = {line["custom_id"]: line["response"]["body"] for line in found}
    return {
        "seconds": seconds,
        "answers": {name: body["choices"][0]["message"]["content"] for name, body in bodies.items()},
        "num_generated_tokens": sum(body["usage"]["completion_tokens"] for body in bodies.values()),
    }


def _request(row, model):
    body = {"model": model, "messages": row["messages"], **json.loads(row["sampling_params"])}
    return {"custom_id": row["id"], "method": "POST", "url": URL, "body": body}


def _flags(engine):
    for name, value in engine.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            yield flag
        elif value is not False:
            yield from (flag, json.dumps(value) if isinstance(value, dict) else str(value))
