import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from eshop_ray.config import Config
from eshop_ray.errors import UserError
from eshop_ray.evaluation.experiments.chains import Chain, Needs, count_room, share_cores
from eshop_ray.evaluation.experiments.launch import LOG, run_chains, run_processes
from tests.processes import find_processes, stop
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]

JOB = """
import os, sys, time
from pathlib import Path

run = Path(sys.argv[1]).parent
if run.name == "bad":
    print("error: the first one")
    print("error: `train.lr` is unknown", file=sys.stderr)
    sys.exit(2)
if run.name == "broken":
    raise ValueError("a customer's words")
if run.name == "killed":
    os.kill(os.getpid(), 9)
if run.name == "endless":
    (run / "pid").write_text(str(os.getpid()))
    time.sleep(300)
times, begun = run.parent / "times", run.parent / "begun"
for folder in (times, begun):
    folder.mkdir(exist_ok=True)
begin = time.monotonic()
(begun / run.name).touch()
# Those that may stand beside each other wait for each other, however long a busy machine takes to start them.
while len(list(begun.iterdir())) < int(os.environ.get("NUM_PARALLEL", 1)) and time.monotonic() < begin + 30:
    time.sleep(0.02)
time.sleep(0.2)
(times / run.name).write_text(f"{begin} {time.monotonic()}")
print("trivial_job ran", run.name)
"""

JOINING_JOB = """
import os, sys
from pathlib import Path

import ray

ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False)
here = ray.get_runtime_context()
(Path(sys.argv[1]).parent / "joined").write_text(f"{here.get_node_id()} {here.get_job_id()}")
"""


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """Where children find the jobs of these tests."""
    (tmp_path / "trivial_job.py").write_text(JOB)
    (tmp_path / "joining_job.py").write_text(JOINING_JOB)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return dict(os.environ)


@pytest.fixture
def make_chain(tmp_path):
    def make(name, *jobs):
        commands = tuple((sys.executable, "-m", job) for job in jobs or ("trivial_job",))
        return Chain(Config(name=name, run_root=str(tmp_path / "runs")), commands)

    return make


def read_log(chain):
    return (chain.config.run_dir / LOG).read_text().splitlines()


def count_overlaps(folder):
    """Return the largest number of jobs that ran at one time."""
    spans = [tuple(map(float, path.read_text().split())) for path in folder.iterdir()]
    return max(sum(begin <= moment < end for begin, end in spans) for moment, _ in spans)


@pytest.mark.parametrize("num_parallel", [1, 2])
def test_runs_stand_beside_each_other_as_far_as_there_is_room(environment, make_chain, tmp_path, num_parallel):
    chains = [make_chain(name) for name in "abcd"]
    assert run_processes(chains, num_parallel, {**environment, "NUM_PARALLEL": str(num_parallel)}) == []
    assert len(list((tmp_path / "runs" / "times").iterdir())) == 4
    assert count_overlaps(tmp_path / "runs" / "times") == num_parallel
    assert read_log(chains[0]) == ["trivial_job ran a"]
    assert (chains[0].config.run_dir / "config.yaml").exists()


def test_a_chain_stops_at_its_failure_and_others_go_on(environment, make_chain):
    bad, broken, killed = (make_chain(name, "trivial_job", "joining_job") for name in ("bad", "broken", "killed"))
    good = make_chain("good", "trivial_job", "trivial_job")
    failures = run_processes([bad, broken, killed, good], 2, environment)
    by_name = {failure.name: failure.reason for failure in failures}
    logs = {chain.config.name: chain.config.run_dir / LOG for chain in (bad, broken, killed)}
    assert by_name["bad"] == f"bad trivial_job: `train.lr` is unknown; log: {logs['bad']}"
    assert by_name["broken"] == f"broken trivial_job: it broke off with exit status 1; log: {logs['broken']}"
    assert by_name["killed"] == f"killed trivial_job: killed by SIGKILL; log: {logs['killed']}"
    assert len(failures) == 3
    assert read_log(good) == ["trivial_job ran good"] * 2


def test_an_error_of_an_earlier_try_is_not_told_again(environment, make_chain):
    chain = make_chain("broken")
    chain.config.run_dir.mkdir(parents=True)
    (chain.config.run_dir / LOG).write_text("error: of yesterday\n")
    (failure,) = run_processes([chain], 1, environment)
    assert "yesterday" not in failure.reason
    assert read_log(chain)[0] == "error: of yesterday"


DRIVER = """
import os, sys
from eshop_ray.config import Config
from eshop_ray.evaluation.experiments.chains import Chain
from eshop_ray.evaluation.experiments.launch import run_processes

chains = [Chain(Config(name="endless", run_root={runs!r}), ((sys.executable, "-m", "trivial_job"),))]
run_processes(chains, 1, dict(os.environ))
"""


