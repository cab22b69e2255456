"""What a client sees of the endpoint, and records for a job that asks the model behind it."""

import json
import urllib.request

import openai
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
    with openai.OpenAI(base_url=endpoint, api_key="none", max_retries=0) as client:
        message = {"role": "user", "content": "Name a color."}
        wanted = {"messages": [message], "max_tokens": 12, "temperature": 0}
        assert client.chat.completions.create(model="eshop", **wanted).choices[0].message.content == answer
        with pytest.raises(openai.NotFoundError) as refused:
            client.chat.completions.create(model="no-such-model", **wanted)
    assert refused.value.code == "model_not_found"


LABELS = ["Garden", "Kitchen", "Toys"]
FIELDS = {
    "classification": [{"text": text, "labels": LABELS} for text in ("A spade.", "A pan.", "spade " * 4000)],
    "ner_tagging": [{"tokens": ["red", "wool", "scarf", "(large)"]}, {"tokens": ["steel", "pan"]}],
    "generation": [{"prompt": "Name a color."}, {"prompt": "Name a tool."}],
}
"""Rows of three tasks, free and held to a constraint, and one that is too long."""


def predict(endpoint, task):
    """Return what the address of a task answers to its rows."""
    request = urllib.request.Request(
        f"{endpoint}/tasks/{task}:batch",
        json.dumps({"records": FIELDS[task]}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.load(response)["results"]


def write_records(folder):
    """Write all rows."""
    for task, rows in FIELDS.items():
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
