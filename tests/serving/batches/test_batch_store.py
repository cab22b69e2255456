"""Files and batches on disk, whole or not there, and one keeper at a time."""

import stat

import pytest

from eshop_ray.errors import UserError
from eshop_ray.serving.batches import store as module
from eshop_ray.serving.batches.states import Batch, StoredFile
from eshop_ray.serving.batches.store import Store


def opened(folder):
    store = Store(folder / "store")
    store.open()
    return store


def add_file(store, content=b"x"):
    name = store.begin_upload()
    store.find_content(name).write_bytes(content)
    file = StoredFile(
        id=name, owner="a", filename="f", purpose="batch", num_bytes=len(content), created=1.0, expires=2.0
    )
    store.put_file(file)
    return file


def add_batch(store, **fields):
    usual = {"id": "batch_1", "owner": None, "endpoint": "/v1/completions", "model": "m", "input_file_id": "file-1"}
    batch = Batch(**{**usual, "completion_window": "1h", "created": 1.0, "expires": 2.0, **fields})
    store.put_batch(batch)
    return batch


def test_the_next_keeper_finds_what_the_last_one_wrote(tmp_path):
    first = opened(tmp_path)
    file, batch = add_file(first), add_batch(first).move("in_progress", 1.5)
    first.put_batch(batch)
    first.close()
    again = opened(tmp_path)
    assert (again.files, again.batches) == ({file.id: file}, {batch.id: batch})
    assert again.find_content(file.id).read_bytes() == b"x"


def test_one_keeper_at_a_time(tmp_path):
    first = opened(tmp_path)
    with pytest.raises(UserError, match="another endpoint keeps its batches there"):
        opened(tmp_path)
    first.close()
    opened(tmp_path)


def test_a_folder_that_cannot_be_written_names_the_setting(tmp_path):
    (tmp_path / "store").write_text("a file")
    with pytest.raises(UserError, match=r"serve\.batches\.dir"):
        opened(tmp_path)


def test_an_upload_that_nobody_ended_is_gone_after_a_restart(tmp_path):
    first = opened(tmp_path)
    folder = first.find_content(first.begin_upload()).parent
    first.close()
    again = opened(tmp_path)
    assert not again.files
    assert not folder.exists()


def test_a_death_while_a_record_is_written_leaves_the_one_before(tmp_path, monkeypatch):
    first = opened(tmp_path)
    batch = add_batch(first)

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module.os, "fsync", die)
    with pytest.raises(KeyboardInterrupt):
        first.put_batch(batch.move("in_progress", 1.5))
    monkeypatch.undo()
    first.close()
    assert opened(tmp_path).batches == {batch.id: batch}


def test_others_on_the_machine_can_read_nothing(tmp_path):
    store = opened(tmp_path)
    add_file(store)
    add_batch(store)
    paths = [path for path in (tmp_path / "store").rglob("*") if path.name != module.LOCK]
    assert len(paths) == 7
    assert not [path for path in paths if stat.S_IMODE(path.stat().st_mode) & 0o077]


def test_results_become_a_file_without_a_copy_and_a_second_time_the_same(tmp_path):
    store = opened(tmp_path)
    source = tmp_path / "store" / "results"
    source.write_bytes(b"abc")
    assert [store.adopt("file-1", source), store.adopt("file-1", source)] == [3, 3]
    assert store.find_content("file-1").samefile(source)


def test_a_file_system_without_second_names_gets_a_copy(tmp_path, monkeypatch):
    store = opened(tmp_path)
    source = tmp_path / "results"
    source.write_bytes(b"abc")

    def refuse(*_):
        raise OSError("not supported")

    monkeypatch.setattr(module.os, "link", refuse)
    assert store.adopt("file-1", source) == 3
    assert store.find_content("file-1").read_bytes() == b"abc"


def test_a_broken_record_costs_itself_only(tmp_path, caplog):
    first = opened(tmp_path)
    file, batch = add_file(first), add_batch(first)
    (first.find_workspace(batch.id) / module.RECORD).write_text('{"secret":')
    first.close()
    again = opened(tmp_path)
    assert list(again.files) == [file.id]
    assert not again.batches
    assert "passed over" in caplog.text
    assert "secret" not in caplog.text
