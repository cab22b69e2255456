"""The check for GPUs: its parts run small on a CPU, and whatever happens to a part is told of that part alone."""

import json
import os
import platform
import subprocess
import time
import venv

import pytest

from tests.bench.gpu import check

PARTS = {
    "passes": "def measure(job):\n    yield 'answer', job['answer']\n",
    "fails": "def measure(job):\n    yield 'first', 1\n    raise ValueError('no such kernel')\n    yield 'second', 2\n",
    "lacks": "import no_such_package.part\n",
    "breaks": "import json.no_such_module\n",
    "declines": (
        "from tests.bench.gpu.outcome import Absent\n"
        "def measure(job):\n    raise Absent('no kernel for this GPU')\n    yield\n"
    ),
    "hangs": "import time\ndef measure(job):\n    yield 'first', 1\n    time.sleep(600)\n",
    "dies": "import os\ndef measure(job):\n    yield 'first', 1\n    print('out of memory')\n    os._exit(9)\n",
    "leaves": (
        "import subprocess, sys\ndef measure(job):\n"
        "    yield 'pid', subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid\n"
    ),
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run one of `PARTS`."""
    for name, text in PARTS.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return lambda name, seconds=60: check.run(name, seconds, {"answer": 42})


@pytest.mark.parametrize(
    ("name", "state", "figures", "reason"),
    [
        ("passes", "passed", {"answer": 42}, None),
        ("fails", "failed", {"first": 1}, "ValueError: no such kernel"),
        ("lacks", "absent", {}, "the Python package `no_such_package` is not installed"),
        ("declines", "absent", {}, "no kernel for this GPU"),
        ("dies", "failed", {"first": 1}, "ended with status 9; its last words: out of memory"),
    ],
)
def test_a_part_ends_as_it_ended(run, name, state, figures, reason):
    part = run(name)
    assert part.pop("seconds") < 60
    assert part == {"state": state, "figures": figures, "reason": reason}


def test_a_package_that_is_there_and_broken_is_no_absent_one(run):
    assert run("breaks")["state"] == "failed"


def test_a_part_out_of_time_is_ended_and_keeps_its_figures(run):
    started = time.monotonic()
    part = run("hangs", seconds=2)
    assert time.monotonic() - started < 30
    assert (part["state"], part["figures"]) == ("failed", {"first": 1})
    assert part["reason"].startswith("not through within 2 s")


def test_nothing_that_a_part_started_stays(run):
    pid = run("leaves")["figures"]["pid"]
    deadline = time.monotonic() + 20
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)


def is_running(pid):
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


@pytest.fixture
def ran(monkeypatch):
    """Which parts the check has begun, and for how long at most, while nothing is really run."""
    ends, begun = {"flex_against_mask": "failed", "qlora": "absent", "fsdp": "passed"}, {}

    def run(module, max_seconds, job):
        name = module.rpartition(".")[2]
        begun[name] = (max_seconds, job.get("device"))
        figures = {"gpu": None} if name == "machine" else {"difference": 0.5}
        return {"state": ends.get(name, "passed"), "seconds": 1.0, "figures": figures, "reason": None}

    monkeypatch.setattr(check, "run", run)
    monkeypatch.setattr(check, "ask_for_line", lambda *_: None)
    return begun


def test_a_failed_part_leaves_the_others_and_the_exit_status(tmp_path, ran, capsys):
    results = tmp_path / "results" / "gpu.json"
    assert check.main(["--only", "flex_against_mask,qlora,fsdp", "--results", str(results)]) == 1
    written = json.loads(results.read_text())
    ends = {"flex_against_mask": "failed", "qlora": "absent", "fsdp": "passed"}
    assert {name: part["state"] for name, part in written["parts"].items()} == ends
    assert written["machine"]["gpu"] is None
    assert ran["fsdp"][1] == "cpu"
    assert "difference" in capsys.readouterr().out
    assert check.main(["--only", "fsdp,qlora", "--results", str(results)]) == 0


def test_a_gpu_of_which_torch_was_not_asked_in_time_is_used(tmp_path, ran, monkeypatch):
    told = {"state": "failed", "seconds": 60.0, "figures": {}, "reason": "not through within 60 s"}
    slow, run = f"{check.PACKAGE}.machine", check.run
    monkeypatch.setattr(check, "run", lambda module, *rest: told if module == slow else run(module, *rest))
    monkeypatch.setattr(check, "ask_for_line", lambda *_: "NVIDIA H100")
    assert check.main(["--only", "fsdp", "--results", str(tmp_path / "gpu.json")]) == 0
    assert ran["fsdp"] == (check.PARTS["fsdp"].seconds, "cuda")
    written = json.loads((tmp_path / "gpu.json").read_text())["machine"]
    assert (written["nvidia_smi"], written["reason"]) == ("NVIDIA H100", "not through within 60 s")


def test_no_part_goes_beyond_the_time_for_all(tmp_path, ran):
    results = tmp_path / "gpu.json"
    assert check.main(["--only", "fsdp", "--seconds", "4", "--results", str(results)]) == 0
    assert ran.pop("fsdp")[0] == 4 * check.CPU_PATIENCE
    assert check.main(["--only", "fsdp", "--seconds", "0", "--results", str(results)]) == 0
    part = json.loads(results.read_text())["parts"]["fsdp"]
    assert "fsdp" not in ran
    assert part["state"] == "absent"
    assert part["reason"].startswith("no time was left; ask for the part by `--only`")


def test_a_python_that_is_too_old_for_the_project_begins_no_part(tmp_path, ran, monkeypatch):
    monkeypatch.setattr(check, "OLDEST_PYTHON", (99, 0))
    assert check.main(["--only", "fsdp", "--results", str(tmp_path / "gpu.json")]) == 0
    part = json.loads((tmp_path / "gpu.json").read_text())["parts"]["fsdp"]
    assert "fsdp" not in ran
    assert (part["state"], part["reason"]) == ("absent", "Python 99.0 or newer is needed")


def test_on_a_bare_python_every_part_is_absent_and_says_what_it_lacks(tmp_path):
    venv.create(tmp_path / "bare", with_pip=False)
    command = [tmp_path / "bare" / "bin" / "python", check.FOLDER / "check.py", "--results", tmp_path / "gpu.json"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "gpu.json").read_text())
    assert results["machine"]["python"] == platform.python_version()
    assert "`torch` is not installed" in results["machine"]["reason"]
    assert results["parts"].keys() == check.PARTS.keys()
    for part in results["parts"].values():
        assert part["state"] == "absent"
        assert "is not installed" in part["reason"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_part_runs_small_on_a_cpu(tmp_path):
    """Those whose model only llm-compressor writes say so."""
    results = tmp_path / "gpu.json"
    status = check.main(["--results", str(results)])
    parts = json.loads(results.read_text())["parts"]
    assert {name: part["reason"] for name, part in parts.items() if part["state"] == "failed"} == {}
    assert status == 0
    absent = {name: part["reason"] for name, part in parts.items() if part["state"] == "absent"}
    assert absent.keys() <= {"qlora", "vllm", "switched", "vllm_int8", "vllm_fp8", "vllm_gptq"}
    assert "tests.bench.gpu.quantize" in absent["vllm_fp8"]
