"""Who may commit, what a commit does, and what is tidied away."""

import os
from pathlib import Path

import pytest
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

from eshop_ray.enrichment.table import TableSupersededError, Writer
from eshop_ray.errors import UserError
from eshop_ray.storage import StorageError
from tests.enrichment.table.readers import ENGINES, make_rows, read_deltalake, read_own, replace_all, write_file


def write(table, writer, name, removed=()):
    file = write_file(table, **{name: 1})
    writer.commit([file], removed)
    return file


def has(table, file):
    return (Path(table.uri) / file.path).exists()


def test_newest_run_wins_and_the_other_is_told(table):
    first = Writer(table, "monday")
    write(table, first, "a")
    second = Writer(table, "tuesday")
    for act in (lambda: write(table, first, "b"), first.check_epoch):
        with pytest.raises(
            TableSupersededError, match=r"another run \(tuesday\) took over the table .*enriched at 20\d\d-"
        ):
            act()
    write(table, second, "c")
    assert read_own(table.uri) == [("a", 1), ("c", 1)]


def test_epoch_goes_up_with_every_run(table):
    for number in (1, 2, 3):
        Writer(table, "run")
        assert DeltaTable(table.uri).transaction_version("eshop_ray") == number


def interrupt(monkeypatch, act, times=1):
    """Do something between a look at the table and the entry that follows it."""
    commit = DeltaTable.create_write_transaction
    left = [times]

    def interrupted(self, *args, **kwargs):
        if left[0]:
            left[0] -= 1
            act()
        return commit(self, *args, **kwargs)

    monkeypatch.setattr(DeltaTable, "create_write_transaction", interrupted)


def test_of_runs_that_start_at_once_one_goes_on(table, monkeypatch):
    others = []
    interrupt(monkeypatch, lambda: others.append(Writer(table, "other")))
    writer = Writer(table, "run")
    assert DeltaTable(table.uri).transaction_version("eshop_ray") == 2
    write(table, writer, "a")
    with pytest.raises(TableSupersededError):
        write(table, others[0], "b")
    assert read_own(table.uri) == [("a", 1)]


def test_run_that_is_overtaken_in_the_act_commits_nothing(table, monkeypatch):
    writer = Writer(table, "run")
    file = write(table, writer, "a")
    interrupt(monkeypatch, lambda: Writer(table, "other"))
    with pytest.raises(TableSupersededError):
        write(table, writer, "b", [file])
    assert read_own(table.uri) == [("a", 1)]


def test_rows_that_others_append_stay(table):
    writer = Writer(table, "run")
    file = write(table, writer, "a")
    DeltaTable(table.uri).vacuum(dry_run=False)
    write_deltalake(table.uri, make_rows({"foreign": 2}), mode="append")
    write(table, writer, "b", [file])
    assert read_own(table.uri) == read_deltalake(table.uri) == [("b", 1), ("foreign", 2)]
    assert len(writer.files) == 2


@pytest.mark.parametrize("operation", ["DELETE", "OPTIMIZE"])
def test_changes_under_our_hands_stop_the_run(table, operation):
    writer = Writer(table, "run")
    files = [write(table, writer, "a"), write(table, writer, "b")]
    other = DeltaTable(table.uri)
    other.delete("product_id = 'a'") if operation == "DELETE" else other.optimize.compact()
    before = read_own(table.uri)
    with pytest.raises(UserError, match="was changed by another program while this run wrote; nothing is lost"):
        write(table, writer, "c", files)
    assert read_own(table.uri) == before
    write(table, Writer(table, "next"), "c")
    assert read_own(table.uri) == sorted([*before, ("c", 1)])


def lose_answer(monkeypatch, is_written, answer):
    """Let the log take the next entry, or not, and say something else."""
    commit = DeltaTable.create_write_transaction

    def unsure(self, *args, **kwargs):
        monkeypatch.setattr(DeltaTable, "create_write_transaction", commit)
        if is_written:
            commit(self, *args, **kwargs)
        raise answer

    monkeypatch.setattr(DeltaTable, "create_write_transaction", unsure)


