"""A model whose template thinks before it answers: it learns the answers, and gives them however it is asked."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from eshop_ray import artifacts
from eshop_ray.config import load_config
from eshop_ray.errors import UserError
from eshop_ray.jobs import autotune, batch_infer, enrich_catalog, merge_lora, run_batch, train_lora
from eshop_ray.models import fetch_model
from eshop_ray.schema import RECORD_SCHEMA, decode, encode
from eshop_ray.tasks import get_task
from eshop_ray.training.trainer import check_training
from tests.chat_templates import QWEN3
from tests.conftest import write_tiny_model

TASK = "classification"
THINGS = ("scarf", "tent", "bottle")
CHAT = "/v1/chat/completions"


@pytest.fixture
def thinking_model(tmp_path):
    """A Qwen3 of random weights with its template."""
    from transformers import Qwen3Config

    return write_tiny_model(tmp_path / "model", Qwen3Config, QWEN3)


@pytest.fixture
def make_run(tmp_path):
    """Return a function that writes a run with records, the same to learn from and to be asked, and its config."""

    def make(model_dir):
        settings = {
            "name": "run",
            "run_root": str(tmp_path / "runs"),
            "model": {"source": str(model_dir), "cache_dir": str(tmp_path / "cache")},
            "data": {"tasks": [TASK]},
            "lora": {"r": 16, "lora_alpha": 32},
            "train": {"num_epochs": 120, "learning_rate": 0.01, "global_batch_size": 6, "precision": "fp32"},
            "evaluate": {"split": "train"},
            "infer": {"models": ["merged"], "cpu_kvcache_gib": 1, "engine_kwargs": {"dtype": "float32"}},
        }
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump(settings))
        place = load_config(str(path)).records_dir / f"task={TASK}" / "split=train"
        place.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(build_records(), schema=RECORD_SCHEMA), place / "part-0.parquet")
        artifacts.write_manifest(place.parents[1], "records", "inputs", {})
        return str(path)

    return make


def build_records():
    """What cannot be known but by heart: the same thing in two colours is of two kinds."""
    labels = list(THINGS)
    texts = [f"{colour} {thing}" for colour in ("red", "blue") for thing in THINGS]
    targets = [*labels, *reversed(labels)]
    return [
        {"id": text, "task": TASK, "target": encode(target), "fields": encode({"text": text, "labels": labels})}
        for text, target in zip(texts, targets, strict=True)
    ]


def read_predictions(config):
    rows = [
        row for path in config.predictions_dir("merged").glob("*.parquet") for row in pq.read_table(path).to_pylist()
    ]
    return {row["id"]: row["prediction"] for row in rows}


def ask_server(config, folder):
    """Return what vLLM's server, which writes prompts by the template alone, answers in a batch file."""
    task = get_task(TASK)
    requests = [
        {
            "custom_id": row["id"],
            "method": "POST",
            "url": CHAT,
            "body": {"model": "run", "messages": task.build_messages(decode(row["fields"])), "temperature": 0},
        }
        for row in build_records()
    ]
    (folder / "in.jsonl").write_text("".join(f"{json.dumps(request)}\n" for request in requests))
    merged = config.model.model_copy(update={"source": str(config.run_dir / "merged")})
    served = config.model_copy(update={"model": merged})
    run_batch.run(served, str(folder / "in.jsonl"), str(folder / "out.jsonl"), served_model_names=["run"])
    answers = map(json.loads, (folder / "out.jsonl").read_text().splitlines())
    return {
        answer["custom_id"]: encode(answer["response"]["body"]["choices"][0]["message"]["content"])
        for answer in answers
    }


@pytest.mark.slow
@pytest.mark.usefixtures("ray_session", "starts_vllm")
def test_answers_that_were_learnt_come_out_constrained_free_and_of_a_server(make_run, thinking_model, tmp_path):
    path = make_run(thinking_model)
    config = load_config(path)
    train_lora.run(config)
    merge_lora.run(config)
    learnt = {row["id"]: row["target"] for row in build_records()}
    for constrained in (True, False):
        config = load_config(path, [f"infer.constrained={constrained}"])
        batch_infer.run(config)
        assert read_predictions(config) == learnt, f"{constrained=}"
    assert ask_server(config, tmp_path) == learnt


@pytest.fixture
def silent_model(tmp_path, tiny_model_dir):
    """A model whose template leaves answers out, as far as no weights are needed."""
    folder = shutil.copytree(tiny_model_dir, tmp_path / "silent", ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}")
    return folder


def train(config):
    check_training(config, fetch_model(config.model))


def tune(config):
    autotune.run(config, config.run_dir / "tuned.yaml")


@pytest.mark.parametrize("job", [train, batch_infer.run, tune, enrich_catalog.run])
def test_template_that_cannot_be_asked_is_refused_before_anything_starts(make_run, silent_model, job):
    settings = ["infer.models=[base]", "enrich.model=base", "enrich.tasks=[ner_tagging]", "autotune.write=false"]
    config = load_config(make_run(silent_model), settings)
    with pytest.raises(UserError, match=f"the chat template of {silent_model} cannot be trained or asked: it"):
        job(config)
