"""Artifacts of a run in an object store, seen from several machines: each has a cache of its own."""

import hashlib
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eshop_ray import artifacts
from eshop_ray.artifacts import transfer
from eshop_ray.cli.run_lock import hold_run
from eshop_ray.config import Config, ModelSection
from eshop_ray.errors import UserError
from eshop_ray.models import fetch_model
from eshop_ray.models.template_text import read_options
from eshop_ray.models.templates import name_source, read_templates
from eshop_ray.places import local_path, place_of, uri_of
from eshop_ray.storage import Storage, lease
from eshop_ray.training.merging.recipe import check_intact

RUN = "s3://shop/runs/night"


@pytest.fixture(autouse=True)
def go_to(tmp_path, monkeypatch, request):
    """Go on at another machine."""

    def go(name):
        monkeypatch.setenv("ESHOP_RAY_CACHE", str(tmp_path / name))

    go("first")
    if "places" not in request.node.name:
        request.getfixturevalue("s3")
    return go


@pytest.fixture
def stored():
    return Storage(RUN)


def adapter():
    return local_path(RUN) / "adapter"


def make(text, inputs="inputs", names=("weights.safetensors", "deep/config.json")):
    with artifacts.stage_dir(adapter()) as folder:
        for name in names:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        artifacts.write_manifest(folder, "adapter", inputs, {})


def write_wrongly(folder):
    (folder / "weights.safetensors").write_text("new")
    (folder / "weights.safetensors" / "no").write_text("folder")


def list_names(storage):
    return sorted(file.path for file in storage.list())


def test_places_and_their_copies(tmp_path):
    copy = local_path("s3://shop/runs/night")
    assert copy.is_relative_to(tmp_path / "first")
    assert (uri_of(copy / "adapter"), place_of(copy)) == ("s3://shop/runs/night/adapter", "s3://shop/runs/night")
    assert uri_of(copy / ".adapter.partial") is None
    assert (uri_of(tmp_path), place_of(tmp_path), local_path(str(tmp_path))) == (None, str(tmp_path), tmp_path)
    config = Config(name="night", run_root="s3://shop/runs/", data={"records_dir": "s3://shop/records"})
    assert (config.run_dir, place_of(config.records_dir)) == (copy, "s3://shop/records")
    assert config.table_uri == "s3://shop/runs/night/enriched"


@pytest.mark.parametrize(
    "place",
    [
        "s3://",
        "s3://shop?endpoint_override=x",
        "s3://shop/../x",
        "ftp://shop/x",
        "s3://shop/.x",
        "s3://a/b#1",
        "s3://a/%",
    ],
)
def test_places_that_cannot_be(place):
    with pytest.raises(UserError, match=r"is written as|no storage is known|cannot have a `#`"):
        local_path(place)


@pytest.mark.parametrize("name", [".night", "night#1", "a/../night"])
def test_runs_in_places_that_cannot_be(name):
    with pytest.raises(UserError, match=r"is written as|cannot have a `#`"):
        _ = Config(name=name, run_root="s3://shop/runs").run_dir


def test_copies_are_for_their_owner_only(tmp_path):
    make("text")
    assert (tmp_path / "first" / "mirror").stat().st_mode & 0o777 == 0o700


def test_a_cache_that_cannot_be_written_is_named_in_its_places(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ESHOP_RAY_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"file: Not a directory; set `ESHOP_RAY_CACHE`"):
        make("text")


def test_what_one_machine_makes_another_has(go_to, stored):
    make("old")
    make("text")
    assert list_names(stored) == [
        f"adapter/{name}" for name in ("deep/config.json", "manifest.json", "weights.safetensors")
    ]
    go_to("second")
    assert artifacts.is_current(adapter(), "inputs")
    assert not adapter().exists(), "nobody asked for the files"
    artifacts.read_complete(adapter(), job="train_lora")
    assert (adapter() / "deep/config.json").read_text() == "text"
    make("new", names=("weights.safetensors",))
    go_to("first")
    artifacts.read_complete(adapter(), job="train_lora")
    assert {path.name for path in adapter().iterdir()} == {"weights.safetensors", "manifest.json"}
    assert (adapter() / "weights.safetensors").read_text() == "new"
    assert list(artifacts.find_folders(local_path(RUN))) == [adapter()]


