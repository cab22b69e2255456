"""Everything that an enriched table rests on, made small, then changed byte by byte."""

import shutil
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from eshop_ray.artifacts import MANIFEST, digest_dir, find_manifest, is_intact, write_manifest, write_run_manifest
from eshop_ray.config import Config
from eshop_ray.enrichment.columns import ENRICHED_SCHEMA, QUARANTINE_SCHEMA
from eshop_ray.enrichment.lineage import hash_log, verify, write_run_record
from eshop_ray.enrichment.lineage.ancestry import find_run_record
from eshop_ray.enrichment.table import Writer
from eshop_ray.enrichment.tables import enriched_table, quarantine_table
from eshop_ray.errors import UserError
from eshop_ray.jobs.verify import run as run_job

RUN_ID = "20261122T020000-0123abcd"


def make_artifact(folder, kind, files, parents):
    folder.mkdir(parents=True)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return write_manifest(folder, kind, "inputs", parents).digest


def make_rows(model_digest, run_id=RUN_ID, status="enriched", product_ids=("p1", "p2")):
    columns = {"run_id": run_id, "model_digest": model_digest, "status": status, "updated_at": datetime.now(UTC)}
    rows = [
        {**dict.fromkeys(ENRICHED_SCHEMA.names), **columns, "product_id": product_id, "task": task}
        for product_id in product_ids
        for task in ("classification", "ner_tagging")
    ]
    return pa.Table.from_pylist(rows, schema=ENRICHED_SCHEMA)


def add_rows(config, rows, run_id=RUN_ID):
    table = enriched_table(config.table_uri)
    writer = Writer(table, run_id)
    tasks = sorted(set(rows["task"].to_pylist()))
    files = [
        table.write_rows(rows.filter(pc.equal(rows["task"], task)), {"task": task, "bucket": "1"}, run_id)
        for task in tasks
    ]
    writer.commit(files, [])


def make_record(config, model_dir, digest, run_id=RUN_ID):
    tables = enriched_table(config.table_uri), quarantine_table(config.quarantine_uri)
    record = {
        "run_id": run_id,
        "started_at": "2026-11-22T02:00:00+00:00",
        "model": {"dir": model_dir and str(model_dir), "digest": digest},
        "logs": {table.uri: hash_log(table, since=-1) for table in tables},
    }
    return write_run_record(config.run_dir, run_id, record)


@pytest.fixture
def config(tmp_path):
    """A run that enriched two products with a model that another run merged."""
    config = Config.model_validate(
        {"name": "night", "run_root": str(tmp_path / "runs"), "model": {"cache_dir": str(tmp_path / "cache")}}
    )
    tuned = tmp_path / "runs" / "tuned"
    base = make_artifact(tmp_path / "cache" / "base", "model", {"model.safetensors": "base", "config.json": "{}"}, {})
    records = make_artifact(tuned / "records", "records", {"task=ner/part-0.parquet": "rows"}, {})
    parents = {"base": base, "records": records}
    adapter = make_artifact(tuned / "adapter", "adapter", {"adapter_model.safetensors": "low rank"}, parents)
    parents = {"base": base, "adapter": adapter}
    merged = make_artifact(tuned / "merged", "model", {"model.safetensors": "sum", "config.json": "{}"}, parents)
    write_run_manifest(tuned)
    quarantine = quarantine_table(config.quarantine_uri)
    for table in (enriched_table(config.table_uri), quarantine):
        table.create(num_buckets=1)
    add_rows(config, make_rows(merged))
    bad = pa.Table.from_pylist([dict.fromkeys(QUARANTINE_SCHEMA.names)], schema=QUARANTINE_SCHEMA)
    writer = Writer(quarantine, RUN_ID)
    writer.commit([quarantine.write_rows(bad, {"bucket": "1"}, RUN_ID)], [])
    make_record(config, tuned / "merged", merged)
    return config


def flip(path, position=None):
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if position is None else position] ^= 1
    path.write_bytes(data)


def find_file(tmp_path, pattern):
    (path,) = tmp_path.glob(pattern)
    return path


