import json
import logging

import pyarrow.parquet as pq
import pytest

from eshop_ray.config import Config
from eshop_ray.data.records import MALFORMED, fingerprint_inputs, list_sources, prepare_records
from eshop_ray.data.splits import read_split
from eshop_ray.errors import UserError
from eshop_ray.schema import RECORD_SCHEMA, decode

pytestmark = pytest.mark.usefixtures("ray_session")


def conll(*words):
    return "".join(f"{word}\tB-core_product_type\n\n" for word in words)


def make_config(tmp_path, *sources, **settings):
    data = {"root": str(tmp_path), "sources": sources, **settings.pop("data", {})}
    return Config.model_validate({"name": "run", "run_root": str(tmp_path / "runs"), "data": data, **settings})


def queryner(tmp_path, train, dev, **settings):
    (tmp_path / "train.conll").write_text(train)
    (tmp_path / "dev.conll").write_text(dev)
    return make_config(tmp_path, {"format": "queryner", "path": "{split}.conll"}, **settings)


def read_parts(config, task, split):
    folder = config.run_dir / "records" / f"task={task}" / f"split={split}"
    tables = [pq.ParquetFile(path).read() for path in sorted(folder.glob("*.parquet"))]
    assert all(table.schema.equals(RECORD_SCHEMA) for table in tables)
    return [row for table in tables for row in table.to_pylist()]


def bytes_of(config):
    folder = config.run_dir / "records"
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_shards_divide_a_task_and_splits_stay_apart(tmp_path):
    words = {name: [f"{name}{number}" for number in range(120)] for name in ("train", "dev")}
    config = queryner(tmp_path, conll(*words["train"]), conll(*words["dev"]), data={"validation_share": 0.25})
    prepare_records(config)
    ids = {
        split: {row["id"] for row in read_split(config.records_dir, split).take_all()}
        for split in ("train", "validation", "dev")
    }
    assert sum(map(len, ids.values())) == len(set().union(*ids.values())) == 240
    assert len(ids["dev"]) == 120
    assert 15 <= len(ids["validation"]) <= 45
    parts = [{r["id"] for r in read_split(config.records_dir, "train", shard=(k, 3)).take_all()} for k in (1, 2, 3)]
    assert set().union(*parts) == ids["train"]
    assert sum(map(len, parts)) == len(ids["train"])
    assert all(part for part in parts)
    few = {row["id"] for row in read_split(config.records_dir, "train", max_rows=5, shard=(2, 3)).take_all()}
    assert len(few) == 5
    assert few < parts[1]


def test_every_format_in_one_run(tmp_path, caplog):
    (tmp_path / "train.conll").write_text(conll(*(f"word{number}" for number in range(200)), "word0", "shared"))
    (tmp_path / "dev.conll").write_text(conll("mug", "shared"))
    products = [{"id": f"p{number}", "name": f"Mug {number}", "category": "AB"[number % 2]} for number in range(40)]
    (tmp_path / "products.jsonl").write_text("\n".join(map(json.dumps, products)) + "\n{broken")
    config = make_config(
        tmp_path,
        {"format": "queryner", "path": "{split}.conll"},
        {"format": "catalog", "path": "products.jsonl"},
        data={"eval_share": 0.5},
    )
    with caplog.at_level(logging.WARNING):
        summary = prepare_records(config)
    counted = {key: summary[f"num_{key}"] for key in ("rows", "malformed", "records", "duplicate", "in_another_split")}
    assert counted == {"rows": 245, "malformed": 1, "records": 242, "duplicate": 1, "in_another_split": 1}
    assert "products.jsonl:41: not JSON" in caplog.text
    malformed = json.loads((config.run_dir / "records" / MALFORMED).read_text())
    assert (malformed["line"], malformed["path"]) == (41, f"{tmp_path}/products.jsonl")

    train, dev = (read_parts(config, "ner_tagging", split) for split in ("train", "dev"))
    assert len(train) == 200
    assert {decode(row["fields"])["tokens"][0] for row in dev} == {"mug", "shared"}
    assert [row["id"] for row in train] == sorted(row["id"] for row in train)

    train, dev = (read_parts(config, "classification", split) for split in ("train", "dev"))
    assert {row["id"] for row in train} | {row["id"] for row in dev} == {product["id"] for product in products}
    assert 10 < len(dev) < 30
    assert {tuple(decode(row["fields"])["labels"]) for row in train + dev} == {("A", "B")}

    before = bytes_of(config)
    prepare_records(config)
    assert bytes_of(config) == before