def test_failure_leaves_what_was_there(stored):
    make("old")
    with pytest.raises(NotADirectoryError), artifacts.stage_dir(adapter()) as folder:
        write_wrongly(folder)
    assert stored.read("adapter/weights.safetensors") == b"old"
    assert artifacts.is_current(adapter(), "inputs")


def test_loss_and_damage_in_the_store_are_named(go_to, stored):
    make("text")
    go_to("second")
    manifest = artifacts.read_manifest(adapter(), job="train_lora")
    assert artifacts.find_changes(adapter(), manifest) == []
    stored.write("adapter/weights.safetensors", b"texT")
    (change,) = artifacts.find_changes(adapter(), manifest)
    assert change == "s3://shop/runs/night/adapter/weights.safetensors: changed since the manifest was written"
    with pytest.raises(UserError, match=r"weights\.safetensors is not as its manifest\.json names it"):
        artifacts.read_complete(adapter(), job="train_lora")
    assert not adapter().exists()
    stored.delete("adapter/weights.safetensors")
    with pytest.raises(
        UserError, match=r"s3://shop/runs/night/adapter/weights\.safetensors is missing; run `eshop train"
    ):
        artifacts.read_complete(adapter(), job="train_lora")
    assert not artifacts.is_current(adapter(), "inputs")


def test_small_files_are_read_where_they_stand(go_to):
    artifacts.write_checksummed(local_path(RUN) / "enrichment" / "run.json", {"a": 1})
    go_to("second")
    path = local_path(RUN) / "enrichment" / "run.json"
    assert artifacts.is_intact(path)
    assert artifacts.read_checksummed(path) == {"a": 1}
    assert artifacts.list_paths(path.parent, "*.json") == [path]
    assert artifacts.list_folders(local_path(RUN)) == [path.parent]
    artifacts.remove(path)
    assert not artifacts.is_intact(path)
    with pytest.raises(FileNotFoundError):
        artifacts.read_text(path)


def read_shared(folder):
    return {path.name for path in Path(folder).rglob("*") if path.is_file()} - {"manifest.json"}


