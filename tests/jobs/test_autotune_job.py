"""`jobs.autotune` from records to a faster config: what it writes, and what it leaves alone."""

import json

import pytest

from eshop_ray.cli import run_job
from eshop_ray.config import load_config
from eshop_ray.inference.autotune.bench import EngineBench
from eshop_ray.jobs import autotune

CONFIG = """\
name: run  # of the shop
run_root: {root}/runs
model: {{source: {model}}}
data:
  root: {root}
  sources:
    - {{format: queryner, path: "{{split}}.conll"}}
infer:
  engine: simulated   # no model
  models: [base]
  # rows per call
  batch_size: {batch_size}
"""


@pytest.fixture
def config_path(tmp_path, tiny_model_dir):
    for split, number in {"train": 2, "dev": 30}.items():
        queries = [f"{split}scarf{one}\tB-core_product_type\n" for one in range(number)]
        (tmp_path / f"{split}.conll").write_text("\n".join(queries))
    path = tmp_path / "run.yaml"
    path.write_text(CONFIG.format(root=tmp_path, model=tiny_model_dir, batch_size=8))
    return path


def run(job, capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        run_job(job, list(map(str, arguments)))
    return stopped.value.code, capsys.readouterr()


@pytest.mark.slow  # the search and the file have fast tests
@pytest.mark.usefixtures("ray_session")
def test_faster_settings_come_into_the_file(config_path, capsys, monkeypatch, caplog):
    rates = {8: 58.0, 16: 66.0, 32: 100.0, 64: 99.0}
    monkeypatch.setattr(EngineBench, "measure", lambda _, infer: rates.get(infer.batch_size, 40.0))
    caplog.set_level("INFO")
    status, output = run("prepare_data", capsys, config_path)
    assert status == 0, output.err
    before = config_path.read_text()

    status, output = run("autotune", capsys, config_path, "autotune.write=false")
    assert status == 0, output.err
    assert config_path.read_text() == before
    assert "infer.batch_size=16" in output.out

    status, output = run("autotune", capsys, config_path)
    assert status == 0, output.err
    assert config_path.read_text() == before.replace("batch_size: 8", "batch_size: 32")
    assert "measuring with 30 rows, the split has no more that differ" in caplog.text
    assert "gained: 1.72x, 100.00 against 58.00 rows/s, medians of 3 in turn, noise 1.0 %" in caplog.text
    assert f"written into {config_path}: infer.batch_size=32" in caplog.text
    found = json.loads((load_config(str(config_path)).run_dir / "autotune.json").read_text())
    assert found["is_faster"]
    assert (found["original"]["settings"], found["best"]["settings"]) == (
        {"infer.batch_size": 8, "infer.max_concurrent_batches": None},
        {"infer.batch_size": 32, "infer.max_concurrent_batches": None},
    )
    assert [trial["changes"]["infer.batch_size"] for trial in found["trials"]] == [16, 32, 64, 32, 32]

    tuned = config_path.read_text()
    assert run("autotune", capsys, config_path)[0] == 0
    assert config_path.read_text() == tuned
    assert "nothing gained: 100.00 rows/s as it is" in caplog.text


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((), "records is missing or incomplete; run `eshop prepare-data` with the same config first"),
        (("infer.engine=serve",), "infer.engine=serve has nothing to tune, tune `serve.engine_kwargs` by hand"),
        (("infer.engine=oracle",), "infer.engine=oracle has nothing to tune"),
        (("autotune.max_minute=3",), "did you mean `autotune.max_minutes`?"),
    ],
)
def test_what_cannot_be_tuned_is_told_before_anything_starts(config_path, capsys, monkeypatch, overrides, message):
    monkeypatch.setattr(autotune, "start_engine", lambda *_: pytest.fail("an engine was started"))
    before = config_path.read_text()
    status, output = run("autotune", capsys, config_path, *overrides)
    assert status == 2
    assert message in output.err
    assert config_path.read_text() == before
