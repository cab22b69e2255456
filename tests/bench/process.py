"""One measurement, one fresh process: `measure` starts it, `python -m tests.bench.process JOB RESULT` is it."""

import importlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOG_TAIL = 3000


def measure(module, job):
    """Return what `run(job)` of a module of `tests.bench` returns in a process of its own.

    `job["threads"]` are the threads of the process, `job["keep_memory"]` gives it the environment of the project's own
    processes, `job["environment"]` holds variables.
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, "job.json"), Path(folder, "result.json")]
        paths[0].write_text(json.dumps({**job, "module": module}))
        command = [sys.executable, "-m", "tests.bench.process", *map(str, paths)]
        environment = build_environment(job)
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if not paths[1].exists():
            raise SystemExit(f"{module} failed:\n{(done.stdout + done.stderr)[-LOG_TAIL:]}")
        return json.loads(paths[1].read_text())


def build_environment(job):
    """Return the environment of a measured process: this one's, without what the project sets or would heed."""
    # Imported here: the peer's process must not carry what this module loads.
    from eshop_ray.cluster import KEEP_MEMORY, NICENESS_VARIABLE, WAIT_VARIABLES, cpu_environment

    ours = {*KEEP_MEMORY, *WAIT_VARIABLES, NICENESS_VARIABLE}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment |= {name: str(job["threads"]) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    environment |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "RAY_USAGE_STATS_ENABLED": "0"}
    environment |= cpu_environment() if job.get("keep_memory") else {}
    return environment | job.get("environment", {})


def main(job_path, result_path):
    job = json.loads(Path(job_path).read_text())
    result = importlib.import_module(f"tests.bench.{job['module']}").run(job)
    Path(result_path).write_text(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
