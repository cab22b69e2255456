"""A table's files, its shape, and who can read it."""

import hashlib
import pickle
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from eshop_ray.enrichment.table import DataFile, Table, Writer, partition_of
from eshop_ray.errors import UserError
from tests.enrichment.table.readers import ENGINES, PARTITION, SCHEMA, make_rows, open_table, read_own, write_file


def test_file_is_named_by_its_bytes(table):
    file = write_file(table, b=1, a=2)
    data = (Path(table.uri) / file.path).read_bytes()
    assert file.path == f"task=ner_tagging/bucket=7/part-{hashlib.sha256(data).hexdigest()[:32]}.parquet"
    assert (file.size, file.num_rows, file.task, file.bucket) == (len(data), 2, "ner_tagging", 3)
    assert table.read_file(file).drop(["position"]) == make_rows({"b": 1, "a": 2})
    assert table.check_file(file) is None


def test_file_is_no_part_of_the_table_before_its_commit(table):
    file = write_file(table, a=1)
    assert read_own(table.uri) == []
    Writer(table, "run")  # tidies away what an earlier run did not commit
    assert table.check_file(file) == "missing"
    writer = Writer(table, "run")
    writer.commit([write_file(table, a=1)], [])
    assert read_own(table.uri) == [("a", 1)]


def test_table_and_files_travel(table):
    Writer(table, "run").commit([write_file(table, a=1, b=2)], [])
    (file,) = table.snapshot().files
    block = pa.Table.from_pylist([file.to_row()])
    assert DataFile.from_row(block.to_pylist()[0]) == file
    again = pickle.loads(pickle.dumps(table))
    assert again.read_file(file, ["value", "bucket"]).to_pydict() == {
        "value": [1, 2],
        "bucket": [7, 7],
        "position": [0, 1],
    }


@pytest.mark.parametrize("engine", ENGINES)
def test_column_that_came_later_is_added_and_null_in_the_rows_from_before(table, engine):
    Writer(table, "run").commit([write_file(table, a=1)], [])
    before = table.load()
    wider = Table(table.uri, SCHEMA.append(pa.field("later", pa.string())), table.partition_by, ("later",))
    assert wider.peek(1).num_rows == 1
    assert "later" not in {field.name for field in wider.load().schema().fields}
    for _ in range(2):
        wider.create(1)
    found = wider.load()
    assert [field.name for field in found.schema().fields] == [*(one.name for one in before.schema().fields), "later"]
    assert (found.version(), found.metadata().id) == (before.version() + 1, before.metadata().id)
    assert found.protocol() == before.protocol()
    (old,) = wider.snapshot().files
    assert wider.read_file(old)["later"].to_pylist() == wider.read_file(old, ["later"])["later"].to_pylist() == [None]
    rows = make_rows({"b": 2}).append_column("later", pa.array(["x"]))
    writer = Writer(wider, "next")
    writer.commit([wider.write_rows(rows, PARTITION, "next")], [])
    assert ENGINES[engine](table.uri) == [("a", 1), ("b", 2)]
    assert sorted(pl.read_delta(table.uri)["later"].to_list(), key=str) == [None, "x"]


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_reads_a_table_whose_rows_were_replaced(table, engine):
    writer = Writer(table, "run")
    first, second = write_file(table, a=1, b=1), write_file(table, c=1)
    writer.commit([first, second], [])
    writer.commit([write_file(table, a=2, b=1)], [first])
    Writer(table, "next").commit([write_file(table, d=3)], [second])
    assert ENGINES[engine](table.uri) == [("a", 2), ("b", 1), ("d", 3)]


def test_readers_need_nothing_but_the_lowest_protocol(table):
    writer = Writer(table, "run")
    writer.commit([file := write_file(table, a=1)], [])
    writer.commit([write_file(table, a=2)], [file])
    protocol = DeltaTable(table.uri).protocol()
    assert (protocol.min_reader_version, protocol.min_writer_version, protocol.reader_features) == (1, 2, None)


