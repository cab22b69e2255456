"""Bad input through the command line: one message that names the thing and the remedy, and exit status 2."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from eshop_ray import artifacts
from eshop_ray.cli import run_job
from eshop_ray.jobs import fetch_model, merge_lora, prepare_data, train_lora

ROOT = Path(__file__).resolve().parents[2]
QUERIES = "red\tB-color\nscarf\tB-core_product_type\n\nwool\tB-material\n\n"


@pytest.fixture
def shop(tmp_path, tiny_model_dir):
    """An experiment that works, its config in `run.yaml`, with what later jobs would find of an earlier run."""
    for split in ("train", "dev"):
        (tmp_path / f"{split}.conll").write_text(QUERIES if split == "train" else "tent\tB-core_product_type\n")
    config = {
        "name": "run",
        "run_root": str(tmp_path / "runs"),
        "model": {"source": str(tiny_model_dir)},
        "data": {"root": str(tmp_path), "sources": [{"format": "queryner", "path": "{split}.conll"}]},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    for name in ("records", "adapter", "merged"):
        folder = tmp_path / "runs" / "run" / name
        folder.mkdir(parents=True)
        (folder / "earlier").write_text(name)
        artifacts.write_manifest(folder, name, "inputs", {"base": "0" * 64})
    (folder.parent / "adapter" / "adapter_config.json").write_text('{"base_model_name_or_path": "models/first"}')
    return tmp_path


@pytest.fixture
def refuse(shop, capsys, monkeypatch):
    """Return a function that runs a job, which must fail as asked and lose nothing, and returns its message."""

    def run(job, *overrides, config="run.yaml", may_start_ray=False):
        if not may_start_ray and hasattr(job, "start_ray"):
            monkeypatch.setattr(job, "start_ray", lambda *_, **__: pytest.fail("Ray was started"))
        before = read_artifacts(shop)
        with pytest.raises(SystemExit) as stopped:
            run_job(job.__name__.rpartition(".")[2], [str(shop / config), *overrides])
        assert stopped.value.code == 2
        assert read_artifacts(shop) == before
        message = capsys.readouterr().err.strip()
        assert "Traceback" not in message
        return message.partition("error: ")[2]

    return run


def read_artifacts(shop):
    files = (path for path in (shop / "runs").glob("run/*/**/*") if path.is_file())
    return {path.relative_to(shop): path.read_bytes() for path in files}


@pytest.mark.parametrize("job", [fetch_model, prepare_data, train_lora, merge_lora], ids=lambda job: job.__name__)
def test_what_every_job_checks_first(refuse, shop, job):
    assert "unknown key `train.num_epoch`; did you mean `train.num_epochs`?" in refuse(job, "train.num_epoch=2")
    assert "none.yaml: No such file or directory; give the path" in refuse(job, config="none.yaml")
    (shop / "file").touch()
    message = refuse(job, f"run_root={shop}/file")
    assert f"run directory {shop}/file/run: Not a directory; set `run_root`" in message


def test_missing_data_file(refuse, shop):
    (shop / "train.conll").unlink()
    (shop / "dev.conll").unlink()
    message = refuse(prepare_data)
    assert str(shop / "{split}.conll") in message


def test_unknown_task(refuse):
    assert "no task ner_taging; choose from attributes, classification," in refuse(
        prepare_data, "data.tasks=[ner_taging]"
    )


@pytest.mark.usefixtures("ray_session")
def test_empty_split(refuse, shop):
    (shop / "train.conll").write_text("")
    assert "split 'train' is empty; found dev" in refuse(prepare_data, may_start_ray=True)


def test_too_few_cpus(refuse, ray_session):  # noqa: ARG001 - the Ray that is too small
    message = refuse(train_lora, "train.num_workers=3", may_start_ray=True)
    assert "needs 5 logical CPUs at one time, this machine's Ray has 4; raise `ray.num_cpus` to at least 5" in message


@pytest.mark.parametrize(
    ("job", "artifact", "maker"), [(train_lora, "records", "prepare-data"), (merge_lora, "adapter", "train-lora")]
)
def test_step_left_out(refuse, shop, job, artifact, maker):
    (shop / "runs" / "run" / artifact / artifacts.MANIFEST).unlink()
    assert f"{artifact} is missing or incomplete; run `eshop {maker}`" in refuse(job)


def test_adapter_of_another_base(refuse, tiny_model_dir):
    message = refuse(merge_lora)
    assert "was trained on models/first (digest 000000000000)" in message
    assert f"but `model.source` is {tiny_model_dir} (digest " in message
    assert "set `model.source` to the adapter's base, or train again" in message


@pytest.mark.parametrize("job", [fetch_model, train_lora, merge_lora], ids=lambda job: job.__name__)
def test_model_without_a_chat_template(refuse, shop, tiny_model_dir, job):
    model_dir = shutil.copytree(tiny_model_dir, shop / "model")
    (model_dir / "chat_template.jinja").unlink()
    message = refuse(job, f"model.source={model_dir}")
    assert f"model folder {model_dir}: the tokenizer has no chat template; put" in message


def test_from_a_shell(shop):
    command = [sys.executable, "-m", "jobs.prepare_data", str(shop / "run.yaml"), "data.rot=."]
    result = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        f"error: config {shop / 'run.yaml'}: unknown key `data.rot`; did you mean `data.root`?"
    ]


def test_written_config_explains_the_run(shop, refuse):
    refuse(prepare_data, "data.tasks=[none]", "seed=7")
    written = yaml.safe_load((shop / "runs" / "run" / "config.yaml").read_text())
    assert (written["seed"], written["data"]["tasks"]) == (7, ["none"])
    assert json.dumps(written)
