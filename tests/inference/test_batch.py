"""The plumbing from raw files to scores: with the oracle every metric is 1.0."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eshop_ray.artifacts import read_manifest, write_manifest
from eshop_ray.config import Config, DataSection, InferSection, SourceSection
from eshop_ray.errors import UserError
from eshop_ray.inference.answer_parts import AnswerParts
from eshop_ray.inference.batch import fingerprint_inference
from eshop_ray.inference.engines.oracle import answer_block
from eshop_ray.inference.reading import read_prediction
from eshop_ray.jobs import batch_infer, evaluate, make_sample_shop, prepare_data
from eshop_ray.schema import PREDICTION_SCHEMA, PROMPT_SCHEMA
from eshop_ray.tasks import list_tasks

SOURCES = (
    ("queryner", "queries.{split}.conll"),
    ("shopbench", "questions.{split}.jsonl"),
    ("catalog", "products.{split}.jsonl"),
    ("reviews", "reviews.{split}.jsonl"),
    ("reviews", "review_summaries.{split}.tsv"),
)


@pytest.fixture(scope="module")
def oracle_run(tmp_path_factory, tiny_model_dir, ray_session):  # noqa: ARG001 - jobs join the session's Ray
    root = tmp_path_factory.mktemp("oracle")
    config = Config(
        name="shop",
        run_root=str(root),
        data=DataSection(
            root=str(root / "shop"),
            num_products=40,
            sources=tuple(SourceSection(format=name, path=path) for name, path in SOURCES),
        ),
        model={"source": str(tiny_model_dir)},
        infer=InferSection(engine="oracle", models=("base",)),
    )
    for job in (make_sample_shop, prepare_data, batch_infer, evaluate):
        job.run(config)
    return config


def test_oracle_scores_one_on_every_group(oracle_run):
    metrics = json.loads((oracle_run.run_dir / "base" / "metrics.json").read_text())
    assert {name: round(group["score"], 6) for name, group in metrics["groups"].items()} == dict.fromkeys(
        metrics["groups"], 1.0
    )
    assert metrics["score"] == pytest.approx(1.0)
    assert all(group["num_errors"] == group["num_unparsed"] == 0 for group in metrics["groups"].values())


def test_every_task_is_answered_in_one_schema(oracle_run):
    tables = [pq.read_table(path) for path in oracle_run.predictions_dir("base").glob("*.parquet")]
    assert all(table.schema.names == PREDICTION_SCHEMA.names for table in tables)
    answered = {task for table in tables for task in table["task"].to_pylist()}
    assert answered == set(list_tasks()) - {"attributes"}  # of which the sample shop has no rows


def test_unchanged_run_is_not_answered_again(oracle_run, caplog):
    caplog.set_level("INFO")
    batch_infer.run(oracle_run)
    assert "predictions are up to date" in caplog.text


def fail_rows(config, num_failed):
    """Have some of a run's predictions look as if the engine had failed."""
    folder = config.predictions_dir("base")
    manifest = read_manifest(folder, "batch_infer")
    rows = pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("*.parquet"))])
    errors = ["engine: x"] * num_failed + [None] * (rows.num_rows - num_failed)
    failed = rows.set_column(rows.schema.get_field_index("error"), "error", pa.array(errors, pa.string()))
    for path in folder.glob("*.parquet"):
        path.unlink()
    pq.write_table(failed, folder / "part-00000.parquet")
    counts = {**manifest.details, "num_errors": num_failed}
    write_manifest(folder, manifest.kind, manifest.inputs, manifest.parents, counts)
    return rows


def retry_failed(config):
    return config.model_copy(update={"infer": config.infer.model_copy(update={"retry_failed": True})})


