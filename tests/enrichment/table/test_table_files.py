import hashlib
import pickle
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eshop_ray.enrichment.table import DataFile, Table, Writer, parquet
from eshop_ray.enrichment.table.parquet import ROW_GROUP_ROWS
from eshop_ray.errors import UserError
from tests.enrichment.table.readers import SCHEMA, make_rows, read_own


def test_file_is_what_its_description_says(table):
    rows = make_rows({"b": 1, "a": 2})
    file = table.write_file(rows)
    data = (Path(table.uri) / file.path).read_bytes()
    assert (file.size, file.num_rows, file.sha256) == (len(data), 2, hashlib.sha256(data).hexdigest())
    assert '"minValues": {"product_id": "a", "task": "ner_tagging"}' in file.stats
    assert table.read_file(file).drop(["position"]) == rows


def test_file_is_no_part_of_the_table_before_its_commit(table):
    file = table.write_file(make_rows({"a": 1}))
    assert read_own(table.uri) == []
    Writer(table, "run").commit([file], {})
    assert read_own(table.uri) == [("a", 1)]


def test_table_and_files_travel(table):
    Writer(table, "run", rewrite_bytes=0).commit([file := table.write_file(make_rows({"a": 1, "b": 2}))], {})
    Writer(table, "run", rewrite_bytes=0).commit([], {file.path: [0]})
    (file,) = table.snapshot().files
    block = pa.Table.from_pylist([file.to_row()])
    assert DataFile.from_row(block.to_pylist()[0]) == file
    again = pickle.loads(pickle.dumps(table))
    assert again.read_file(file, ["value"]).to_pydict() == {"value": [2], "position": [1]}


def test_rows_are_read_by_row_groups_and_taken_by_position(table):
    num_rows = 2 * ROW_GROUP_ROWS + 100
    file = table.write_file(make_rows({f"p{number}": number for number in range(num_rows)}))
    assert pq.ParquetFile(Path(table.uri) / file.path).num_row_groups == 3
    assert max(batch.num_rows for batch in table.iter_batches(file)) <= ROW_GROUP_ROWS
    positions = table.read_file(file, ["value"])
    assert positions["position"].to_pylist() == positions["value"].to_pylist() == list(range(num_rows))
    wanted = [num_rows - 1, 0, ROW_GROUP_ROWS, 5, 5]
    assert table.take(file, wanted, ["value"]).to_pydict() == {"value": wanted}
    assert table.take(file, [], ["value"]).num_rows == 0
    for wrong in (-1, num_rows):
        with pytest.raises(IndexError):
            table.take(file, [wrong])


def test_small_batches_fill_row_groups_and_huge_rows_end_them(table, monkeypatch):
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 2_000_000)
    small = table.write_batches(make_rows({f"p{number}": number}) for number in range(1000))
    assert pq.ParquetFile(Path(table.uri) / small.path).num_row_groups == 1
    text = "x" * 1_200_000
    rows = [make_rows({name: 1}).set_column(0, "product_id", [[text + name]]) for name in "abcd"]
    huge = table.write_batches(rows)
    assert pq.ParquetFile(Path(table.uri) / huge.path).num_row_groups == 2
    assert text not in huge.stats


def test_null_keys_are_kept(table):
    rows = make_rows({"a": 1, "b": 2}).set_column(0, "product_id", pa.array([None, None], pa.string()))
    Writer(table, "run").commit([table.write_file(rows)], {})
    assert pl.read_delta(table.uri)["product_id"].to_list() == [None, None]
    assert pl.scan_delta(table.uri).filter(pl.col("product_id").is_null()).collect().height == 2


def test_a_file_needs_rows(table):
    with pytest.raises(ValueError, match="needs rows"):
        table.write_file(SCHEMA.empty_table())


@pytest.mark.parametrize("damage", [b"", b"PAR1" + bytes(40) + b"PAR1", None])
def test_lost_or_damaged_file_is_named(table, damage):
    file = table.write_file(make_rows({"a": 1}))
    path = Path(table.uri) / file.path
    path.unlink() if damage is None else path.write_bytes(damage)
    with pytest.raises(UserError, match="enriched"):
        table.read_file(file)
    with pytest.raises(UserError, match="enriched"):
        table.take(file, [0])


def test_table_stays_what_it_was_when_opened_again(table):
    Writer(table, "run").commit([table.write_file(make_rows({"a": 1}))], {})
    assert Table.open(table.uri, SCHEMA).snapshot().num_rows == 1


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
        Table.open(table.uri, schema)


def test_table_that_deltalake_made_is_taken_over(tmp_path):
    rows = make_rows({"a": 1, "b": 2})
    pl.from_arrow(rows).write_delta(tmp_path / "enriched")
    table = Table.open(str(tmp_path / "enriched"), SCHEMA)
    (file,) = table.snapshot().files
    assert file.sha256 is None
    Writer(table, "run").commit([table.write_file(make_rows({"b": 3}))], {file.path: np.array([1])})
    assert read_own(table.uri) == [("a", 1), ("b", 3)]


def test_absent_table_names_the_job_that_makes_it(tmp_path):
    table = Table(str(tmp_path / "absent"), SCHEMA)
    with pytest.raises(UserError, match=r"absent: no Delta table; run `eshop enrich-catalog`"):
        table.snapshot()
    assert not (tmp_path / "absent").exists()