def test_a_refused_run_keeps_the_earlier_records(tmp_path):
    config = queryner(tmp_path, conll("mug", "scarf"), conll("tent"))
    prepare_records(config)
    before = bytes_of(config)

    (tmp_path / "train.conll").write_text(conll("mug") + "no tag\n\n" * 12)
    with pytest.raises(UserError) as stopped:
        prepare_records(config)
    assert "12 of 14 rows are malformed" in str(stopped.value)
    assert str(stopped.value).count("train.conll:") == 10
    assert f"{tmp_path}/train.conll:3: expected `token TAB tag`" in str(stopped.value)

    (tmp_path / "train.conll").write_text("")
    with pytest.raises(UserError, match="split 'train' is empty; found dev"):
        prepare_records(config)
    (tmp_path / "dev.conll").write_text("")
    with pytest.raises(UserError, match="found no rows at all"):
        prepare_records(config)
    assert bytes_of(config) == before


def test_ids_that_stand_for_two_products(tmp_path):
    products = [{"id": "p1", "name": name, "category": "A"} for name in ("Mug", "Hose")]
    (tmp_path / "products.jsonl").write_text("\n".join(json.dumps(product) for product in [*products, products[0]]))
    with pytest.raises(UserError, match="ids that stand for rows of different content: p1"):
        prepare_records(make_config(tmp_path, {"format": "catalog", "path": "products.jsonl", "split": "train"}))


def test_the_newest_of_several_rows_of_an_id(tmp_path):
    rows = [
        ("p1", "Mug", "2026-01-02"),
        ("p1", "Old mug", "2025-12-31"),
        ("p2", "Hose", None),
        ("p1", "Jug", "2026-01-01"),
    ]
    lines = [json.dumps({"id": key, "name": name, "category": "A", "changed": date}) for key, name, date in rows]
    (tmp_path / "products.jsonl").write_text("\n".join(lines))
    source = {"format": "catalog", "path": "products.jsonl", "options": {"newest_by": "changed"}}
    config = make_config(tmp_path, {**source, "split": "train"}, {**source, "split": "dev", "path": "dev.jsonl"})
    (tmp_path / "dev.jsonl").write_text(json.dumps({"id": "p3", "name": "Lamp", "category": "A", "changed": "x"}))
    counts = prepare_records(config)
    assert counts["num_superseded"] == 2
    texts = [json.loads(row["fields"])["text"] for row in read_split(config.records_dir, "train").take_all()]
    assert sorted(texts) == ["Hose", "Mug"]


def test_unreadable_files_are_one_clear_message(tmp_path):
    (tmp_path / "products.yaml").write_text("- {name: [")
    with pytest.raises(UserError, match=r"products\.yaml: not valid YAML"):
        prepare_records(make_config(tmp_path, {"format": "catalog", "path": "products.yaml"}))


def test_sources_are_checked_before_anything_is_read(tmp_path):
    with pytest.raises(UserError, match=r"`data\.sources` is empty"):
        list_sources(make_config(tmp_path))
    with pytest.raises(UserError, match="no task rankin"):
        list_sources(make_config(tmp_path, {"format": "queryner", "path": "x"}, data={"tasks": ["rankin"]}))


def test_fingerprint_follows_files_and_settings(tmp_path):
    config = queryner(tmp_path, conll("mug"), conll("tent"))
    first = fingerprint_inputs(config)
    assert fingerprint_inputs(config) == first
    assert fingerprint_inputs(queryner(tmp_path, conll("mug"), conll("tent"), evaluate={"split": "train"})) != first
    (tmp_path / "train.conll").write_text(conll("mugs"))
    assert fingerprint_inputs(config) != first
