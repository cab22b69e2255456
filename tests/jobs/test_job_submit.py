"""`ray job submit` against a head with token authentication, the real engine answering."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from eshop_ray.artifacts import find_manifest, write_manifest
from eshop_ray.schema import PREDICTION_SCHEMA, RECORD_SCHEMA, decode, encode
from tests.processes import free_port, stop

ROOT = Path(__file__).parents[2]
QUERY = ["red", "wool", "scarf", "(large)"]


def record(task, target, row_id, **fields):
    return {
        "id": row_id,
        "task": task,
        "group": None,
        "metric": None,
        "target": encode(target),
        "fields": encode(fields),
    }


RECORDS = {
    "ner_tagging": [
        record("ner_tagging", {"tokens": QUERY, "tags": ["O"] * 4}, "tagged", tokens=QUERY),
        record("ner_tagging", {"tokens": QUERY, "tags": ["O"] * 4}, "no-tokens"),
    ],
    "classification": [
        record("classification", "Garden", "chosen", text="A spade.", labels=["Garden", "Kitchen"]),
        record("classification", "Garden", "too-long", text="spade " * 4000, labels=["Garden", "Kitchen"]),
    ],
    "generation": [record("generation", "A spade.", "free", prompt="What do you dig with?")],
}


@pytest.fixture
def run_root(tmp_path):
    records = tmp_path / "submitted" / "records"
    for task, rows in RECORDS.items():
        folder = records / f"task={task}" / "split=dev"
        folder.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=RECORD_SCHEMA), folder / "part-0.parquet")
    write_manifest(records, "records", "test", {})
    return tmp_path


@pytest.fixture
def head(tmp_path_factory):
    """Address and environment of a Ray head that asks for a token."""
    port, dashboard_port = free_port(), free_port()
    temp_dir = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # sockets below it: its path must be short
    token = tmp_path_factory.mktemp("auth") / "token"
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
    }
    environment.pop("RAY_ADDRESS", None)
    token.write_text("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
    command = ["ray", "start", "--head", "--block", "--num-cpus=6", f"--port={port}", "--include-dashboard=true"]
    # The default port may be taken by another Ray of this machine; without its agent a head takes no jobs.
    command += [
        f"--dashboard-agent-listen-port={free_port()}",
        f"--dashboard-port={dashboard_port}",
        "--disable-usage-stats",
        f"--temp-dir={temp_dir}",
    ]
    process = subprocess.Popen(
        command, env=environment, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    address = f"http://127.0.0.1:{dashboard_port}"
    try:
        wait_until_up(address, environment)
        yield address, environment
    finally:
        stop(process, signal.SIGTERM, seconds=30)
        shutil.rmtree(temp_dir, ignore_errors=True)


def wait_until_up(address, environment):
    """The head answers before its agent takes jobs: only a job that ran shows that both do."""
    deadline = time.monotonic() + 120
    while True:
        command = ["ray", "job", "submit", "--address", address, "--", "true"]
        probe = subprocess.run(command, env=environment, capture_output=True, text=True)
        if probe.returncode == 0:
            return
        assert time.monotonic() < deadline, probe.stderr[-2000:]
        time.sleep(1)


@pytest.mark.ray
@pytest.mark.engine
def test_submitted_job_answers_every_row_and_keeps_the_failed_ones(head, run_root):
    address, environment = head
    config = run_root / "config.yaml"
    config.write_text(yaml.safe_dump({"name": "submitted", "run_root": str(run_root), "infer": {"models": ["base"]}}))
    submit = ["ray", "job", "submit", "--address", address, "--working-dir", "."]

    refused = subprocess.run(
        [*submit, "--", "true"],
        cwd=ROOT,
        env={**environment, "RAY_AUTH_MODE": "disabled"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert refused.returncode != 0

    job = subprocess.run(
        [*submit, "--", "python", "-m", "jobs.batch_infer", str(config), "infer.max_rows=null"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert job.returncode == 0, job.stdout[-5000:] + job.stderr[-2000:]
    check_predictions(run_root / "submitted" / "base" / "predictions" / "split=dev")


def check_predictions(folder):
    paths = list(folder.glob("*.parquet"))
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
    assert all(pq.read_schema(path).names == PREDICTION_SCHEMA.names for path in paths)
    by_id = {row["id"]: row for row in rows}
    assert sorted(by_id) == sorted(row["id"] for members in RECORDS.values() for row in members)
    assert len(rows) == len(by_id)

    words = [word for text, _ in decode(by_id["tagged"]["prediction"]) for word in text.split()]
    assert words == QUERY
    assert decode(by_id["chosen"]["prediction"]) in {"Garden", "Kitchen"}
    assert by_id["free"]["num_generated_tokens"] > 0
    assert by_id["free"]["finish_reason"] in {"stop", "length"}

    assert by_id["no-tokens"]["error"].startswith("prompt: KeyError")
    assert by_id["too-long"]["error"].startswith("too_long:")
    assert by_id["too-long"]["prediction"] is None
    details = find_manifest(folder).details
    assert (details["num_rows"], details["num_errors"]) == (5, 2)
    assert json.dumps(details)
