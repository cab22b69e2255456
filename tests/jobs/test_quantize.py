"""A model in 8 bits by its job, then answers and scores beside its parent's; what cannot be done costs nothing."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import load_file

from eshop_ray import artifacts
from eshop_ray.cli import run_job
from eshop_ray.config import Config, InferSection, load_config
from eshop_ray.config.serving import ServeSection
from eshop_ray.inference.quantization import compressed, platform
from eshop_ray.inference.quantization.calibration import read_calibration
from eshop_ray.jobs import batch_infer, evaluate, prepare_data, quantize
from eshop_ray.models import find_model, load_tokenizer, model_digest
from eshop_ray.schema import PREDICTION_SCHEMA, RECORD_SCHEMA, encode

COLOURS = {"train": ("red", "blue"), "dev": ("grey", "black")}
THINGS = ("mug", "tent")


@pytest.fixture
def config_path(tmp_path, tiny_model_dir):
    """A run whose base is quantized: it needs no training."""
    for split, colours in COLOURS.items():
        queries = [f"{colour}\tB-color\n{thing}\tB-core_product_type\n" for colour in colours for thing in THINGS]
        (tmp_path / f"{split}.conll").write_text("\n".join(queries))
    config = {
        "name": "run",
        "run_root": str(tmp_path / "runs"),
        "model": {"source": str(tiny_model_dir)},
        "data": {"root": str(tmp_path), "sources": [{"format": "queryner", "path": "{split}.conll"}]},
        "quantize": {"model": "base"},
        "infer": {"engine": "oracle", "models": ["base", "quantized"]},
    }
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture
def run(config_path, capsys):
    """Return a function that runs a job and returns its exit status and its message."""

    def call(job, *overrides):
        with pytest.raises(SystemExit) as stopped:
            run_job(job.__name__.rpartition(".")[2], [str(config_path), *overrides])
        return stopped.value.code, capsys.readouterr().err

    return call


def read_weights(folder):
    return load_file(folder / "quantized" / "model.safetensors")


def test_model_is_written_once_and_again_when_something_changed(run, config_path, tiny_model_dir):
    assert run(quantize)[0] == 0
    config = load_config(config_path, [])
    manifest = artifacts.read_manifest(config.run_dir / "quantized", job="quantize")
    assert manifest.parents == {"base": model_digest(tiny_model_dir)}
    assert find_model(config, "quantized") == config.run_dir / "quantized"
    lineage = json.loads((config.run_dir / "manifest.json").read_text())["artifacts"]
    assert lineage["quantized"]["digest"] == manifest.digest
    before = (config.run_dir / "quantized" / "model.safetensors").stat().st_mtime_ns
    assert run(quantize, "quantize.max_lost_share=0.5")[0] == 0
    assert (config.run_dir / "quantized" / "model.safetensors").stat().st_mtime_ns == before
    assert run(quantize, "quantize.ignore=['*.mlp.*']")[0] == 0
    kinds = {name.split(".")[-2] for name, tensor in read_weights(config.run_dir).items() if tensor.dtype == torch.int8}
    assert kinds == {"q_proj", "k_proj", "v_proj", "o_proj"}


def test_what_is_refused_leaves_the_earlier_model(run, config_path):
    folder = load_config(config_path, []).run_dir / "quantized"
    run(quantize)
    before = artifacts.hash_files(folder)
    for overrides, message in {
        ("quantize.model=merged",): "merged is missing or incomplete; run `eshop merge-lora`",
        ("quantize.model=merged", f"model.merged_dir={folder}"): f"model {folder} is quantized already",
        ("quantize.scheme=w4a4",): "`quantize.scheme`",
        ("quantize.shceme=w8a8",): "unknown key `quantize.shceme`; did you mean `quantize.scheme`?",
        ("quantize.ignore=[head]",): "`quantize.ignore`: no linear layer of",
        ("quantize.scheme=w4a16_gptq",): "records is missing or incomplete; run `eshop prepare-data`",
    }.items():
        status, error = run(quantize, *overrides)
        assert status == 2
        assert message in error
        assert "Traceback" not in error
    assert artifacts.hash_files(folder) == before


@pytest.mark.parametrize("words", [["--scheme", "w4a4"], ["--scheme=w4a4"], ["quantize.scheme=w8a8", "--scheme=w4a4"]])
def test_scheme_is_a_short_word_for_its_setting(run, words):
    status, error = run(quantize, *words)
    assert status == 2
    assert "`quantize.scheme`" in error
    assert "'w4a4'" in error


def test_scheme_without_a_kernel_is_refused_before_anything(run, config_path, monkeypatch):
    monkeypatch.setattr(platform, "_find_capability", lambda: (10, 0))
    status, error = run(quantize, "infer.use_gpu=true")
    assert status == 2
    assert "`quantize.scheme` is w8a8, for which vLLM has no kernel on this machine's GPU" in error
    assert not (load_config(config_path, []).run_dir / "quantized").exists()


def test_answers_are_not_asked_of_a_model_that_is_not_there(run, config_path):
    folder = load_config(config_path, []).records_dir
    folder.mkdir(parents=True)
    artifacts.write_manifest(folder, "records", "inputs", {})
    status, error = run(batch_infer)
    assert status == 2
    assert "quantized is missing or incomplete; run `eshop quantize`" in error


def write_predictions(config, model, num_right):
    row = {"task": "multiple_choice", "group": "quiz", "metric": "accuracy", "target": encode(1)}
    rows = [{**row, "id": str(index), "prediction": encode(int(index < num_right))} for index in range(10)]
    folder = config.predictions_dir(model)
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA), folder / "part-0.parquet")
    details = {"model_dir": model, "engine": "oracle", "split": "dev"}
    parents = {"records": write_records(config.records_dir, rows)}
    artifacts.write_manifest(folder, "predictions", "inputs", parents, details)


def write_records(folder, rows):
    """Write the records that were answered, and return their digest."""
    part = folder / "task=multiple_choice" / "split=dev"
    part.mkdir(parents=True, exist_ok=True)
    records = [{**dict.fromkeys(RECORD_SCHEMA.names), **{name: row[name] for name in ("id", "task")}} for row in rows]
    pq.write_table(pa.Table.from_pylist(records, schema=RECORD_SCHEMA), part / "part-00000.parquet")
    return artifacts.write_manifest(folder, "records", "inputs", {}).digest


def test_loss_that_is_too_large_is_told_after_the_report(run, config_path):
    config = load_config(config_path, [])
    for model, num_right in {"base": 8, "quantized": 7}.items():
        write_predictions(config, model, num_right)
    status, error = run(evaluate)
    assert status == 2
    assert "not promoted: it costs quiz 12.5% (0.800 -> 0.700) of the score of `base`, and 5.0% are allowed" in error
    assert (config.run_dir / "report.html").is_file()
    scores = {
        name: json.loads((config.model_run_dir(name) / "metrics.json").read_text()) for name in config.infer.models
    }
    assert {name: metrics["score"] for name, metrics in scores.items()} == {"base": 0.8, "quantized": 0.7}
    assert run(evaluate, "quantize.max_lost_share=0.13")[0] == 0


@pytest.mark.usefixtures("ray_session")
def test_from_files_to_scores(run, config_path):
    for job in (prepare_data, quantize, batch_infer, evaluate):
        status, error = run(job)
        assert status == 0, error
    config = load_config(config_path, [])
    predictions = artifacts.read_manifest(config.predictions_dir("quantized"), job="batch_infer")
    quantized = artifacts.read_manifest(config.run_dir / "quantized", job="quantize")
    assert predictions.parents["model"] == quantized.digest
    assert (config.run_dir / "quantized_answers" / "metrics.json").is_file()
    assert not artifacts.find_changes(config.run_dir / "quantized", quantized)


@pytest.mark.usefixtures("ray_session")
def test_rows_of_the_calibration(run, config_path, tiny_model_dir, monkeypatch):
    """They are training rows with their answers, the same ones every time; what is scored is not among them."""
    assert run(prepare_data)[0] == 0
    config = load_config(config_path, ["quantize.num_calibration_rows=3"])
    rows = read_calibration(config, tiny_model_dir)
    assert rows == read_calibration(config, tiny_model_dir)
    assert len(rows) == 3
    tokenizer = load_tokenizer(tiny_model_dir)
    texts = [tokenizer.decode(row) for row in rows]
    assert all(any(colour in text for colour in COLOURS["train"]) for text in texts)
    assert not [text for text in texts if any(colour in text for colour in COLOURS["dev"])]
    assert {text.rpartition("assistant")[2].count("<|im_end|>") for text in texts} == {1}

    monkeypatch.setattr(compressed, "run_apart", lambda *_: pytest.fail("asked before the rows were chosen"))
    status, error = run(quantize, "quantize.scheme=w4a16_gptq", "evaluate.split=train")
    assert status == 2
    assert "`evaluate.split` is `train`, whose rows the model would be calibrated on" in error
    status, error = run(quantize, "quantize.scheme=w4a16_gptq", "train.max_row_length=4")
    assert status == 2
    assert "none of 4 training rows can be used for calibration; raise `train.max_row_length`, now 4" in error


@pytest.mark.parametrize("engine", ["vllm", "serve"])
def test_model_that_the_engines_gpu_cannot_run_is_refused_before_it_starts(monkeypatch, tmp_path, engine):
    asked = []
    monkeypatch.setattr("eshop_ray.inference.build.check_model", lambda *arguments: asked.append(arguments))
    infer = InferSection(engine=engine, use_gpu=engine == "vllm")
    config = Config(name="x", infer=infer, serve=ServeSection(use_gpu=engine == "serve"))
    batch_infer.check_platform(config, tmp_path)
    assert asked == [(tmp_path, True, None)]
    batch_infer.check_platform(config.model_copy(update={"infer": InferSection(engine="simulated")}), tmp_path)
    assert len(asked) == 1