def test_untouched_is_sound(config, tmp_path):
    report = verify(config)
    assert report.findings == ()
    assert (report.num_data_files, report.num_runs, report.num_artifacts) == (2, 1, 4)
    tuned = tmp_path / "runs" / "tuned"
    names = [line.strip().partition(" ")[0] for line in report.lineage_paths]
    ancestors = ["run", "model", "base", "adapter", "base", "records"]
    assert names == ["classification", *ancestors, "ner_tagging", *ancestors]
    assert report.lineage_paths[0] == "classification of product p1"
    for folder in (tuned / "merged", tuned / "adapter", tuned / "records", tmp_path / "cache" / "base"):
        assert any(line.endswith(f": {folder}") for line in report.lineage_paths)


@pytest.mark.parametrize(
    "pattern",
    [
        "runs/night/enriched/task=ner_tagging/*/*.parquet",
        "runs/night/enriched_quarantine/*/*.parquet",
        f"runs/night/enrichment/{RUN_ID}.json",
        "runs/tuned/merged/model.safetensors",
        "runs/tuned/adapter/adapter_model.safetensors",
        "runs/tuned/records/task=ner/part-0.parquet",
        "cache/base/config.json",
        "runs/tuned/manifest.json",
    ],
)
def test_a_changed_byte_is_reported_by_name(config, tmp_path, pattern):
    path = find_file(tmp_path, pattern)
    flip(path)
    (finding,) = verify(config).findings
    assert finding.startswith(f"{path}: changed since")


