import os
import time
from pathlib import Path

import pytest
from deltalake import DeltaTable

from eshop_ray.enrichment.table import TableSupersededError, Writer, maintain
from tests.enrichment.table.readers import ENGINES, make_rows, read_own, read_pandas, to_rows

HOUR = 3600


def age(table, hours, except_entries=()):
    """Make every file of the table this much older."""
    for path in Path(table.uri).rglob("*"):
        if path.is_file() and path.name not in except_entries:
            modified = path.stat().st_mtime - hours * HOUR
            os.utime(path, (modified, modified))


def maintenance(table, writer, retention_hours):
    return maintain(table, writer, lambda groups: map(table.merge, groups), retention_hours)


def overwrite(table, writer, value):
    """Write one row in the place of all that the table has."""
    old = {file.path: range(file.num_rows) for file in writer.files}
    file = table.write_file(make_rows({"a": value}))
    writer.commit([file], old)
    return file


def has(table, file):
    return (Path(table.uri) / file.path).exists()


def test_no_retention_keeps_the_current_version_only(table):
    writer = Writer(table, "run")
    orphan = table.write_file(make_rows({"x": 0}))
    files = [overwrite(table, writer, value) for value in range(25)]
    time.sleep(0.01)
    overwrite(table, writer, 25)
    assert maintenance(table, writer, 0).num_deleted_files > 25
    assert not any(has(table, file) for file in [orphan, *files])
    assert [read(table.uri) for read in ENGINES.values()] == [[("a", 25)]] * len(ENGINES)
    assert read_pandas(table.uri) == [("a", 25)]
    assert min(path.name for path in (Path(table.uri) / "_delta_log").iterdir())[:20] == f"{20:020}"
    overwrite(table, Writer(table, "next"), 26)
    assert read_own(table.uri) == [("a", 26)]


def test_versions_within_the_retention_can_be_read(table):
    writer = Writer(table, "run")
    for value in range(12):
        overwrite(table, writer, value)
        age(table, 1)
    overwrite(table, writer, 12)
    newest = writer.version
    (older,) = table.snapshot(newest - 5).files
    maintenance(table, writer, retention_hours=3.5)
    for age_in_versions in range(5):  # 0 to 3 hours old, and what was the newest at the cutoff
        version, value = newest - age_in_versions, 12 - age_in_versions
        files = table.snapshot(version).files
        assert [row for file in files for row in to_rows(table.read_file(file))] == [("a", value)]
        assert DeltaTable(table.uri, version).to_pandas()["value"].to_list() == [value]
    assert not has(table, older)
    assert len(list(Path(table.uri).glob("*.parquet"))) == 5


def test_removed_files_outlive_a_week_where_the_retention_is_longer(table):
    """Checkpoints drop tombstones after a week: the log's entries have to tell."""
    writer = Writer(table, "run")
    overwrite(table, writer, 0)
    age(table, 24 * 30)
    for value in range(1, 12):
        overwrite(table, writer, value)
    age(table, 24 * 10)
    writer = Writer(table, "next")
    for value in range(12, 24):
        overwrite(table, writer, value)
    maintenance(table, writer, retention_hours=24 * 20)
    for version, value in ((2, 0), (3, 1), (13, 11), (15, 12)):
        files = table.snapshot(version).files
        assert [row for file in files for row in to_rows(table.read_file(file))] == [("a", value)]


def test_young_orphans_stay(table):
    """They may be what a run that starts now has written."""
    writer = Writer(table, "run")
    orphan, young = table.write_file(make_rows({"x": 0})), None
    age(table, 5)
    overwrite(table, writer, 1)
    young = table.write_file(make_rows({"y": 0}))
    maintenance(table, writer, 0)
    assert has(table, young)
    assert not has(table, orphan)
    age(table, 5)
    overwrite(table, writer, 2)
    maintenance(table, writer, retention_hours=6)
    assert has(table, young)
    maintenance(table, writer, retention_hours=4)
    assert not has(table, young)


def test_only_data_files_are_deleted(table):
    writer = Writer(table, "run")
    folder = Path(table.uri)
    kept = [folder / "notes.txt", folder / "_hidden" / "x.parquet", folder / ".hidden.parquet"]
    half_written = [folder / "part-1.parquet#1", folder / "_delta_log" / f"{9:020}.json#2"]
    for path in kept + half_written:
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    age(table, 5)
    overwrite(table, writer, 1)
    maintenance(table, writer, 0)
    assert [path.exists() for path in kept] == [True] * 3
    assert [path.exists() for path in half_written] == [False] * 2


def test_run_that_lost_the_table_deletes_nothing(table):
    writer = Writer(table, "run")
    for value in range(3):
        overwrite(table, writer, value)
    age(table, 5)
    overwrite(table, writer, 3)
    Writer(table, "other")
    before = sorted(path.name for path in Path(table.uri).glob("*.parquet"))
    with pytest.raises(TableSupersededError):
        maintenance(table, writer, 0)
    assert sorted(path.name for path in Path(table.uri).glob("*.parquet")) == before


def test_longer_retention_after_a_shorter_one(table):
    writer = Writer(table, "run")
    for value in range(15):
        overwrite(table, writer, value)
    age(table, 5)
    overwrite(table, writer, 15)
    maintenance(table, writer, 0)
    writer = Writer(table, "next")
    overwrite(table, writer, 16)
    maintenance(table, writer, 1e12)
    assert read_own(table.uri) == [("a", 16)]