def test_failed_rows_are_asked_again_when_told_so(oracle_run, caplog):
    caplog.set_level("INFO")
    whole = fail_rows(oracle_run, 3)
    batch_infer.run(oracle_run)
    assert "up to date" in caplog.text
    assert "; 3 of its rows have no answer, infer.retry_failed=true asks them again" in caplog.text
    batch_infer.run(retry_failed(oracle_run))
    assert f"{whole.num_rows - 3} rows of dev are answered already; going on from there" in caplog.text
    folder = oracle_run.predictions_dir("base")
    again = pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("*.parquet"))])
    assert again.sort_by([("task", "ascending"), ("id", "ascending")]) == whole.sort_by(
        [("task", "ascending"), ("id", "ascending")]
    )
    caplog.clear()
    batch_infer.run(retry_failed(oracle_run))
    assert "up to date" in caplog.text


def test_a_job_that_answers_hardly_anything_ends_as_failed(oracle_run):
    whole = fail_rows(oracle_run, 100)
    wanted = rf"100 of {whole.num_rows} rows have no answer, more than infer.max_failed_share=0.5 .*100 x engine"
    with pytest.raises(UserError, match=wanted):
        batch_infer.run(oracle_run)
    batch_infer.run(retry_failed(oracle_run))


def test_manifest_names_the_parents(oracle_run):
    artifacts = json.loads((oracle_run.run_dir / "manifest.json").read_text())["artifacts"]
    predictions = artifacts["base/predictions/split=dev"]
    assert predictions["parents"]["records"] == artifacts["records"]["digest"]


def prompt(**values):
    return {**dict.fromkeys(PREDICTION_SCHEMA.names), "id": "a", "task": "classification", "target": '"x"', **values}


def test_oracle_leaves_failed_rows_alone():
    rows = [prompt(error="prompt: KeyError"), prompt(messages=[])]
    answered = answer_block(pa.Table.from_pylist(rows, schema=PROMPT_SCHEMA))
    assert answered["generated_text"].to_pylist() == [None, "x"]
    assert answered["error"].to_pylist() == ["prompt: KeyError", None]


def test_parser_failure_becomes_the_rows_error():
    reading = read_prediction({"task": "no_such_task", "generated_text": "x"})
    assert (reading.prediction, reading.error) == (None, "parse: UserError")


def test_settings_that_only_change_the_speed_keep_predictions():
    def digest(**infer):
        return fingerprint_inference(Config(name="x", infer=InferSection(**infer)), "records", "model")

    retuned = {"batch_size": 9, "max_concurrent_batches": 9, "cpu_threads": 9, "engine_kwargs": {"max_num_seqs": 9}}
    assert digest() == digest(**retuned)
    assert digest() != digest(engine_kwargs={"max_model_len": 9})
    assert digest() != digest(temperature=1.0)


def test_a_killed_run_goes_on_where_it_was(oracle_run, caplog):
    folder = oracle_run.predictions_dir("base")
    inputs = json.loads((folder / "manifest.json").read_text())["inputs"]
    whole = pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("*.parquet"))])
    parts = AnswerParts(folder, inputs)
    other = AnswerParts(folder, "of other inputs")
    other.open()
    parts.open()
    failed = whole.slice(0, 5).set_column(whole.schema.get_field_index("error"), "error", pa.array(["engine: x"] * 5))
    for block in (whole.slice(5, 20), failed, whole.slice(25, 10)):
        parts.write(block)
    kept, others = (folder.parent / f".split=dev.answers-{name[:12]}" for name in (inputs, "of other inputs"))
    assert kept.is_dir()
    (kept / "cut.parquet#1").write_bytes(b"PAR1")
    for path in folder.iterdir():
        path.unlink()
    caplog.set_level("INFO")
    batch_infer.run(oracle_run)
    assert "30 rows of dev are answered already; going on from there" in caplog.text
    again = pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("*.parquet"))])
    by_key = {(row["task"], row["id"]): row for row in again.to_pylist()}
    assert len(by_key) == again.num_rows == whole.num_rows
    assert by_key == {(row["task"], row["id"]): row for row in whole.to_pylist()}
    assert not kept.exists()
    assert not others.exists()
    evaluate.run(oracle_run)