@pytest.mark.parametrize("answer", [OSError("timed out"), CommitFailedError("there is such an entry")])
def test_entry_whose_answer_got_lost_is_committed_once(table, monkeypatch, answer):
    writer = Writer(table, "run")
    file = write(table, writer, "a")
    lose_answer(monkeypatch, is_written=True, answer=answer)
    write(table, writer, "b", [file])
    write(table, writer, "c")
    assert read_own(table.uri) == [("b", 1), ("c", 1)]
    assert table.snapshot().version == writer.version == 4


def test_refused_entry_changes_nothing(table, monkeypatch):
    writer = Writer(table, "run")
    file = write(table, writer, "a")
    rows = write_file(table, b=1, c=2)
    lose_answer(monkeypatch, is_written=False, answer=OSError("disk full"))
    with pytest.raises(StorageError, match="enriched cannot be written"):
        writer.commit([rows], [file])
    assert read_own(table.uri) == [("a", 1)]
    writer.commit([rows], [file])
    assert read_own(table.uri) == [("b", 1), ("c", 2)]


def test_checkpoints_are_written(table):
    writer = Writer(table, "run")
    for value in range(25):
        replace_all(table, writer, a=value)
    log = Path(table.uri) / "_delta_log"
    assert len(list(log.glob("*.checkpoint.parquet"))) == 2
    for path in log.glob("0000000000000000000?.json"):
        path.unlink()
    assert read_own(table.uri) == [("a", 24)]
    write(table, Writer(table, "next"), "b")
    assert DeltaTable(table.uri).transaction_version("eshop_ray") == 2


def test_what_no_version_needs_is_deleted(table):
    writer = Writer(table, "run")
    files = [replace_all(table, writer, a=value) for value in range(5)]
    staged = write_file(table, x=1)
    writer.tidy(retention_hours=0)
    assert [has(table, file) for file in [*files, staged]] == [False] * 4 + [True, False]
    assert {name: read(table.uri) for name, read in ENGINES.items()} == {name: [("a", 4)] for name in ENGINES}


def test_versions_within_the_retention_can_be_read(table):
    writer = Writer(table, "run")
    for value in range(5):
        replace_all(table, writer, a=value)
    writer.tidy(retention_hours=1)
    for version, value in ((2, 0), (4, 2), (6, 4)):
        assert DeltaTable(table.uri, version).to_pandas()["value"].to_list() == [value]


def test_what_others_keep_in_the_folder_is_never_touched(table, tmp_path):
    folder, outside = Path(table.uri), tmp_path / "outside"
    outside.mkdir()
    kept = [folder / "notes.txt", folder / "task=ner_tagging" / "mine.parquet", folder / "x.bin", outside / "y.parquet"]
    writer = Writer(table, "run")
    replace_all(table, writer, a=1)
    for path in kept:
        path.write_text("x")
        os.utime(path, (0, 0))
    (folder / "link").symlink_to(outside)
    replace_all(table, writer, a=2)
    writer.tidy(retention_hours=0)
    Writer(table, "next").tidy(retention_hours=0)
    assert all(path.exists() for path in kept)


def test_files_of_a_killed_run_go_and_committed_ones_stay(table):
    killed = Writer(table, "killed")
    committed, lost = write_file(table, "killed", a=1), write_file(table, "killed", b=1)
    killed.commit([committed], [])
    unnoted = write_file(table, "killed", c=1)
    killed._table.storage.write(f"_eshop_ray/staged/killed/{committed.path.replace('/', '~')}", b"")  # died before this
    half = Path(table.uri) / f"{lost.path}#1"
    half.write_text("x")
    Writer(table, "next")
    assert [has(table, file) for file in (committed, lost, unnoted)] == [True, False, False]
    assert not half.exists()
    assert list(table.storage.list("_eshop_ray")) == []
    assert read_own(table.uri) == [("a", 1)]


def test_run_that_lost_the_table_deletes_nothing(table):
    writer = Writer(table, "run")
    files = [replace_all(table, writer, a=value) for value in range(3)]
    Writer(table, "other")
    with pytest.raises(TableSupersededError):
        writer.tidy(retention_hours=0)
    assert all(has(table, file) for file in files)


def test_table_that_is_gone_is_trouble_of_the_storage(table):
    writer = Writer(table, "run")
    file = write_file(table, a=1)
    Path(table.uri).rename(f"{table.uri}-away")
    for act in (lambda: writer.commit([file], []), writer.check_epoch):
        with pytest.raises(StorageError, match="enriched cannot be read: No such file or directory; what"):
            act()