@pytest.mark.parametrize("folder", ["runs/tuned/merged", "runs/tuned/adapter", "runs/tuned/records", "cache/base"])
def test_a_changed_byte_of_a_manifest_is_reported_by_name(config, tmp_path, folder):
    path = tmp_path / folder / MANIFEST
    size = path.stat().st_size
    for position in range(0, size, max(size // 23, 1)):
        flip(path, position)
        assert any(str(path) in finding for finding in verify(config).findings), position
        flip(path, position)
    assert verify(config).findings == ()


@pytest.mark.parametrize("table", ["enriched", "enriched_quarantine"])
@pytest.mark.parametrize("version", [0, 1, 2])
def test_a_changed_byte_of_the_log_is_reported_by_name(config, tmp_path, table, version):
    path = tmp_path / "runs" / "night" / table / "_delta_log" / f"{version:020}.json"
    size = path.stat().st_size
    for position in range(0, size, max(size // 7, 1)):
        flip(path, position)
        assert f"{path}: changed since it was written" in verify(config).findings, position
        flip(path, position)


def test_model_of_runs_that_lie_elsewhere(config, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    tuned = (tmp_path / "runs" / "tuned").rename(tmp_path / "elsewhere" / "tuned")
    make_record(config, tuned / "merged", find_manifest(tuned / "merged").digest)
    assert verify(config).findings == ()
    flip(tuned / "records" / "task=ner" / "part-0.parquet")
    assert len(verify(config).findings) == 1


@pytest.fixture
def experiment(config, tmp_path):
    """Return a function that makes an experiment in a folder, and rows by a model combined of its adapters."""

    def make(folder, model_run, named=()):
        base = find_manifest(tmp_path / "cache" / "base").digest
        records = make_artifact(folder / "records", "records", {"task=ner/part-0.parquet": "all rows"}, {})
        parents = {"base": base}
        for number, task in enumerate(("ner", "ranking")):
            files = {"adapter_model.safetensors": f"low rank of {task}"}
            run_dir = folder / "adapters" / task
            parents[f"adapter.{number}"] = make_artifact(
                run_dir / "adapter", "adapter", files, {"base": base, "records": records}
            )
            write_run_manifest(run_dir)
        merged = model_run / "merged"
        merged.mkdir(parents=True)
        (merged / "model.safetensors").write_text("sum of two")
        manifest = write_manifest(merged, "model", "inputs", parents, {"adapters": [str(path) for path in named]})
        write_run_manifest(model_run)
        add_rows(config, make_rows(manifest.digest, run_id="combined", product_ids=["p8"]))
        make_record(config, merged, manifest.digest, run_id="combined")

    return make


@pytest.mark.parametrize("run", ["", "merges/ties-0a1b"])
@pytest.mark.parametrize("place", ["runs", "elsewhere"])
def test_model_combined_of_an_experiments_adapters(config, experiment, tmp_path, place, run):
    folder = tmp_path / place / "strategies"
    experiment(folder, folder / run)
    report = verify(config)
    assert report.findings == ()
    assert report.num_artifacts == 4 + 4
    weights = folder / "adapters" / "ranking" / "adapter" / "adapter_model.safetensors"
    flip(weights)
    assert verify(config).findings == (f"{weights}: changed since the manifest was written",)


def test_model_combined_of_adapters_that_lie_elsewhere(config, experiment, tmp_path):
    folder = tmp_path / "elsewhere" / "strategies"
    named = [folder / "adapters" / task / "adapter" for task in ("ner", "ranking")]
    experiment(folder, tmp_path / "runs" / "chosen", named)
    assert verify(config).findings == ()
    shutil.rmtree(named[0])
    (finding,) = verify(config).findings
    assert finding.startswith(f"{tmp_path / 'runs' / 'chosen' / 'merged'}: its adapter.0 ")


def test_missing_files_are_named(config, tmp_path):
    data = find_file(tmp_path, "runs/night/enriched/task=ner_tagging/*/*.parquet")
    weights = tmp_path / "runs" / "tuned" / "merged" / "model.safetensors"
    weights.unlink()
    assert verify(config).findings == (f"{weights}: missing",)
    data.unlink()
    assert verify(config).findings[0] == f"{data}: missing"


@pytest.mark.parametrize(("folder", "name"), [("merged", "model"), ("adapter", "adapter"), ("records", "records")])
def test_a_broken_link_says_what_is_nowhere(config, tmp_path, folder, name):
    shutil.rmtree(tmp_path / "runs" / "tuned" / folder)
    (finding,) = verify(config).findings
    assert f": its {name} " in finding
    assert "put the folder back" in finding


def test_rows_of_an_unknown_run(config):
    find_run_record(config, RUN_ID).unlink()
    (finding,) = verify(config).findings
    assert finding.startswith(f"run {RUN_ID}: no `enrichment/{RUN_ID}.json`")


def test_rows_of_another_model_than_their_run_says(config):
    other = make_artifact(config.run_dir.parent / "other" / "merged", "model", {"model.safetensors": "other"}, {})
    add_rows(config, make_rows(other, product_ids=["p3"]))
    (finding,) = verify(config).findings
    assert finding == f"{find_run_record(config, RUN_ID)}: the run's rows name another model, {other}"


def test_tombstones_need_no_model(config):
    add_rows(config, make_rows("model that was replaced", status="deleted", product_ids=["p4"]))
    assert verify(config).findings == ()


def test_simulated_engine_ends_the_road(config):
    add_rows(config, make_rows("made up", run_id="simulated", product_ids=["p5"]))
    make_record(config, None, "made up", run_id="simulated")
    report = verify(config)
    assert report.findings == ()
    assert report.num_runs == 2


def test_rows_of_a_base_without_manifest(config, tmp_path):
    base = tmp_path / "own model"
    base.mkdir()
    (base / "config.json").write_text("{}")
    config = config.model_copy(update={"model": config.model.model_copy(update={"source": str(base)})})
    digest = digest_dir(base)
    add_rows(config, make_rows(digest, run_id="base", product_ids=["p6"]))
    make_record(config, base, digest, run_id="base")
    assert verify(config).findings == ()
    (base / "config.json").write_text("{ }")
    (finding,) = verify(config).findings
    assert f"{base} has {digest_dir(base)[:12]}" in finding


def test_table_that_another_program_wrote_to(config):
    import deltalake

    deltalake.write_deltalake(config.table_uri, make_rows("x", product_ids=["p7"]), mode="append")
    assert any("another program wrote it" in finding for finding in verify(config).findings)


def test_job_says_sound_or_lists_all(config, tmp_path, caplog):
    caplog.set_level("INFO")
    run_job(config)
    assert "all sound" in caplog.text
    paths = [find_file(tmp_path, f"runs/tuned/{name}.safetensors") for name in ("merged/model", "adapter/*")]
    for path in paths:
        flip(path)
    with pytest.raises(UserError, match="2 of the things verified") as caught:
        run_job(config)
    assert all(str(path) in str(caught.value) for path in paths)


def test_no_table(tmp_path):
    config = Config(name="night", run_root=str(tmp_path))
    with pytest.raises(UserError, match=r"no Delta table; run `eshop enrich-catalog` first"):
        verify(config)
    assert not (tmp_path / "night").exists()


def test_record_is_sealed(config):
    assert is_intact(find_run_record(config, RUN_ID))