@pytest.mark.parametrize(
    ("with_signal", "statuses"), [(signal.SIGKILL, {-9}), (signal.SIGTERM, {128 + 15}), (signal.SIGINT, {-2, 1})]
)
def test_children_end_with_what_started_them(environment, tmp_path, with_signal, statuses):
    command = [sys.executable, "-c", textwrap.dedent(DRIVER).format(runs=str(tmp_path / "runs"))]
    driver = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        pid = wait_for_number(tmp_path / "runs" / "endless" / "pid")
        assert [child.pid for child in find_processes(driver.pid)] == [pid]
        driver.send_signal(with_signal)
        assert driver.wait(timeout=15) in statuses
        psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=10)
        assert not psutil.pid_exists(pid)
    finally:
        stop(driver, signal.SIGKILL, seconds=5)


def wait_for_number(path):
    wait_until(lambda: path.exists() and path.read_text(), f"{path}", timeout_s=60)
    return int(path.read_text())


def test_each_run_is_a_ray_job_of_its_own_in_the_same_cluster(ray_session, environment, make_chain):  # noqa: ARG001
    chains = [make_chain(name, "joining_job") for name in "ab"]
    run_chains(Config(name="experiment"), chains, Needs(num_cpus=3))
    here = ray_session.get_runtime_context()
    joined = [(chain.config.run_dir / "joined").read_text().split() for chain in chains]
    assert {node for node, _ in joined} == {here.get_node_id()}
    assert len({here.get_job_id(), *(job for _, job in joined)}) == 3


@pytest.mark.usefixtures("ray_session", "environment")
def test_failures_become_one_message_when_all_is_done(make_chain, caplog):
    caplog.set_level("INFO")
    chains = [make_chain(name) for name in ("bad", "good", "killed")]
    with pytest.raises(
        UserError, match=r"2 of 3 runs failed; .* skips what is complete:\n  bad trivial_job: `train\.lr`"
    ):
        run_chains(Config(name="experiment"), chains, Needs(num_cpus=2))
    assert read_log(chains[1]) == ["trivial_job ran good"]
    lines = [record.getMessage() for record in caplog.records]
    assert "3 runs, 2 at one time" in lines
    assert "bad trivial_job: started" in lines
    assert any(re.fullmatch(r"good trivial_job: done after [0-9.]+ s \(\d of 3 runs\)", line) for line in lines)


@pytest.mark.usefixtures("ray_session", "environment")
def test_a_run_that_never_fits_is_refused(make_chain):
    with pytest.raises(UserError, match="needs 9 logical CPUs at one time"):
        run_chains(Config(name="experiment"), [make_chain("a")], Needs(num_cpus=9))


@pytest.mark.parametrize(
    ("limits", "needs", "max_parallel", "room"),
    [
        ({"CPU": 8}, Needs(3), 9, 2),
        ({"CPU": 8}, Needs(3), 1, 1),
        ({"CPU": 2}, Needs(3), 9, 1),
        ({"CPU": 64, "GPU": 5}, Needs(3, num_gpus=2), 9, 2),
        ({"CPU": 64, "GPU": 5}, Needs(3), 9, 9),
        ({"CPU": 64}, Needs(1, max_parallel=1), 9, 1),
    ],
)
def test_room(limits, needs, max_parallel, room):
    assert count_room(limits, needs, max_parallel) == room


def test_cores_are_shared_among_runs_of_a_machine(make_chain, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    chain = make_chain("a")

    def threads(num_parallel, num_nodes, **train):
        config = chain.config.model_copy(update={"train": chain.config.train.model_copy(update=train)})
        return share_cores(Chain(config, ()), num_parallel, num_nodes).config.train.torch_threads

    assert threads(1, 1) is None
    assert threads(3, 1) == 2
    assert threads(4, 2) == 4
    assert threads(2, 1, num_workers=2) == 2
    assert threads(20, 1) == 1
    assert threads(3, 1, torch_threads=5) == 5
    assert threads(3, 1, use_gpu=True) is None


READING_JOB = """
import sys
from pathlib import Path

print(Path(sys.argv[-1]).read_text().count("very-secret"), sys.argv[-1])
"""


def test_a_secret_reaches_the_job_and_no_file(environment, tmp_path):
    (tmp_path / "reading_job.py").write_text(READING_JOB)
    tracking = {"uri": "https://me:very-secret@host"}
    config = Config.model_validate({"name": "run", "run_root": str(tmp_path / "runs"), "tracking": tracking})
    chain = Chain(config, ((sys.executable, "-m", "reading_job"),))
    assert run_processes([chain], 1, environment) == []
    assert read_log(chain) == ["1 /dev/stdin"]
    assert not any(b"very-secret" in path.read_bytes() for path in config.run_dir.rglob("*") if path.is_file())
