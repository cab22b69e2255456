import pytest
from deltalake import DeltaTable, write_deltalake

from eshop_ray.enrichment.table import StorageError, TableSupersededError, Writer
from eshop_ray.enrichment.table.storage import Storage
from eshop_ray.errors import UserError
from tests.enrichment.table.readers import make_rows, read_deltalake, read_own


def write(table, writer, name, deleted=None):
    file = table.write_file(make_rows({name: 1}))
    writer.commit([file], deleted or {})
    return file


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


def test_fence_goes_up_with_every_run(table):
    assert [Writer(table, "run").snapshot.transactions["eshop_ray"] for _ in range(3)] == [1, 2, 3]
    assert DeltaTable(table.uri).transaction_version("eshop_ray") == 3


def test_runs_that_start_at_once_get_different_fences(table, monkeypatch):
    """The second begins an epoch between the first one's look at the table and its entry."""
    create, others = Storage.create, []

    def interrupted(self, path, data):
        if not others:
            others.append(None)
            others[0] = Writer(table, "other")
        return create(self, path, data)

    monkeypatch.setattr(Storage, "create", interrupted)
    writer = Writer(table, "run")
    assert writer.snapshot.transactions["eshop_ray"] == 2
    write(table, writer, "a")
    with pytest.raises(TableSupersededError):
        write(table, others[0], "b")


def test_entries_that_leave_our_rows_alone_are_passed(table):
    writer = Writer(table, "run")
    file = write(table, writer, "a")
    DeltaTable(table.uri).vacuum(dry_run=False)
    write_deltalake(table.uri, make_rows({"foreign": 2}), mode="append")
    version = writer.version
    write(table, writer, "b", {file.path: [0]})
    assert writer.version > version + 1
    assert read_own(table.uri) == read_deltalake(table.uri) == [("b", 1), ("foreign", 2)]
    assert len(writer.files) == 2


@pytest.mark.parametrize("operation", ["DELETE", "OPTIMIZE", "SET TBLPROPERTIES"])
def test_changes_under_our_hands_stop_the_run(table, operation):
    writer = Writer(table, "run")
    write(table, writer, "a")
    write(table, writer, "b")
    other = DeltaTable(table.uri)
    if operation == "DELETE":
        other.delete("product_id = 'a'")
    elif operation == "OPTIMIZE":
        other.optimize.compact()
    else:
        other.alter.set_table_properties({"delta.logRetentionDuration": "interval 1 days"})
    before = read_own(table.uri)
    with pytest.raises(UserError, match=f"was changed by {operation} while this run wrote; nothing is lost"):
        write(table, writer, "c")
    assert read_own(table.uri) == before
    write(table, Writer(table, "next"), "c")
    assert read_own(table.uri) == sorted([*before, ("c", 1)])


def lose_answers(monkeypatch, is_written, answer):
    """Let the storage take the next log entry, or not, and say something else."""
    create = Storage.create

    def unsure(self, path, data):
        monkeypatch.setattr(Storage, "create", create)
        if is_written:
            assert create(self, path, data)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(Storage, "create", unsure)


@pytest.mark.parametrize("answer", [StorageError("timed out"), False])
def test_entry_whose_answer_got_lost_is_committed_once(table, monkeypatch, answer):
    writer = Writer(table, "run")
    file = write(table, writer, "a")
    lose_answers(monkeypatch, is_written=True, answer=answer)
    write(table, writer, "b", {file.path: [0]})
    write(table, writer, "c")
    assert read_own(table.uri) == [("b", 1), ("c", 1)]
    assert table.snapshot().version == writer.version


def test_start_whose_answer_got_lost_holds(table, monkeypatch):
    lose_answers(monkeypatch, is_written=True, answer=StorageError("timed out"))
    writer = Writer(table, "run")
    write(table, writer, "a")
    assert table.snapshot().version == writer.version == 2


def test_refused_entry_changes_nothing(table, monkeypatch):
    writer = Writer(table, "run", rewrite_bytes=0)
    file = write(table, writer, "a")
    rows = table.write_file(make_rows({"b": 1, "c": 2}))
    lose_answers(monkeypatch, is_written=False, answer=StorageError("disk full"))
    with pytest.raises(StorageError, match="disk full"):
        writer.commit([rows], {file.path: [0]})
    assert read_own(table.uri) == [("a", 1)]
    writer.commit([rows], {file.path: [0]})
    writer.commit([], {rows.path: [1]})
    assert read_own(table.uri) == [("b", 1)]
