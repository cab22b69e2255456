import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from deltalake import DeltaTable

from eshop_ray.enrichment.table import Table, Writer, deletion, maintain
from tests.enrichment.table.readers import (
    ENGINES,
    SCHEMA,
    make_rows,
    read_duckdb,
    read_own,
    read_pandas,
    read_polars,
    to_rows,
)
from tests.waiting import PATIENCE_S

REWRITE, VECTORS = 1 << 40, 0
MIXED = 6000
"""Between the size of the smallest and of the biggest files below."""


class Night:
    """A run that keeps a table equal to a dictionary, at random."""

    def __init__(self, table, seed, rewrite_bytes):
        self.table, self.random, self.rewrite_bytes = table, random.Random(seed), rewrite_bytes
        self.values, self.history = {}, {}
        self.begin()

    def begin(self):
        """Start a run: rows are known by their places in its snapshot."""
        self.writer = Writer(self.table, f"run{self.random.random()}", self.rewrite_bytes)
        self.places = {}
        for file in self.writer.snapshot.files:
            rows = self.table.read_file(file, ["product_id"])
            for name, position in zip(*rows.to_pydict().values(), strict=True):
                self.places[name] = file.path, position

    def commit(self, num_rows):
        """Write new and superseding rows in some files, remove some others, all at once."""
        names = self.random.sample(range(600), num_rows)
        fresh = {f"p{name}": self.random.randrange(10**6) for name in names}
        gone = [name for name in self.places if name in fresh or self.random.random() < 0.02]
        deleted = {}
        for name in gone:
            path, position = self.places.pop(name)
            deleted.setdefault(path, []).append(position)
            del self.values[name]
        added, items = [], list(fresh.items())
        while items:
            part, items = dict(items[:100]), items[100:]
            added.append(self.table.write_file(make_rows(part)))
            self.places |= {name: (added[-1].path, position) for position, name in enumerate(part)}
        self.values |= fresh
        self.history[self.writer.commit(added, deleted)] = sorted(self.values.items())

    def maintain(self):
        maintain(self.table, self.writer, lambda groups: map(self.table.merge, groups), retention_hours=1)
        self.begin()


@pytest.mark.parametrize("rewrite_bytes", [REWRITE, VECTORS, MIXED])
@pytest.mark.parametrize("seed", range(2))
def test_random_nights_read_alike_in_every_engine(table, monkeypatch, seed, rewrite_bytes):
    monkeypatch.setattr(deletion, "INLINE_BYTES", 60)  # both kinds of vectors
    night = Night(table, seed, rewrite_bytes)
    for step in range(24):
        night.commit(night.random.choice([0, 1, 5, 100, 300]))
        if step % 8 == 3:
            night.begin()
        if step % 8 == 7:
            night.maintain()
        assert read_own(table.uri) == sorted(night.values.items())
    expected = sorted(night.values.items())
    assert {name: read(table.uri) == expected for name, read in ENGINES.items()} == dict.fromkeys(ENGINES, True)
    for version, rows in night.history.items():
        files = table.snapshot(version).files
        assert sorted(row for file in files for row in to_rows(table.read_file(file))) == rows
    assert table.snapshot().protocol.has_deletion_vectors == (rewrite_bytes != REWRITE)
    if rewrite_bytes == REWRITE:
        assert read_pandas(table.uri) == expected


def test_rows_removed_twice_are_removed_once(table):
    writer = Writer(table, "run")
    file = table.write_file(make_rows({"a": 1, "b": 2, "c": 3}))
    writer.commit([file], {})
    writer.commit([], {file.path: [1]})
    version = writer.version
    assert writer.commit([], {file.path: [1]}) == writer.commit([], {}) == version
    writer.commit([], {file.path: [0, 1, 2]})
    assert (read_own(table.uri), writer.files) == ([], ())
    assert writer.commit([], {file.path: range(3)}) == writer.version
    with pytest.raises(ValueError, match="no row 3"):
        writer.commit([], {file.path: [3]})