def test_a_node_fetches_a_folder_once(go_to, stored):
    make("text")
    shared = artifacts.share_stored(adapter())
    go_to("node")
    folders = []
    threads = [threading.Thread(target=lambda: folders.append(shared.__fspath__())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(folders)) == 1
    stored.delete_all("adapter")
    assert read_shared(shared) == {"weights.safetensors", "config.json"}
    go_to("another node")
    with pytest.raises(UserError, match="has changed since the job began"):
        read_shared(shared)


def test_who_needs_a_tokenizer_fetches_no_weights(go_to):
    make("text")
    shared = artifacts.share_stored(adapter())
    go_to("node")
    assert read_shared(shared.without_weights()) == {"config.json"}
    assert read_shared(shared) == {"weights.safetensors", "config.json"}


def test_a_folder_of_the_driver_is_put_beside_the_runs_once(tmp_path, go_to):
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text("{}")
    assert artifacts.share_folder(base, tmp_path / "runs" / "night") == base
    shared = artifacts.share_folder(base, local_path(RUN))
    assert {path.name for path in base.iterdir()} == {"config.json"}, "the folder is somebody's own"
    assert artifacts.share_folder(base, local_path(RUN)) == shared
    go_to("node")
    assert read_shared(shared) == {"config.json"}


def test_a_model_without_a_manifest_is_fetched_from_a_store(go_to):
    Storage("s3://shop/models/own").write("config.json", b"{}")
    folder = local_path("s3://shop/models/own")
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    shared = artifacts.share_folder(folder, local_path(RUN))
    go_to("node")
    assert read_shared(shared) == {"config.json"}
    Storage("s3://shop/models/own").write("config.json", b"[]")
    go_to("another node")
    with pytest.raises(UserError, match="has changed since the job began"):
        read_shared(shared)


def test_options_of_a_model_in_a_store_are_read_on_every_node(tmp_path, go_to):
    for name, text in {"config.json": "{}", "model.safetensors": "w", "chat_template.jinja": "{{ x }}"}.items():
        Storage("s3://shop/models/own").write(name, text.encode())
    settings = {"source": "s3://shop/models/own", "cache_dir": str(tmp_path / "cache"), "template_options": {"x": "y"}}
    folder = fetch_model(ModelSection(**settings), for_chat=False)
    assert (name_source(folder), read_options(read_templates(folder)["default"])) == (settings["source"], {"x": "y"})
    shared = artifacts.share_folder(folder, local_path(RUN))
    go_to("node")
    assert read_shared(shared) == {"config.json", "model.safetensors", "chat_template.jinja"}
    assert read_templates(Path(shared)) == read_templates(folder)


def test_one_job_at_a_time_in_a_run_in_a_store(go_to, monkeypatch, stored):
    run_dir = local_path(RUN)
    with hold_run(run_dir, "train-lora"):
        go_to("second")
        held = pytest.raises(UserError, match=r"`eshop train-lora` \(process \d+\), last heard of \d s ago is at work")
        with held, hold_run(local_path(RUN), "merge-lora"):
            pass
        monkeypatch.setattr(lease, "LAPSE_SECONDS", -1.0)  # the first was killed long ago
        with hold_run(local_path(RUN), "merge-lora"):
            assert b"merge-lora" in stored.read(".lock")
        go_to("first")
    assert list_names(stored) == []


def test_who_lost_its_run_to_another_is_ended(monkeypatch, stored):
    ended = threading.Event()
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(lease.os, "kill", lambda *_: ended.set())
    with lease.hold(stored, "lock", "first"):
        assert not ended.wait(0.5), "a claim is renewed"
        stored.write("lock", b"second")
        assert ended.wait(5)
    assert stored.read("lock") == b"second"


def test_a_claim_whose_answer_was_lost_is_held(monkeypatch, stored):
    create, replace = Storage.create, Storage.replace
    monkeypatch.setattr(Storage, "create", lambda *given: create(*given) and False)
    monkeypatch.setattr(Storage, "replace", lambda *given: replace(*given) and False)
    ended = threading.Event()
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(lease.os, "kill", lambda *_: ended.set())
    with lease.hold(stored, "lock", "first"):
        assert not ended.wait(0.5)


def test_a_store_that_is_gone_in_the_end_hides_no_error(monkeypatch, stored, caplog):
    def refuse(*_):
        raise stored.trouble("read", OSError("gone"))

    with pytest.raises(ZeroDivisionError), lease.hold(stored, "lock", "first"):  # noqa: PT012
        monkeypatch.setattr(Storage, "read", refuse)
        raise ZeroDivisionError
    assert "s3://shop/runs/night/lock is held for 90 s more" in caplog.text


def test_a_claim_that_cannot_be_renewed_ends_its_holder(monkeypatch, stored):
    def fail(*_):
        raise TypeError("no such thing")

    ended = threading.Event()
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(lease, "LAPSE_SECONDS", 0.2)
    monkeypatch.setattr(lease.os, "kill", lambda *_: ended.set())
    with lease.hold(stored, "lock", "first"):
        monkeypatch.setattr(Storage, "replace", fail)
        assert ended.wait(5)


def test_an_artifact_replaced_while_it_is_fetched_is_not_taken_for_the_later_one(go_to, monkeypatch):
    make("old")
    go_to("second")
    manifest = artifacts.read_manifest(adapter(), job="train_lora")
    download = Storage.download

    def replace_meanwhile(storage, path, file):
        download(storage, path, file)
        if path == "weights.safetensors":
            go_to("first")
            make("new")
            go_to("second")

    with monkeypatch.context() as patch:
        patch.setattr(transfer, "NUM_THREADS", 1)
        patch.setattr(Storage, "download", replace_meanwhile)
        artifacts.fetch(adapter(), manifest)
    artifacts.read_complete(adapter(), job="train_lora")
    assert (adapter() / "weights.safetensors").read_text() == "new"


def test_an_old_manifest_names_no_files(go_to, stored):
    stored.write("adapter/deep/config.json", b"text")
    digest = artifacts.digest_files({"deep/config.json": hashlib.sha256(b"text").hexdigest()})
    stored.write(
        "adapter/manifest.json", json.dumps({"kind": "adapter", "digest": digest, "parents": {}, "inputs": ""}).encode()
    )
    artifacts.read_complete(adapter(), job="train_lora")
    assert (adapter() / "deep/config.json").read_text() == "text"
    shared = artifacts.share_stored(adapter())
    assert read_shared(shared) == {"config.json"}
    (adapter() / "deep/config.json").unlink()
    artifacts.read_complete(adapter(), job="train_lora")
    assert (adapter() / "deep/config.json").read_text() == "text"
    stored.write("adapter/deep/config.json", b"other")
    go_to("another node")
    with pytest.raises(UserError, match=r"is not as its manifest\.json names it"):
        artifacts.read_complete(adapter(), job="train_lora")
    with pytest.raises(UserError, match="has changed since the job began"):
        read_shared(shared)


def test_two_processes_fetch_one_artifact(go_to):
    make("text", names=[f"{number}" for number in range(20)])
    go_to("second")
    manifest = artifacts.read_manifest(adapter(), job="train_lora")
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda _: artifacts.fetch(adapter(), manifest), range(4)))
    assert len(list(adapter().iterdir())) == 21


