import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap64

from eshop_ray.enrichment.table import DataFile, Writer, maintain
from eshop_ray.enrichment.table.compaction import TARGET_BYTES, TARGET_ROWS, plan_merges
from eshop_ray.enrichment.table.deletion import VectorWriter
from tests.enrichment.table.readers import ENGINES, make_rows, read_own, read_pandas


def make_file(name, num_rows, num_deleted=0, size=1000):
    vector = VectorWriter().encode(BitMap64(range(num_deleted))) if num_deleted else None
    return DataFile(f"{name}.parquet", size, num_rows, 0, "{}", {}, vector)


def merge(group, name):
    return make_file(name, sum(file.num_live for file in group), size=sum(file.size for file in group))


def resolve(files, rewritten, name=0):
    """Merge until nothing is left to merge, counting the rows rewritten."""
    while groups := plan_merges(files):
        gone = {file.path for group in groups for file in group}
        files = [file for file in files if file.path not in gone]
        for group in groups:
            name += 1
            files.append(merge(group, f"merged{len(rewritten)}-{name}"))
            rewritten.append(sum(file.num_live for file in group))
    return files


def test_eight_of_a_kind_are_merged():
    files = [make_file(f"s{number}", 100) for number in range(7)]
    assert plan_merges(files) == []
    assert plan_merges([*files, make_file("other", 3000)]) == []
    assert plan_merges([*files, make_file("s7", 500)]) == [(*files, make_file("s7", 500))]


def test_full_files_are_left_alone():
    assert plan_merges([make_file(f"f{number}", TARGET_ROWS) for number in range(20)]) == []
    assert plan_merges([make_file(f"f{number}", 10, size=TARGET_BYTES) for number in range(20)]) == []


def test_groups_end_at_the_target():
    files = [make_file(f"f{number}", TARGET_ROWS // 3) for number in range(10)]
    groups = plan_merges(files)
    assert [len(group) for group in groups] == [4, 4]
    assert len(resolve(files, [])) == 4


def test_sparse_files_are_rewritten_once():
    sparse, dense, empty = make_file("s", 200_000, 60_000), make_file("d", 200_000, 40_000), make_file("e", 9, 9)
    assert plan_merges([sparse, dense, empty]) == [(sparse,)]
    small = [make_file(f"m{number}", 200, 100) for number in range(8)]
    assert plan_merges([*small, sparse]) == [tuple(small), (sparse,)]


@given(st.lists(st.tuples(st.integers(0, 150_000), st.integers(0, 100), st.integers(1, TARGET_BYTES)), max_size=60))
@settings(deadline=None)
def test_merging_ends_and_keeps_the_rows(shapes):
    files = [make_file(n, rows, rows * share // 100, size) for n, (rows, share, size) in enumerate(shapes)]
    rest = resolve(files, [])
    assert sum(file.num_live for file in rest) == sum(file.num_live for file in files)
    assert len(rest) <= len(files)


@pytest.mark.parametrize(("rows_per_file", "files_per_night"), [(512, 40), (100, 1), (3000, 12), (20, 5)])
def test_a_row_is_rewritten_a_few_times_only(rows_per_file, files_per_night):
    rng, files, rewritten, num_rows = random.Random(0), [], [], 0
    for night in range(365):
        for number in range(files_per_night):
            files.append(make_file(f"n{night}-{number}", rng.randint(1, 2 * rows_per_file)))
            num_rows += files[-1].num_rows
        files = resolve(files, rewritten)
    assert sum(rewritten) / num_rows < 6
    assert len(files) < 40 + num_rows / TARGET_ROWS


@pytest.mark.parametrize("rewrite_bytes", [0, 1 << 40])
def test_maintenance_merges_files_and_keeps_rows(table, rewrite_bytes):
    writer = Writer(table, "run", rewrite_bytes)
    for value in range(30):
        file = table.write_file(make_rows({f"p{value}-{number}": value for number in range(20)}))
        writer.commit([file], {})
        writer.commit([], {file.path: range(value % 20)})
    expected, before = read_own(table.uri), len(writer.files)
    sizes = Counter()

    def compact_all(groups):
        for group in groups:
            sizes[len(group)] += 1
            yield table.merge(group)

    maintenance = maintain(table, writer, compact_all, retention_hours=1)
    assert before == 30
    assert maintenance.num_compacted_files == 30
    assert len(table.snapshot().files) == len(writer.files) == 1
    assert [read(table.uri) for read in ENGINES.values()] == [expected] * len(ENGINES)
    if rewrite_bytes:
        assert read_pandas(table.uri) == expected
    assert maintain(table, writer, compact_all, retention_hours=1).num_compacted_files == 0


def test_merged_file_can_lose_rows_and_its_parts_cannot(table):
    writer = Writer(table, "run")
    files = [table.write_file(make_rows({f"p{number}": number})) for number in range(8)]
    writer.commit(files, {})
    maintain(table, writer, lambda groups: map(table.merge, groups), retention_hours=1)
    (merged,) = writer.files
    position = table.read_file(merged, ["product_id"])["product_id"].to_pylist().index("p3")
    writer.commit([], {merged.path: [position]})
    assert "p3" not in dict(read_own(table.uri))
    with pytest.raises(KeyError):
        writer.commit([], {files[0].path: [0]})


def test_merges_are_no_change_of_data(table):
    writer = Writer(table, "run")
    writer.commit([table.write_file(make_rows({f"p{number}": number})) for number in range(8)], {})
    maintain(table, writer, lambda groups: map(table.merge, groups), retention_hours=1)
    entry = table.storage.read(f"_delta_log/{writer.version:020}.json").decode()
    assert '"dataChange":false' in entry
    assert '"dataChange":true' not in entry


def test_live_rows_decide_the_tier():
    files = [replace(make_file(f"f{number}", 90_000, 89_990), size=10) for number in range(8)]
    assert plan_merges(files) == [tuple(files)]
