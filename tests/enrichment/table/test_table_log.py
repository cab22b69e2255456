import json
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from pyroaring import BitMap64

from eshop_ray.enrichment.table import DataFile, Table, Writer
from eshop_ray.enrichment.table.deletion import VectorWriter
from eshop_ray.enrichment.table.log import Log
from eshop_ray.errors import UserError
from tests.enrichment.table.readers import SCHEMA, make_rows, read_own, read_polars


def folder_of(table):
    return Path(table.uri) / "_delta_log"


def fill(table, num_commits):
    """Commit a row, replacing the last one but two, so that entries add, remove and mark."""
    writer = Writer(table, "run", rewrite_bytes=0)
    files = []
    for value in range(num_commits):
        files.append(table.write_file(make_rows({"a": value, f"b{value}": value})))
        writer.commit([files[-1]], {files[-2].path: [0]} if value else {})
    return writer


def test_checkpoints_are_written_and_read(table):
    fill(table, 25)
    assert len(list(folder_of(table).glob("*.checkpoint.parquet"))) == 2
    expected = read_polars(table.uri)
    for path in folder_of(table).glob("0000000000000000000?.json"):
        path.unlink()
    assert read_own(table.uri) == expected
    assert table.snapshot().transactions == {"eshop_ray": 1}
    assert all(file.sha256 for file in table.snapshot().files)
    assert table.snapshot(20).num_rows == 20
    with pytest.raises(UserError, match="entries of the log that version 5 needs are missing"):
        table.snapshot(5)


def test_first_vector_after_a_checkpoint_keeps_the_metadata(table):
    """Checkpoints hold maps as lists of pairs."""
    DeltaTable(table.uri).alter.set_table_properties({"delta.logRetentionDuration": "interval 9 days"})
    writer = Writer(table, "run")
    for value in range(10):
        writer.commit([table.write_file(make_rows({f"a{value}": value, f"b{value}": value}))], {})
    before = DeltaTable(table.uri).metadata()
    writer = Writer(Table.open(table.uri, SCHEMA), "next", rewrite_bytes=0)
    writer.commit([], {writer.snapshot.files[0].path: [1]})
    after = DeltaTable(table.uri).metadata()
    assert after.configuration == before.configuration | {"delta.enableDeletionVectors": "true"}
    assert (after.id, after.created_time) == (before.id, before.created_time)
    assert len(read_polars(table.uri)) == len(read_own(table.uri)) == 19


@pytest.mark.parametrize("note", ["", "{", "[]", '{"version": 7}', '{"version": "x"}', '{"version": 99}'])
def test_damaged_note_of_the_last_checkpoint_does_no_harm(table, note):
    version = fill(table, 15).version
    (folder_of(table) / "_last_checkpoint").write_text(note)
    assert table.snapshot().version == version
    assert table.snapshot().num_rows == 16


def test_checkpoint_in_parts_counts_once_it_is_whole(table):
    fill(table, 12)
    (checkpoint,) = folder_of(table).glob("*.checkpoint.parquet")
    rows = pq.read_table(checkpoint)
    checkpoint.unlink()
    parts = [folder_of(table) / f"{10:020}.checkpoint.{part:010}.{2:010}.parquet" for part in (1, 2)]
    pq.write_table(rows.slice(0, 5), parts[0])
    before = table.snapshot()
    pq.write_table(rows.slice(5), parts[1])
    for version in range(10):
        (folder_of(table) / f"{version:020}.json").unlink()
    after = table.snapshot()
    assert set(after.files) == set(before.files)
    parts[0].unlink()
    with pytest.raises(UserError, match="its newest version needs are missing"):
        table.snapshot()


def test_clean_up_between_listing_and_reading_does_no_harm(table, monkeypatch):
    fill(table, 8)
    table.checkpoint(3)
    listings = [Log(table.storage).list()]
    writer = fill(table, 12)
    for path in folder_of(table).glob("0000000000000000000?.*"):
        path.unlink()
    look = Log.list
    monkeypatch.setattr(Log, "list", lambda log: listings.pop() if listings else look(log))
    assert table.snapshot().version == writer.version
    assert listings == []


def test_gap_is_told(table):
    fill(table, 5)
    (folder_of(table) / f"{3:020}.json").unlink()
    with pytest.raises(UserError, match=r"enriched: entries of the log that its newest version needs are missing"):
        table.snapshot()


@pytest.mark.parametrize(
    ("protocol", "named"),
    [
        ({"minReaderVersion": 2, "minWriterVersion": 5}, "protocol 2/5"),
        ({"minReaderVersion": 1, "minWriterVersion": 4}, "protocol 1/4"),
        (
            {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["v2Checkpoint"], "writerFeatures": ["x"]},
            "v2Checkpoint, x",
        ),
    ],
)
def test_unknown_features_are_refused(table, protocol, named):
    (folder_of(table) / f"{1:020}.json").write_text(json.dumps({"protocol": protocol}))
    with pytest.raises(UserError, match=rf"features that this job does not know \({named}\)"):
        Writer(table, "run")


def test_v2_checkpoint_is_refused(table):
    (folder_of(table) / f"{1:020}.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.json").write_text("{}")
    with pytest.raises(UserError, match="V2 checkpoints"):
        table.snapshot()


def test_append_only_and_partitioned_tables_are_refused(tmp_path):
    for number, options in enumerate([{"configuration": {"delta.appendOnly": "true"}}, {"partition_by": ["task"]}]):
        uri = str(tmp_path / str(number))
        DeltaTable.create(uri, SCHEMA, **options)
        with pytest.raises(UserError, match=r"appendOnly|partitioned by `task`"):
            Table.open(uri, SCHEMA)


def test_file_without_a_row_count_is_named(table):
    add = {"path": "x.parquet", "size": 1, "partitionValues": {}, "modificationTime": 0, "dataChange": True}
    (folder_of(table) / f"{1:020}.json").write_text(json.dumps({"add": add}))
    with pytest.raises(UserError, match=r"another program wrote: x\.parquet has no `numRecords`"):
        table.snapshot()


def write_entries(table, num_entries, files_per_entry):
    stats, tags = json.dumps({"numRecords": 1000}), {"sha256": "0" * 64}
    vector = VectorWriter().encode(BitMap64(range(0, 1000, 50)))
    for version in range(1, num_entries + 1):
        files = [
            DataFile(f"part-{version}-{number}.parquet", 10**6, 1000, 0, stats, tags, vector if number % 2 else None)
            for number in range(files_per_entry)
        ]
        lines = [json.dumps(file.to_add()) for file in files]
        (folder_of(table) / f"{version:020}.json").write_text("\n".join(lines))


@pytest.mark.parametrize("is_summed_up", [False, True])
def test_ten_thousand_files_are_replayed_quickly(table, is_summed_up):
    write_entries(table, num_entries=100, files_per_entry=100)
    if is_summed_up:
        table.checkpoint(100)
        assert pa.parquet.read_metadata(folder_of(table) / f"{100:020}.checkpoint.parquet").num_rows > 10_000
    start = time.perf_counter()
    snapshot = table.snapshot()
    seconds = time.perf_counter() - start
    assert (len(snapshot.files), snapshot.num_rows) == (10_000, 5000 * 1000 + 5000 * 980)
    assert seconds < 4, "a second on an idle machine"
    print(f"\n{seconds:.2f} s")