def test_small_files_are_rewritten_and_big_ones_marked(table):
    writer = Writer(table, "run", rewrite_bytes=20_000)
    big = table.write_file(make_rows({f"p{number}": number for number in range(5000)}))
    small = table.write_file(make_rows({"a": 1, "b": 2}))
    writer.commit([big, small], {})
    writer.commit([], {small.path: [0]})
    assert not any(file.num_deleted for file in writer.files)
    assert not table.snapshot().protocol.has_deletion_vectors
    writer.commit([], {big.path: [0]})
    assert {(file.path == big.path, file.num_deleted) for file in writer.files} == {(True, 1), (False, 0)}
    assert table.snapshot().protocol.has_deletion_vectors


def test_versions_tell_the_run_that_made_them(table):
    Writer(table, "run-7").commit([table.write_file(make_rows({"a": 1}))], {})
    newest, start, _ = DeltaTable(table.uri).history()
    assert (newest["operation"], newest["runId"]) == ("ENRICH", "run-7")
    assert (start["operation"], start["runId"]) == ("ENRICH START", "run-7")


READERS = (read_polars, read_duckdb, read_own)
NUM_READS = 10


@pytest.mark.parametrize("rewrite_bytes", [REWRITE, VECTORS])
def test_readers_in_the_middle_of_a_run_see_every_key_once(table, rewrite_bytes):
    names = [f"p{number}" for number in range(300)]
    writer = Writer(table, "run", rewrite_bytes)
    file = table.write_file(make_rows(dict.fromkeys(names, 0)))
    writer.commit([file], {})
    places = {name: (file.path, position) for position, name in enumerate(names)}
    is_over, seen = threading.Event(), Counter()

    def watch(read):
        while not is_over.is_set():
            rows = read(table.uri)
            assert [name for name, _ in rows] == sorted(names)
            seen[read.__name__] += 1

    with ThreadPoolExecutor() as threads:
        watchers = [threads.submit(watch, read) for read in READERS]
        deadline, value = time.monotonic() + PATIENCE_S, 0
        while value <= NUM_READS or min(seen[read.__name__] for read in READERS) < NUM_READS:
            if any(each.done() for each in watchers):
                break
            assert time.monotonic() < deadline, f"waited in vain for {NUM_READS} reads of each reader: {seen}"
            value += 1
            changed = random.Random(value).sample(names, 40)
            file, deleted = table.write_file(make_rows(dict.fromkeys(changed, value))), {}
            for position, name in enumerate(changed):
                deleted.setdefault(places[name][0], []).append(places[name][1])
                places[name] = file.path, position
            writer.commit([file], deleted)
        is_over.set()
        for watcher in watchers:
            watcher.result()


KILLED = """
import sys
from eshop_ray.enrichment.table import Table, Writer
from tests.enrichment.table.readers import SCHEMA, make_rows
table = Table.open(sys.argv[1], SCHEMA)
writer = Writer(table, "killed", rewrite_bytes=int(sys.argv[2]))
previous = None
for value in range(10**6):
    file = table.write_file(make_rows({f"p{number}": value for number in range(50)}))
    old = [file.path for file in writer.snapshot.files] if previous is None else [previous]
    writer.commit([file], {path: range(50) for path in old})
    if previous is None:
        print("ready", flush=True)
    previous = file.path
"""


@pytest.mark.parametrize("seed", range(2))
def test_kill_leaves_a_whole_version(tmp_path, seed):
    uri = str(tmp_path / "enriched")
    for attempt in range(2):
        command = [sys.executable, "-c", KILLED, uri, str(seed % 2 * REWRITE)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        time.sleep(random.Random(seed * 2 + attempt).uniform(0.1, 0.6))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        rows = read_own(uri)
        assert [name for name, _ in rows] == sorted(f"p{number}" for number in range(50))
        assert len({value for _, value in rows}) == 1
        assert read_duckdb(uri) == rows
    table = Table.open(uri, SCHEMA)
    maintain(table, Writer(table, "next"), lambda groups: map(table.merge, groups), retention_hours=0)
    assert read_polars(uri) == rows
