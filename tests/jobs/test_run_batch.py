"""`jobs.run_batch` from a shell: killed at any moment, the same command goes on; what can be mended says how."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from eshop_ray.cli import run_job
from eshop_ray.jobs import run_batch
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
NUM_REQUESTS = 120


def request(custom_id):
    body = {"model": "shop", "messages": [{"role": "user", "content": f"wool scarf {custom_id}"}]}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}) + "\n"


@pytest.fixture
def place(tmp_path):
    (tmp_path / "in.jsonl").write_text("".join(request(f"r{index}") for index in range(NUM_REQUESTS)) + "{\n")
    return tmp_path


def arguments(place, *more):
    settings = ["infer.engine=simulated", "infer.batch_size=4", f"run_root={place}/runs"]
    return [
        f"{place}/in.jsonl",
        f"{place}/out.jsonl",
        "--served-model-name",
        "shop",
        "--max-tokens=8",
        *settings,
        *more,
    ]


def start(place, *more):
    """Start the job, with a Ray of its own; what it says goes into a file."""
    command = [sys.executable, "-m", "jobs.run_batch", *arguments(place, *more)]
    with (place / "said").open("w") as said:
        return subprocess.Popen(command, cwd=ROOT, stderr=said, start_new_session=True)


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow  # what is missing is asked by the fast test of a rerun, and drivers are killed in those of nights
@pytest.mark.usefixtures("starts_ray", "ray_session")
def test_killed_batch_goes_on(place, capsys, caplog):
    """Killed in a process with a Ray of its own; the same command goes on here."""
    output, said = place / "out.jsonl", place / "said"
    killed = start(place, "infer.engine_kwargs.rows_per_second=20")
    is_reached = wait_until(
        lambda: output.exists() and output.read_bytes().count(b"\n") >= 16,
        "sixteen answers",
        is_running=lambda: killed.poll() is None,
    )
    assert is_reached, said.read_text()
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    kept = output.read_bytes()
    assert kept.count(b"\n") < NUM_REQUESTS
    output.write_bytes(kept + b'{"id": "batch_req_1", "custom_id": "r119", "resp')

    caplog.set_level("INFO")
    with pytest.raises(SystemExit) as stopped:
        run_job("run_batch", arguments(place))
    assert stopped.value.code == 0, capsys.readouterr().err
    assert output.read_bytes().startswith(kept)
    ids = Counter(one["custom_id"] for one in read(output))
    assert ids == Counter(f"r{index}" for index in range(NUM_REQUESTS))
    assert [one["line"] for one in read(place / "out.jsonl.errors.jsonl")] == [NUM_REQUESTS + 1]
    assert f"{NUM_REQUESTS + 1} requests have their result already" in caplog.text
    assert "num_answered                           120" in caplog.text
    assert "wool" not in said.read_text() + caplog.text


def interrupt(*_):
    raise KeyboardInterrupt


@pytest.fixture
def refuse(place, capsys, monkeypatch):
    """Return a function that gives a command, which must fail before anything starts, and returns its message."""

    def call(*more):
        monkeypatch.setattr(run_batch, "start_engine", lambda *_: pytest.fail("an engine was started"))
        with pytest.raises(SystemExit) as stopped:
            run_job("run_batch", arguments(place, *more))
        assert stopped.value.code == 2
        return capsys.readouterr().err.partition("error: ")[2]

    return call


def test_missing_input(refuse, place):
    (place / "in.jsonl").unlink()
    assert f"{place}/in.jsonl: cannot be read" in refuse()
    assert not (place / "out.jsonl").exists()


def test_input_or_model_that_changed(refuse, place, tiny_model_dir, monkeypatch):
    monkeypatch.setattr(run_batch, "start_engine", interrupt)
    with pytest.raises(SystemExit):
        run_job("run_batch", arguments(place))
    (place / "out.jsonl").write_text('{"custom_id": "r0", "error": null}\n')
    message = refuse("infer.engine=vllm", f"--model={tiny_model_dir}")
    assert f"{place}/out.jsonl was begun with another model and another engine" in message
    assert "; name another output, or delete" in message
    assert "was begun with another max_tokens" in refuse("--max-tokens=9")
    (place / "in.jsonl").write_text(request("a"))
    assert "was begun with another input;" in refuse()


def test_settings_that_make_no_sense(refuse, place):
    assert "infer.engine=oracle answers with gold targets" in refuse("infer.engine=oracle")
    assert "unknown key `infer.engin`" in refuse("infer.engin=vllm")
    assert "--max-tokens 0" in refuse("--max-tokens=0")
    assert "output and error file are the same" in refuse("--errors", f"{place}/out.jsonl")
    assert "none.yaml: No such file" in refuse("--config", "none.yaml")


def test_complete_batch_starts_nothing(place, monkeypatch):
    (place / "in.jsonl").write_text("\n")
    monkeypatch.setattr(run_batch, "start_engine", lambda *_: pytest.fail("an engine was started"))
    with pytest.raises(SystemExit) as stopped:
        run_job("run_batch", arguments(place))
    assert stopped.value.code == 0
    assert (place / "out.jsonl").read_bytes() == b""


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("is_named", [False, True])
def test_output_that_cannot_be_added_to_gets_all_at_the_end(place, capfd, is_named):
    """Twice: nothing of the first time is in the way of the second."""
    lines = [request("r0"), "{\n", request("r1")]
    (place / "in.jsonl").write_text("".join(lines))
    for _ in range(2):
        more = ["--errors", f"{place}/errors.jsonl"] if is_named else []
        with pytest.raises(SystemExit) as stopped:
            run_job("run_batch", ["-o", "/dev/stdout", *arguments(place, *more)[:1], *arguments(place, *more)[2:]])
        said = capfd.readouterr()
        assert stopped.value.code == 0, said.err
        results = [json.loads(line) for line in said.out.splitlines()]
        assert {one["custom_id"] for one in results} == {"r0", "r1", *([] if is_named else [None])}
        if is_named:
            assert [one["line"] for one in read(place / "errors.jsonl")] == [2]
        assert not list((place / "runs").glob("*/batch/*"))
