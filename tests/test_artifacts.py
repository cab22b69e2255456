import contextlib
import json
from pathlib import Path

import pytest

from eshop_ray import artifacts
from eshop_ray.artifacts import folders
from eshop_ray.errors import UserError


def make(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def fail(folder, error):
    make(folder, new="2")
    raise error


def read(folder):
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_staged_folder_takes_the_place_of_the_old(tmp_path):
    folder = make(tmp_path / "adapter", old="1")
    with artifacts.stage_dir(folder) as staged:
        make(staged, new="2")
        assert read(folder) == {"old": "1"}
    assert read(folder) == {"new": "2"}
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_failure_leaves_the_old_content(tmp_path, error):
    folder = make(tmp_path / "adapter", old="1")
    with pytest.raises(error), artifacts.stage_dir(folder) as staged:
        fail(staged, error)
    assert read(tmp_path) == {"adapter/old": "1"}


def test_leavings_of_a_killed_run_are_not_mixed_in(tmp_path):
    make(tmp_path / ".adapter.partial", junk="0")
    with artifacts.stage_dir(tmp_path / "adapter") as staged:
        make(staged, new="2")
    assert read(tmp_path) == {"adapter/new": "2"}


def test_digest_follows_bytes_and_names(tmp_path):
    one = artifacts.digest_dir(make(tmp_path / "one", a="text", b="more"))
    assert artifacts.digest_dir(make(tmp_path / "two", a="text", b="more")) == one
    changed = [
        make(tmp_path / "byte", a="texT", b="more"),
        make(tmp_path / "renamed", a="text", c="more"),
        make(tmp_path / "swapped", a="more", b="text"),
        make(tmp_path / "added", a="text", b="more", c=""),
        make(tmp_path / "removed", a="text"),
        make(tmp_path / "moved" / "a", a="text", b="more").parent,
    ]
    assert len({one, *map(artifacts.digest_dir, changed)}) == 1 + len(changed)


def test_manifest_is_no_part_of_its_digest(tmp_path):
    folder = make(tmp_path / "adapter", a="text")
    before = artifacts.digest_dir(folder)
    artifacts.write_manifest(folder, "adapter", "inputs", {})
    assert artifacts.digest_dir(folder) == before


def test_manifest_is_read_as_written(tmp_path):
    folder = make(tmp_path / "adapter", a="text")
    written = artifacts.write_manifest(folder, "adapter", "inputs", {"base": "12"}, {"num_rows": 3})
    assert artifacts.read_manifest(folder, job="train_lora") == written
    assert (written.digest, written.parents) == (artifacts.digest_dir(folder), {"base": "12"})
    assert artifacts.is_current(folder, "inputs")
    assert not artifacts.is_current(folder, "other inputs")


@pytest.mark.parametrize("text", [None, "", '{"kind": "adapter", "dig', "[]", '{"kind": "adapter"}', "{}"])
def test_half_a_manifest_is_none(tmp_path, text):
    folder = make(tmp_path / "adapter", **({} if text is None else {artifacts.MANIFEST: text}))
    assert artifacts.find_manifest(folder) is None
    assert not artifacts.is_current(folder, "inputs")
    with pytest.raises(UserError, match=r"adapter is missing or incomplete; run `eshop train-lora`"):
        artifacts.read_manifest(folder, job="train_lora")


def test_digest_is_that_of_the_files_in_any_order(tmp_path):
    folder = make(tmp_path / "a", b="1", **{"a-b": "2"})
    make(folder / "a", c="3")  # before `a-b` by path, after it by text
    files = artifacts.hash_files(folder)
    assert list(files) == ["a/c", "a-b", "b"]
    assert artifacts.digest_files(dict(reversed(files.items()))) == artifacts.digest_dir(folder)


def test_digest_keeps_its_definition(tmp_path):
    """Artifacts of earlier versions have to be found by the digests that their descendants name."""
    folder = make(tmp_path / "adapter", a="text", b="more")
    assert artifacts.digest_dir(folder) == "5b08380a9f2186381607a8b7832d8f47709ff713bb402e4b5781e64fd5ea1bdd"


def test_changes_are_named(tmp_path):
    folder = make(tmp_path / "adapter", a="text", b="more", c="rest")
    manifest = artifacts.write_manifest(folder, "adapter", "inputs", {})
    assert artifacts.find_changes(folder, manifest) == []
    make(folder, a="texT", d="new")
    (folder / "b").unlink()
    assert artifacts.find_changes(folder, manifest) == [
        f"{folder}/a: changed since the manifest was written",
        f"{folder}/b: missing",
        f"{folder}/d: added since the manifest was written",
    ]


def test_every_byte_of_a_manifest_counts(tmp_path):
    folder = make(tmp_path / "adapter", a="text")
    artifacts.write_manifest(folder, "adapter", "inputs", {"base": "12"}, {"num_rows": 3, "name": "tröte"})
    path = folder / artifacts.MANIFEST
    written = path.read_bytes()
    assert artifacts.is_intact(path)
    for position in range(len(written)):
        path.write_bytes(written[:position] + bytes([written[position] ^ 1]) + written[position + 1 :])
        assert not artifacts.is_intact(path)
        manifest = artifacts.find_manifest(folder)
        assert manifest is None or f"{path}: changed since it was written" in artifacts.find_changes(folder, manifest)


def test_older_manifests_tell_that_something_changed(tmp_path):
    folder = make(tmp_path / "adapter", a="text")
    manifest = {"kind": "adapter", "digest": artifacts.digest_dir(folder), "parents": {}, "inputs": "1", "details": {}}
    artifacts.write_json(folder / artifacts.MANIFEST, manifest)
    assert artifacts.find_changes(folder, artifacts.find_manifest(folder)) == []
    make(folder, a="texT")
    changes = artifacts.find_changes(folder, artifacts.find_manifest(folder))
    assert changes == [f"{folder}: changed since its manifest was written"]


def test_run_manifest_gathers_complete_artifacts(tmp_path):
    run_dir = tmp_path / "run"
    for name in ("adapter", "base/predictions", ".merged.partial"):
        artifacts.write_manifest(make(run_dir / name, a=name), "x", "inputs", {})
    make(run_dir / "merged", **{artifacts.MANIFEST: "{"})
    for _ in range(2):  # the second time it finds its own manifest
        artifacts.write_run_manifest(run_dir)
    lineage = json.loads((run_dir / artifacts.MANIFEST).read_text())
    assert lineage["run"] == "run"
    assert list(lineage["artifacts"]) == ["adapter", "base/predictions"]
    assert lineage["artifacts"]["adapter"]["digest"] == artifacts.digest_dir(run_dir / "adapter")
    assert artifacts.is_intact(run_dir / artifacts.MANIFEST)


def test_fingerprint_ignores_the_order_of_keys():
    assert artifacts.fingerprint({"a": 1, "b": [2]}) == artifacts.fingerprint({"b": [2], "a": 1})
    assert artifacts.fingerprint({"a": 1, "b": [2]}) != artifacts.fingerprint({"a": 1, "b": [3]})


def test_a_file_that_was_lost_or_cut_makes_an_artifact_incomplete(tmp_path):
    folder = make(tmp_path / "predictions", a="text", b="more")
    artifacts.write_manifest(folder, "predictions", "inputs", {})
    assert artifacts.is_current(folder, "inputs")
    (folder / "b").write_text("")
    assert not artifacts.is_current(folder, "inputs")
    with pytest.raises(UserError, match=r"predictions/b has 0 bytes instead of 4; run `eshop batch-infer`"):
        artifacts.read_complete(folder, "batch_infer")
    (folder / "b").unlink()
    with pytest.raises(UserError, match=r"predictions/b is missing; run `eshop batch-infer`"):
        artifacts.read_complete(folder, "batch_infer")


class Killed(BaseException):
    """Nothing handles it, as nothing handles a SIGKILL."""


@pytest.mark.parametrize("had_former", [False, True])
@pytest.mark.parametrize("step", range(8))
def test_a_swap_that_is_cut_off_leaves_the_old_folder_or_the_new_one(tmp_path, monkeypatch, step, had_former):
    folder = make(tmp_path / "adapter", a="old")
    artifacts.write_manifest(folder, "adapter", "old", {})
    if had_former:  # of a swap that was cut off at its end
        make(tmp_path / ".adapter.former", a="older")
    count = 0

    def die_at(function):
        def call(*arguments, **options):
            nonlocal count
            count += 1
            if count > step:
                raise Killed
            return function(*arguments, **options)

        return call

    with monkeypatch.context() as patch, contextlib.suppress(Killed), artifacts.stage_dir(folder) as staged:
        make(staged, a="new")
        artifacts.write_manifest(staged, "adapter", "new", {})
        patch.setattr(folders.shutil, "rmtree", die_at(folders.shutil.rmtree))
        patch.setattr(Path, "replace", die_at(Path.replace))
    manifest = artifacts.read_manifest(folder, "train_lora")
    assert (folder / "a").read_text() == manifest.inputs in ("old", "new")
    assert artifacts.find_changes(folder, manifest) == []
    with artifacts.stage_dir(folder) as staged:
        make(staged, a="last")
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