@pytest.mark.parametrize("lost", ["manifest.json", "weights.safetensors", "*"])
def test_a_copy_that_was_half_deleted_is_fetched_again(lost, go_to):
    make("text")
    shared = artifacts.share_stored(adapter())
    go_to("node")
    for path in Path(shared).glob(lost):
        path.unlink() if path.is_file() else shutil.rmtree(path)
    read_shared(shared.without_weights())
    assert read_shared(shared) == {"weights.safetensors", "config.json"}


def test_tokenizers_are_of_the_model_that_is_meant(go_to):
    make("old")
    shared = artifacts.share_stored(adapter()).without_weights()
    make("new")
    go_to("node")
    with pytest.raises(UserError, match="has changed since the job began"):
        read_shared(shared)


@pytest.mark.parametrize("damage", ["a file is lost", "a listing is half written"])
def test_a_model_in_a_store_is_fetched_again_where_its_copy_is_damaged(damage):
    own = Storage("s3://shop/models/own")
    for name in ("config.json", "vocab.txt", "manifest.json"):
        own.write(name, b"[]")
    model = ModelSection(source="s3://shop/models/own")
    folder = fetch_model(model, for_chat=False)
    if damage == "a file is lost":
        (folder / "vocab.txt").unlink()
    else:
        (folder.parent / ".own.files.json").write_text("{")
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda _: fetch_model(model, for_chat=False), range(4)))
    assert (folder / "vocab.txt").is_file()
    assert list_names(own) == ["config.json", "manifest.json", "vocab.txt"]


def test_a_copy_with_other_bytes_is_made_anew_before_it_is_merged():
    make("text")
    (adapter() / "weights.safetensors").write_text("texT")
    check_intact(adapter())
    assert (adapter() / "weights.safetensors").read_text() == "text"
