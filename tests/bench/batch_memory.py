"""Memory of a batch file against its size: `python -m tests.bench.batch_memory [LINES ...]`.

`jobs.run_batch` with the simulated engine against `vllm run-batch` with its engine stubbed: both read, check and answer
the same requests, and nobody computes. Prints a line per run and writes `runs/bench/batch_memory.json`. Memory is that
of all processes that a command starts, shared pages counted once (PSS), Ray's own and its object store included; of
vLLM the processes that hold the model are left out, which ours has no counterpart of.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from eshop_ray.config import ModelSection
from eshop_ray.models import fetch_model
from tests.bench.memory import Watch

ROOT = Path(__file__).parents[2]
WORDS = ("red wool scarf", "steel garden fork", "cotton travel pillow", "blue kitchen towel")
MODEL_PROCESSES = "VLLM::"
NAME = "shop"


def measure(*processes):
    return {"all": sum(map(read_memory, processes))}


def read_memory(process):
    try:
        is_model = " ".join(process.cmdline()).startswith(MODEL_PROCESSES)
        return 0 if is_model else process.memory_full_info().pss
    except psutil.Error:  # it has just ended
        return 0


def write_batch(path, num_lines):
    with path.open("w") as stream:
        for number in range(num_lines):
            content = f"Write one sentence about a {WORDS[number % len(WORDS)]} for customer {number}. " * 4
            body = {"model": NAME, "messages": [{"role": "user", "content": content}], "temperature": 0}
            line = {"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            stream.write(json.dumps(line) + "\n")


def list_commands(model):
    engine = ["--enforce-eager", "--max-model-len", "2048", "--dtype", "bfloat16"]
    paths, name = ["{in}", "{out}"], ["--served-model-name", NAME]
    return {
        "ours": ["-m", "jobs.run_batch", *paths, *name, "infer.engine=simulated"],
        "vllm": ["-m", "tests.bench.vllm_stub", "-i", paths[0], "-o", paths[1], "--model", str(model), *name, *engine],
    }


def run(command, source, output):
    paths = {"{in}": str(source), "{out}": str(output)}
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    started = time.monotonic()
    log = output.with_suffix(".log")
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, *(paths.get(part, part) for part in command)],
            cwd=ROOT,
            env=environment,
            stdout=stream,
            stderr=stream,
        )
        watch = Watch(process.pid, measure)
        status = process.wait()
    peak = watch.stop()["all"]
    if status:
        raise SystemExit(f"{command[1]} failed:\n{log.read_text()[-3000:]}")
    with output.open() as lines:
        num_answers = sum(1 for _ in lines)
    return {"peak_mib": peak, "seconds": round(time.monotonic() - started, 1), "num_answers": num_answers}


def main(sizes):
    commands = list_commands(fetch_model(ModelSection()))
    results = []
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "in.jsonl")
            write_batch(source, size)
            for name, command in commands.items():
                results.append({"lines": size, "side": name, **run(command, source, Path(folder, f"{name}.jsonl"))})
                print(json.dumps(results[-1]), flush=True)
    path = ROOT / "runs" / "bench" / "batch_memory.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [10**3, 10**5])
