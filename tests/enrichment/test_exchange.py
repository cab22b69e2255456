"""Rows that a night's tasks hand to each other by columns: each comes back in its bucket, once."""

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from eshop_ray.enrichment.placing import bucket_of, place_values
from eshop_ray.exchange import Exchange, PartWriter
from eshop_ray.storage import Storage, StorageError

SCHEMA = pa.schema([("number", pa.int64()), ("text", pa.string())])
NUM_BUCKETS = 3


@pytest.fixture
def exchange(tmp_path):
    return Exchange(Storage(str(tmp_path)), "things", SCHEMA, NUM_BUCKETS)


def things(*numbers):
    return pa.table({"number": numbers, "text": [None if number % 2 else f"é{number}" for number in numbers]}, SCHEMA)


def by_number(rows):
    return np.array(rows["number"].to_pylist(), np.int64) % NUM_BUCKETS


def write(exchange, name, *numbers):
    rows = things(*numbers)
    return exchange.write(name, rows, by_number(rows)).to_row()


def numbers_of(rows):
    return rows["number"].to_pylist()


def files_of(exchange):
    return {path.name: path.read_bytes() for path in Path(exchange.storage.uri, exchange.kind).iterdir()}


def test_rows_come_back_in_their_bucket_and_in_no_other(exchange):
    parts = [write(exchange, "b", 10, 3, 1, 0), write(exchange, "a", 4, 5, 7)]
    found = exchange.with_parts(parts)
    assert [numbers_of(found.read(bucket)) for bucket in range(NUM_BUCKETS)] == [[3, 0], [4, 7, 10, 1], [5]]
    assert found.read(1).to_pylist() == things(4, 7, 10, 1).to_pylist()
    assert found.read(1).schema == SCHEMA


def test_buckets_on_end_are_read_at_once(exchange):
    found = exchange.with_parts([write(exchange, "a", 0, 1, 2, 3, 4, 5), write(exchange, "b", 8, 7)])
    assert numbers_of(found.read(1, 3)) == [1, 4, 2, 5, 7, 8]
    assert sorted(numbers_of(found.read(0, NUM_BUCKETS))) == [0, 1, 2, 3, 4, 5, 7, 8]
    assert numbers_of(found.read(2, 2)) == []


def test_many_small_buckets_are_a_few_pieces(tmp_path):
    """A night with few changes has a row or two in each bucket of each part: pieces would take more than the rows."""
    wide = Exchange(Storage(str(tmp_path)), "things", SCHEMA, num_buckets=500)
    parts = [wide.write(name, things(*range(500)), np.arange(500)).to_row() for name in "abc"]
    rows = wide.with_parts(parts).read(0, 500)
    assert len(rows) == 1500
    assert rows["number"].num_chunks <= 4


def test_bucket_in_which_nothing_stands_is_a_table_without_rows(exchange):
    for found in (exchange, exchange.with_parts([]), exchange.with_parts([write(exchange, "a", 0, 3)])):
        assert found.read(1).equals(SCHEMA.empty_table())
        assert found.read(1, 3).schema == SCHEMA


def test_part_that_a_repeated_task_writes_again_is_the_same_and_counts_once(exchange):
    first, written = write(exchange, "a", 1, 2, 4), files_of(exchange)
    assert write(exchange, "a", 1, 2, 4) == first
    assert files_of(exchange) == written
    assert numbers_of(exchange.with_parts([first]).read(1)) == [1, 4]


def test_part_that_no_task_reported_is_not_read(exchange):
    write(exchange, "left-behind", 1)
    assert numbers_of(exchange.with_parts([write(exchange, "a", 4)]).read(1)) == [4]


def test_parts_are_read_in_the_order_of_their_names_however_they_were_reported(exchange):
    parts = [write(exchange, name, number) for name, number in (("c", 7), ("a", 1), ("b", 4))]
    assert numbers_of(exchange.with_parts(parts).read(1)) == numbers_of(exchange.with_parts(parts[::-1]).read(1))
    assert numbers_of(exchange.with_parts(parts).read(1)) == [1, 4, 7]


def test_exchange_and_its_parts_travel_between_processes(exchange):
    part = json.loads(json.dumps(write(exchange, "a", 1, 2)))
    assert numbers_of(pickle.loads(pickle.dumps(exchange.with_parts([part]))).read(2)) == [2]


def test_columns_come_in_any_order_and_in_kin_of_their_types(exchange):
    rows = pa.table({"text": pa.array(["a"], pa.large_string()), "number": pa.array([2], pa.int32())})
    part = exchange.write("a", rows, np.array([2])).to_row()
    assert exchange.with_parts([part]).read(2).to_pylist() == [{"number": 2, "text": "a"}]


def test_part_that_is_gone_is_said(exchange):
    found = exchange.with_parts([write(exchange, "a", 1)])
    Path(exchange.storage.uri, "things", "a.arrow").unlink()
    assert numbers_of(found.read(0)) == []
    with pytest.raises(StorageError, match="cannot be read"):
        found.read(1)


@pytest.mark.usefixtures("s3")
def test_rows_come_back_from_an_object_store():
    exchange = Exchange(Storage("s3://shop/runs/staging"), "things", SCHEMA, NUM_BUCKETS)
    found = exchange.with_parts([write(exchange, "a", 0, 1, 2, 4), write(exchange, "b", 7)])
    assert [numbers_of(found.read(bucket)) for bucket in range(NUM_BUCKETS)] == [[0], [1, 4, 7], [2]]


def test_writer_holds_rows_until_they_make_up_a_part(exchange, monkeypatch):
    monkeypatch.setattr("eshop_ray.exchange.PART_BYTES", things(0, 2, 4).nbytes)
    writer = PartWriter(exchange, "task", by_number)
    for rows in (things(0, 2), things(4), SCHEMA.empty_table(), things(6)):
        writer.add(rows)
    assert sorted(files_of(exchange)) == ["task-000000.arrow"]
    parts = writer.close()
    assert sorted(files_of(exchange)) == ["task-000000.arrow", "task-000001.arrow"]
    assert writer.close() == parts
    assert sorted(numbers_of(exchange.with_parts(parts).read(0, NUM_BUCKETS))) == [0, 2, 4, 6]


def test_writer_of_no_rows_writes_nothing(exchange):
    writer = PartWriter(exchange, "task", by_number)
    writer.add(SCHEMA.empty_table())
    assert writer.close() == []
    assert list(Path(exchange.storage.uri).iterdir()) == []


values = st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=12))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(values, values), max_size=20), st.sampled_from([1, 2, 3, 7, 64, 4096, 20_001]))
@example([(None, "fingerprint"), ("", "fingerprint"), (None, None), ("a\x00b", None), ("Ⅳ 漢 é", None)], 4096)
def test_whole_columns_are_placed_as_each_value_is(pairs, num_buckets):
    columns = [pa.chunked_array([pa.array(column, pa.string())]) for column in zip(*pairs, strict=True)]
    columns = columns or [pa.chunked_array([], pa.string())] * 2
    first_told = [next((value for value in pair if value is not None), "") for pair in pairs]
    assert place_values(columns, num_buckets).tolist() == [bucket_of(value, num_buckets) for value in first_told]


def test_many_values_are_placed_in_their_order_and_evenly():
    values = [f"p{number}" for number in range(100_000)]
    placed = place_values([pa.chunked_array([values[:7], values[7:]])], 8)
    assert placed[:9].tolist() == [bucket_of(value, 8) for value in values[:9]]
    assert placed[-1] == bucket_of(values[-1], 8)
    assert np.bincount(placed).min() > 12_000
