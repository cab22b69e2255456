"""What only a GPU can show, in eight minutes: `python3 tests/bench/gpu/check.py`.

The machine may be bare: this file needs the standard library only, and each part, in a process of its own and within a
time of its own, runs or says what it lacks. Without a GPU the parts run small on the CPU. Prints the figures and writes
`runs/bench/gpu.json` after each part; the exit status is 1 if a part failed.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[2]
RESULTS = ROOT / "runs" / "bench" / "gpu.json"
PACKAGE = "tests.bench.gpu"


@dataclass(frozen=True)
class Part:
    """A module of this folder, whose `measure(job)` yields names and values, and its time."""

    module: str
    seconds: int
    """At most, on a GPU; more than a part should need, as what it loads and compiles is cold."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Added to its job."""


MACHINE = Part("machine", 60)
PARTS = {
    "flex_against_mask": Part("flex_against_mask", 90),
    "packed_training": Part("packed_training", 180),
    "split_prefix_backward": Part("split_prefix_backward", 100),
    "qlora": Part("qlora", 75),
    "fsdp": Part("fsdp", 60),
    "vllm": Part("vllm", 120),
    "switched": Part("switched", 200),
    "vllm_int8": Part("quantized", 75, {"scheme": "w8a8"}),
    "vllm_fp8": Part("quantized", 75, {"scheme": "fp8"}),
    "vllm_gptq": Part("quantized", 75, {"scheme": "w4a16_gptq"}),
}
ALL_SECONDS = 480
"""For all parts together, on a GPU; those that are left then are absent."""
LEAST_SECONDS = 10
"""With less a part is not begun."""
CPU_PATIENCE = 5
"""How many times as long all may take without a GPU, which nobody lent."""
OLDEST_PYTHON = (3, 11)
REASON_CHARACTERS = 600


def main(arguments=None):
    options = parse(arguments)
    started = time.monotonic()
    machine = describe_machine()
    patience = 1 if machine["nvidia_smi"] else CPU_PATIENCE
    job = {
        "device": "cuda" if machine.get("gpu", machine["nvidia_smi"]) else "cpu",
        "quantized": str(options.quantized.resolve()) if options.quantized else None,
    }
    parts = {}
    for name in options.only:
        left = options.seconds * patience - (time.monotonic() - started)
        parts[name] = run_part(PARTS[name], patience, left, job)
        print(render(name, parts[name]), flush=True)
        seconds = round(time.monotonic() - started, 1)
        results = {"machine": machine, "device": job["device"], "seconds": seconds, "parts": parts}
        options.results.parent.mkdir(parents=True, exist_ok=True)
        options.results.write_text(json.dumps(results, indent=2) + "\n")
    return int(any(part["state"] == "failed" for part in parts.values()))


def parse(arguments):
    parser = argparse.ArgumentParser(prog="tests/bench/gpu/check.py", description=__doc__.partition(":")[0])
    parser.add_argument("--only", type=parse_parts, default=list(PARTS), metavar="PART,...", help="all by default")
    parser.add_argument(
        "--quantized", type=Path, metavar="FOLDER", help="with fp8/ and w4a16_gptq/, as `eshop quantize` writes them"
    )
    parser.add_argument("--seconds", type=int, default=ALL_SECONDS, help=f"for all parts, {ALL_SECONDS} by default")
    parser.add_argument("--results", type=Path, default=RESULTS, help="file to write the results into")
    return parser.parse_args(arguments)


def parse_parts(text):
    names = text.split(",")
    if unknown := sorted(set(names) - set(PARTS)):
        raise argparse.ArgumentTypeError(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return names


def describe_machine():
    """Return what figures depend on; `reason` says what kept the rest from being found out.

    `nvidia_smi` is the GPU that the machine has, `gpu` the one that torch reaches.
    """
    described = run(f"{PACKAGE}.{MACHINE.module}", MACHINE.seconds, {})
    reason = {} if described["reason"] is None else {"reason": described["reason"]}
    gpu = ask_for_line("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")
    commit = ask_for_line("git", "-C", str(ROOT), "rev-parse", "HEAD")
    return {"commit": commit, "nvidia_smi": gpu, **described["figures"], **reason}


def run_part(part, patience, left, job):
    """Return what `run` does, or why the part was not begun."""
    if sys.version_info < OLDEST_PYTHON:
        return skip("Python {}.{} or newer is needed".format(*OLDEST_PYTHON))
    if left < LEAST_SECONDS:
        return skip("no time was left; ask for the part by `--only`, with another file as `--results`")
    return run(f"{PACKAGE}.{part.module}", round(min(part.seconds * patience, left)), {**job, **part.settings})


def skip(reason):
    return {"state": "absent", "seconds": 0.0, "figures": {}, "reason": reason}


def run(module, max_seconds, job):
    """Return `{"state", "seconds", "figures", "reason"}` of a part; what it measured before it failed is kept.

    `state` is `passed`, `failed` or `absent`; of the two latter `reason` says why.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gpu_check_") as workdir:
        result, log = Path(workdir, "result.json"), Path(workdir, "log")
        command = [sys.executable, str(FOLDER / "process.py"), module, json.dumps({**job, "workdir": workdir})]
        with log.open("w") as stream:
            process = subprocess.Popen(
                [*command, str(result)], cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
            )
            ending = wait(process, max_seconds)
        part = json.loads(result.read_text()) if result.exists() else {"state": None, "figures": {}}
        if part["state"] is None:
            part |= {"state": "failed", "reason": f"{ending}; its last words: {read_end(log)}"}
    return {
        "state": part["state"],
        "seconds": round(time.monotonic() - started, 1),
        "figures": part["figures"],
        "reason": part["reason"],
    }


def wait(process, max_seconds):
    """Wait for a process and end what it leaves behind; return how it ended, in words."""
    try:
        return f"ended with status {process.wait(max_seconds)}"
    except subprocess.TimeoutExpired:
        return f"not through within {max_seconds} s"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def read_end(log):
    return log.read_text(errors="replace").strip()[-REASON_CHARACTERS:] or "none"


def ask_for_line(*command):
    """Return the first line that a command prints; None where it is not at hand or fails."""
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        return done.stdout.strip().partition("\n")[0] or None
    return None


def render(name, part):
    """Return the lines of a part."""
    lines = [f"{name:22s} {part['state']:7s} {part['seconds']:6.1f} s  {part['reason'] or ''}".rstrip()]
    for figure, value in part["figures"].items():
        lines.append(f"    {figure:44s} {f'{value:.4g}' if isinstance(value, float) else value}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
