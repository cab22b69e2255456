"""`ray job submit` against a head with token authentication."""

import json
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from eshop_ray.artifacts import find_manifest, write_manifest
from eshop_ray.schema import PREDICTION_SCHEMA, RECORD_SCHEMA, decode, encode

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


def submit(head, *entrypoint, **environment):
    """Give the command of the docs from a checkout of the sources."""
    command = ["ray", "job", "submit", "--address", head.address, "--working-dir", ".", "--", *entrypoint]
    return subprocess.run(
        command, cwd=ROOT, env={**head.environment, **environment}, capture_output=True, text=True, timeout=400
    )


def write_config(run_root, **sections):
    path = run_root / "config.yaml"
    path.write_text(yaml.safe_dump({"name": "submitted", "run_root": str(run_root), **sections}))
    return str(path)


def answer_rows(head, run_root, **sections):
    """Submit the job and return its predictions by id."""
    config = write_config(run_root, **sections)
    job = submit(head, "python", "-m", "jobs.batch_infer", config, "infer.max_rows=null")
    assert job.returncode == 0, job.stdout[-5000:] + job.stderr[-2000:]
    paths = list((run_root / "submitted" / "base" / "predictions" / "split=dev").glob("*.parquet"))
    assert all(pq.read_schema(path).names == PREDICTION_SCHEMA.names for path in paths)
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
    by_id = {row["id"]: row for row in rows}
    assert sorted(by_id) == sorted(row["id"] for members in RECORDS.values() for row in members)
    assert len(rows) == len(by_id)
    assert by_id["no-tokens"]["error"].startswith("prompt: KeyError")
    assert decode(by_id["chosen"]["prediction"]) in {"Garden", "Kitchen"}
    assert by_id["free"]["num_generated_tokens"] > 0
    return by_id


@pytest.mark.slow  # a head with a dashboard, and vLLM
def test_submitted_job_answers_every_row_and_keeps_the_failed_ones(head, run_root, tiny_model_dir):
    assert submit(head, "true", RAY_AUTH_MODE="disabled").returncode != 0
    answer_rows(
        head, run_root, model={"source": str(tiny_model_dir)}, infer={"models": ["base"], "engine": "simulated"}
    )
    details = find_manifest(run_root / "submitted" / "base" / "predictions" / "split=dev").details
    assert (details["num_rows"], details["num_errors"]) == (5, 1)
    assert json.dumps(details)


@pytest.mark.slow
@pytest.mark.usefixtures("starts_vllm")
def test_submitted_job_has_the_real_model_answer(head, run_root):
    by_id = answer_rows(head, run_root, infer={"models": ["base"]})
    words = [word for text, _ in decode(by_id["tagged"]["prediction"]) for word in text.split()]
    assert words == QUERY
    assert by_id["free"]["finish_reason"] in {"stop", "length"}
    assert by_id["too-long"]["error"].startswith("too_long:")
    assert by_id["too-long"]["prediction"] is None
