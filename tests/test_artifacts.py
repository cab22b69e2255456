import json

import pytest

from eshop_ray import artifacts
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
    with pytest.raises(UserError, match=r"adapter is missing or incomplete; run `python -m jobs\.train_lora`"):
        artifacts.read_manifest(folder, job="train_lora")


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


def test_fingerprint_ignores_the_order_of_keys():
    assert artifacts.fingerprint({"a": 1, "b": [2]}) == artifacts.fingerprint({"b": [2], "a": 1})
    assert artifacts.fingerprint({"a": 1, "b": [2]}) != artifacts.fingerprint({"a": 1, "b": [3]})