def test_a_task_is_read_without_the_others(table):
    other = table.write_rows(make_rows({"b": 2}), partition_of(1, 4, "classification"), "run")
    Writer(table, "run2").commit([write_file(table, a=1)], [])
    assert table.check_file(other) == "missing"
    scanned = pl.scan_delta(table.uri).filter(pl.col("task") == "ner_tagging").collect()
    assert scanned["product_id"].to_list() == ["a"]


@pytest.mark.parametrize("damage", [b"", b"PAR1" + bytes(40) + b"PAR1", None])
def test_lost_or_damaged_file_is_named(table, damage):
    file = write_file(table, a=1)
    path = Path(table.uri) / file.path
    path.unlink() if damage is None else path.write_bytes(damage)
    with pytest.raises(UserError, match="enriched"):
        table.read_file(file)
    assert table.check_file(file) == ("missing" if damage is None else "changed since it was written")


def test_a_flipped_bit_in_the_values_is_noticed_when_they_are_read(table):
    file = write_file(table, **{f"p{number}": number for number in range(1000)})
    path = Path(table.uri) / file.path
    data = bytearray(path.read_bytes())
    data[len(data) // 4] ^= 1
    path.write_bytes(data)
    assert table.check_file(file) == "changed since it was written"
    with pytest.raises(UserError, match=r"part-\w+\.parquet is damaged: `eshop verify CONFIG --repair` takes what"):
        table.read_file(file)


def test_table_stays_what_it_was_when_created_again(table):
    Writer(table, "run").commit([write_file(table, a=1)], [])
    table.create(num_buckets=99)
    assert (table.snapshot().num_rows, table.snapshot().num_buckets) == (1, 4)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (SCHEMA.remove(2), '`value` is "long" instead of absent'),
        (SCHEMA.append(pa.field("more", pa.bool_())), '`more` is missing instead of "boolean"'),
        (SCHEMA.set(2, pa.field("value", pa.string())), '`value` is "long" instead of "string"'),
    ],
)
def test_table_of_another_shape_is_refused(table, schema, message):
    with pytest.raises(UserError, match=message):
        Table(table.uri, schema, ("task", "bucket")).create(4)


@pytest.mark.parametrize("options", [{}, {"partition_by": ["task"]}, {"partition_by": ["task", "bucket"]}])
def test_table_of_another_program_is_refused(tmp_path, options):
    uri = str(tmp_path / "enriched")
    DeltaTable.create(uri, SCHEMA, **options)
    with pytest.raises(UserError, match=r"another shape: .*(partitioned by|no property)"):
        open_table(uri)


def test_file_of_another_program_is_named_once_its_rows_are_not_counted(table):
    pl.from_arrow(make_rows({"a": 1})).write_delta(table.uri, mode="append")
    assert read_own(table.uri) == [("a", 1)]
    (file,) = table.snapshot().files
    assert table.check_file(file) == "its bytes cannot be checked: another program wrote it, without a digest"


def test_place_that_holds_other_things_is_refused_and_left_alone(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "photo.parquet").write_text("x")
    with pytest.raises(UserError, match=r"is no Delta table and is not empty \(it holds deep/er/photo.parquet\)"):
        open_table(str(tmp_path))
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["photo.parquet"]


def test_absent_table_names_the_job_that_makes_it(tmp_path):
    table = Table(str(tmp_path / "absent"), SCHEMA, ("task", "bucket"))
    with pytest.raises(UserError, match=r"absent: no Delta table; run `eshop enrich-catalog`"):
        table.snapshot()
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("damage", ["", '{"add": {"path": ', '{"surprise": 1}\n', "\x00\x01"])
def test_log_that_cannot_be_read_is_told(table, damage):
    Writer(table, "run").commit([write_file(table, a=1)], [])
    entry = Path(table.uri) / "_delta_log" / f"{1:020}.json"
    entry.write_text(damage)
    try:
        read_own(table.uri)
    except UserError as error:
        assert f"{entry} is " in str(error)  # noqa: PT017 - some of these hurt nobody


def test_rows_of_a_partition_keep_their_order_and_columns(table):
    file = table.write_rows(make_rows({"z": 1, "a": 2}).append_column("extra", [[1, 2]]), PARTITION, "run")
    assert table.read_file(file, ["product_id"])["product_id"].to_pylist() == ["z", "a"]
