"""Metrics of training in MLflow: one run per training, whatever happens to the training or to the server."""

import logging
import pickle
import socket
import sys
import time

import pytest

from eshop_ray.config import TrackingSection
from eshop_ray.errors import UserError
from eshop_ray.training import tracking
from eshop_ray.training.tracking import MlflowCallback, check_tracking
from tests.training.tracked import read_metric, read_runs

PARAMS = {"seed": 0, "train": {"method": "lora", "num_workers": (1, 2)}, "lora": {"options": {}}, "base": "b" * 64}


def make_callback(uri, inputs="f" * 64, **params):
    return MlflowCallback(TrackingSection(uri=str(uri), experiment="shop"), "demo", inputs, {**PARAMS, **params})


def report(first, last, **held_out):
    """What every worker says after the steps `first` to `last`."""
    values = {"step": last, "loss": 1 / last, "learning_rate": 0.1 * last}
    values["losses"] = [[step, 1 / step] for step in range(first, last + 1)]
    return values | ({"held_out_loss": 0.5, "held_out": held_out} if held_out else {})


def send(callback, *reports):
    for values in reports:
        callback.after_report(None, [values, values], None)


def test_run_holds_every_step_and_what_it_was_made_from(tmp_path):
    callback = pickle.loads(pickle.dumps(make_callback(tmp_path / "mlruns")))
    send(callback, report(1, 2500), report(2501, 2504, ner=0.25, ranking=0.75))
    assert read_metric(tmp_path / "mlruns", "loss") == {step: pytest.approx(1 / step) for step in range(1, 2505)}
    assert read_metric(tmp_path / "mlruns", "learning_rate") == {2500: 250.0, 2504: pytest.approx(250.4)}
    assert read_metric(tmp_path / "mlruns", "held_out_loss") == {2504: 0.5}
    assert read_metric(tmp_path / "mlruns", "held_out/ranking") == {2504: 0.75}
    _, [run] = read_runs(tmp_path / "mlruns")
    assert (run.info.run_name, run.info.status) == ("demo", "RUNNING")
    expected = {"seed": "0", "train.method": "lora", "train.num_workers": "(1, 2)", "lora.options": "{}"}
    assert run.data.params == {**expected, "base": "b" * 64}


def test_resumed_training_goes_on_in_its_run_with_other_workers_too(tmp_path):
    send(make_callback(tmp_path), report(1, 3))
    resumed = make_callback(tmp_path, train={"method": "lora", "num_workers": 4})
    send(resumed, report(3, 5))
    assert set(read_metric(tmp_path, "loss")) == {1, 2, 3, 4, 5}
    resumed.finish()
    assert read_runs(tmp_path)[1][0].info.status == "FINISHED"
    send(make_callback(tmp_path), report(5, 6))
    assert read_runs(tmp_path)[1][0].info.status == "RUNNING"


def test_other_training_gets_a_run_of_its_own(tmp_path):
    send(make_callback(tmp_path), report(1, 3))
    send(make_callback(tmp_path, inputs="e" * 64), report(1, 3))
    assert len(read_runs(tmp_path)[1]) == 2


def test_trouble_is_told_once_and_made_up_for(tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.WARNING, logger=tracking.__name__)
    monkeypatch.setattr(tracking, "REST_FACTOR", 0)
    folder = tmp_path / "mlruns"
    folder.write_text("no folder")
    callback = make_callback(folder)
    send(callback, report(1, 2), report(3, 4))
    assert [record.name for record in caplog.records] == [tracking.__name__]
    folder.unlink()
    send(callback, report(5, 6))
    assert set(read_metric(folder, "loss")) == {1, 2, 3, 4, 5, 6}


def test_server_that_hangs_is_waited_for_once(monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as server:
        callback = make_callback(f"http://ann:secret@127.0.0.1:{server.getsockname()[1]}")
        start = time.monotonic()
        send(callback, *(report(step, step) for step in range(1, 20)))
        seconds = time.monotonic() - start
    assert 1 <= seconds < 5
    warnings = [record.getMessage() for record in caplog.records if record.name == tracking.__name__]
    assert len(warnings) == 1
    assert "training goes on" in warnings[0]
    assert "secret" not in warnings[0]


def test_relative_folder_is_the_one_of_the_job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    callback = make_callback("mlruns")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    send(callback, report(1, 2))
    assert set(read_metric(tmp_path / "mlruns", "loss")) == {1, 2}


@pytest.mark.parametrize(
    ("uri", "resolved"),
    [
        ("sqlite:///runs.db", "sqlite:////shop/runs.db"),
        ("sqlite:////data/runs.db", "sqlite:////data/runs.db"),
        ("https://ann:pw@host/mlflow", "https://ann:pw@host/mlflow"),
        ("/data/mlruns", "/data/mlruns"),
    ],
)
def test_uri_means_the_same_in_every_folder(uri, resolved, monkeypatch):
    monkeypatch.setattr(tracking.Path, "absolute", lambda path: "/shop" / path)
    assert tracking.resolve_uri(uri) == resolved


def test_check_takes_a_folder_a_server_and_nothing(tmp_path):
    check_tracking(TrackingSection())
    check_tracking(TrackingSection(uri=str(tmp_path / "mlruns")))
    check_tracking(TrackingSection(uri="http://127.0.0.1:9"))


def test_check_names_the_package_that_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    with pytest.raises(UserError, match=r"`mlflow.tracking` is missing: `pip install mlflow-skinny`"):
        check_tracking(TrackingSection(uri="mlruns"))


def test_check_refuses_what_is_no_store(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be used"):
        check_tracking(TrackingSection(uri=str(tmp_path / "file")))
    with pytest.raises(UserError, match=r"`tracking.uri` gopher://\*\*\*@host cannot be used") as refusal:
        check_tracking(TrackingSection(uri="gopher://ann:secret@host"))
    assert "secret" not in str(refusal.value)
