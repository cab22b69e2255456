"""What a client sees of the endpoint, and records for a job that asks the model behind it."""

import json
import urllib.error
import urllib.request

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from eshop_ray.artifacts import fingerprint, write_manifest
from eshop_ray.schema import RECORD_SCHEMA, encode


def ask(endpoint, **values):
    body = {"model": "eshop", "messages": [{"role": "user", "content": "Name a color."}], "max_tokens": 12, **values}
    request = urllib.request.Request(
        f"{endpoint}/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    return urllib.request.urlopen(request, timeout=120)


def check_endpoint(endpoint):
    """It lists its model, answers, streams the same answer, and turns other models down."""
    with urllib.request.urlopen(f"{endpoint}/models", timeout=30) as response:
        assert [model["id"] for model in json.load(response)["data"]] == ["eshop"]
    with ask(endpoint, temperature=0) as response:
        answer = json.load(response)["choices"][0]["message"]["content"]
    assert answer
    with ask(endpoint, temperature=0, stream=True) as response:
        events = [line[6:] for line in response.read().decode().split("\n") if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    pieces = [json.loads(event)["choices"][0]["delta"].get("content") or "" for event in events[:-1]]
    assert len(pieces) > 2
    assert "".join(pieces) == answer
    with pytest.raises(urllib.error.HTTPError) as refused:
        ask(endpoint, model="no-such-model")
    assert 400 <= refused.value.code < 500


def write_records(folder):
    """Rows of three tasks, free and held to a constraint, and one that is too long."""
    labels = ["Garden", "Kitchen", "Toys"]
    fields = {
        "classification": [{"text": text, "labels": labels} for text in ("A spade.", "A pan.", "spade " * 4000)],
        "ner_tagging": [{"tokens": ["red", "wool", "scarf", "(large)"]}, {"tokens": ["steel", "pan"]}],
        "generation": [{"prompt": "Name a color."}, {"prompt": "Name a tool."}],
    }
    for task, rows in fields.items():
        records = [
            {"id": f"{task}{number}", "task": task, "target": encode(""), "fields": encode(row)}
            for number, row in enumerate(rows)
        ]
        place = folder / f"task={task}" / "split=dev"
        place.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(records, schema=RECORD_SCHEMA), place / "part-0.parquet")
    write_manifest(folder, "records", "test", {})


def write_run(run_root, model_dir, **sections):
    """Write a run whose merged model is one that is there, and its config; return the config's path."""
    merged = run_root / "shop" / "merged"
    merged.mkdir(parents=True)
    for path in model_dir.iterdir():
        if path.name != "manifest.json":
            (merged / path.name).symlink_to(path)
    write_manifest(merged, "model", fingerprint("test"), {})
    (run_root / "config.yaml").write_text(yaml.safe_dump({"name": "shop", "run_root": str(run_root), **sections}))
    return run_root / "config.yaml"


def read_answers(run_root, name):
    """Return the rows of a run by id, without the seconds that they took."""
    paths = (run_root / name / "predictions" / "split=dev").glob("*.parquet")
    tables = (pq.read_table(path).drop(["engine_seconds"]) for path in paths)
    return {row["id"]: row for table in tables for row in table.to_pylist()}
