"""Autotuning: what is tried, what counts as faster, what is written, and that no engine stays behind."""

import itertools
import math
import os
import time
from pathlib import Path

import pytest
import yaml

from eshop_ray.config import InferConfig
from eshop_ray.errors import UserError
from eshop_ray.inference.autotune.bench import EngineBench
from eshop_ray.inference.autotune.config_file import check_writable, edit_config
from eshop_ray.inference.autotune.knobs import find_changes, list_knobs, read_settings, shares_engine
from eshop_ray.inference.autotune.report import word_verdict
from eshop_ray.inference.autotune.search import Search, TrialError
from eshop_ray.inference.autotune.workload import Workload
from tests.processes import find_processes

ORIGINAL = InferConfig(engine_kwargs={"max_num_seqs": 16, "max_num_batched_tokens": 2048}, batch_size=16)


class FakeBench:
    """Engines that answer at the rate that a function of their settings says, each second being one of its own."""

    def __init__(self, rate, start_seconds=30.0, pass_seconds=10.0):
        self.rate = rate
        self.running = None
        self.start_seconds, self.pass_seconds = start_seconds, pass_seconds
        self.now = 0.0
        self.starts, self.measured = [], []

    def start(self, infer):
        self.starts.append(infer)
        self.now += self.start_seconds
        self.running = infer

    def measure(self, infer):
        assert shares_engine(self.running, infer)
        self.now += self.pass_seconds
        self.measured.append(infer)
        try:
            return self.rate(infer, self.now)
        except TrialError:
            self.running = None
            raise


def search(rate, original=ORIGINAL, minutes=1000.0, **seconds):
    bench = FakeBench(rate, **seconds)
    return Search(bench, original, 60 * minutes, clock=lambda: bench.now).run(), bench


def hill(key, peak):
    """A rate that falls by a tenth for every factor of two off the peak."""

    def rate(infer, _now):
        value = infer.engine_kwargs.get(key) or getattr(infer, key)
        return 100 * 0.9 ** abs(math.log2(value / peak))

    return rate


@pytest.mark.parametrize(("key", "peak"), [("max_num_seqs", 64), ("max_num_seqs", 4), ("max_num_batched_tokens", 8192)])
def test_engine_is_turned_to_its_peak(key, peak):
    outcome, _ = search(hill(key, peak))
    assert outcome.best.engine_kwargs[key] == peak
    assert outcome.is_faster
    assert outcome.gain == pytest.approx(0.9 ** -abs(math.log2(peak / ORIGINAL.engine_kwargs[key])))


def test_calls_grow_with_the_sequences_that_they_fill():
    outcome, _ = search(hill("max_num_seqs", 64))
    assert outcome.best.batch_size == 64
    assert find_changes(ORIGINAL, outcome.best) == {"infer.engine_kwargs.max_num_seqs": 64, "infer.batch_size": 64}


def test_settings_of_calls_are_tried_on_the_engine_that_is_up():
    outcome, bench = search(hill("batch_size", 64))
    assert outcome.best.batch_size == 64
    assert outcome.best.engine_kwargs == ORIGINAL.engine_kwargs
    first_change = next(number for number, one in enumerate(bench.starts) if not shares_engine(one, ORIGINAL))
    assert first_change == 1
    assert len(bench.starts) < len(bench.measured) / 2


def test_nothing_is_better_than_what_is_best_already():
    outcome, _ = search(lambda *_: 50.0)
    assert outcome.best == ORIGINAL
    assert not outcome.is_faster
    assert "nothing gained: 50.00 rows/s" in word_verdict(outcome, 300)
    assert len(outcome.trials) == len({str(trial.changes) for trial in outcome.trials})


def test_machine_that_speeds_up_does_not_decide():
    outcome, _ = search(lambda _, now: 50.0 * 1.02 ** (now / 100))
    assert not outcome.is_faster


def test_what_the_noise_can_explain_does_not_count():
    numbers = itertools.cycle([100.0, 110.0, 95.0, 104.0, 91.0, 107.0, 97.0])
    outcome, _ = search(lambda infer, _: next(numbers) * (1.02 if infer.batch_size == 32 else 1.0))
    assert not outcome.is_faster


def test_settings_that_fail_are_left_out_and_the_others_go_on():
    def rate(infer, now):
        if infer.engine_kwargs["max_num_seqs"] > 32:
            raise TrialError("it did not start (OutOfMemoryError)")
        return hill("max_num_seqs", 256)(infer, now)

    outcome, _ = search(rate)
    assert outcome.best.engine_kwargs["max_num_seqs"] == 32
    assert outcome.is_faster
    failed = [trial for trial in outcome.trials if trial.trouble]
    assert {trial.changes["infer.engine_kwargs.max_num_seqs"] for trial in failed} == {64}
    assert "left out" not in word_verdict(outcome, 300)


def test_settings_that_fail_in_the_comparison_gain_nothing():
    failing = itertools.count()

    def rate(infer, _now):
        if infer.batch_size == 16:
            return 100.0
        if next(failing) > 12:
            raise TrialError("it did not answer within 60 s")
        return 200.0 if infer.batch_size == 32 else 10.0

    outcome, _ = search(rate)
    assert outcome.best.batch_size == 32
    assert not outcome.is_faster
    assert "in the comparison it did not answer within 60 s" in word_verdict(outcome, 300)


def test_original_settings_that_fail_are_the_users_to_mend():
    def rate(*_):
        raise TrialError("vLLM refuses its arguments")

    with pytest.raises(UserError, match="as they are do not work: vLLM refuses its arguments; mend them first"):
        search(rate)


@pytest.mark.parametrize("minutes", [8, 10, 12])
def test_time_is_kept_with_the_comparison(minutes):
    outcome, bench = search(hill("max_num_seqs", 512), minutes=minutes)
    assert bench.now <= 60 * minutes
    assert outcome.is_cut_short
    assert len(outcome.original_rates) == 3
    assert "raise autotune.max_minutes" in word_verdict(outcome, 300)


def test_too_little_time_says_how_much_is_needed():
    with pytest.raises(UserError, match=r"give it 7, or lower `autotune.num_rows`"):
        search(hill("max_num_seqs", 512), minutes=1)
    assert search(hill("max_num_seqs", 512), minutes=7)[0].trials


def test_engines_without_settings_say_what_to_do():
    with pytest.raises(UserError, match=r"infer.engine=serve .*tune `serve.engine_kwargs` by hand"):
        list_knobs(InferConfig(engine="serve"))
    with pytest.raises(UserError, match=r"infer.engine=oracle .*run with infer.engine=vllm"):
        list_knobs(InferConfig(engine="oracle"))


def test_threads_are_turned_only_where_they_are_one_engines_own(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert read_settings(InferConfig())["infer.cpu_threads"] is None
    for other in (InferConfig(use_gpu=True), InferConfig(concurrency=2)):
        assert "infer.cpu_threads" not in read_settings(other)
    threads = next(knob for knob in list_knobs(InferConfig()) if knob.key == "cpu_threads")
    assert threads.turn(InferConfig(), 2.0) is None
    assert threads.turn(InferConfig(), 0.5).cpu_threads == 4


FILE = """\
# the shop
name: shop   # a name
infer:
  # about the engine
  engine_kwargs: {max_model_len:   1024}  # short

  batch_size:    64   # rows
  # to be continued

train: { num_epochs:  2 }
"""


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        (
            FILE,
            FILE.replace("1024}", "1024, max_num_seqs: 9}").replace(
                "64   # rows\n", "7   # rows\n  cpu_threads: null\n"
            ),
        ),
        ("name: x", "name: x\ninfer: {batch_size: 7, engine_kwargs: {max_num_seqs: 9}, cpu_threads: null}\n"),
        ("infer:\nname: x\n", "infer: {batch_size: 7, engine_kwargs: {max_num_seqs: 9}, cpu_threads: null}\nname: x\n"),
        (
            "infer: {}  # all\n",
            "infer: {batch_size: 7, engine_kwargs: {max_num_seqs: 9}, cpu_threads: null}  # all\n",
        ),
        (
            "infer:\r\n    engine_kwargs:\r\n        max_num_seqs: 1\r\n",
            "infer:\r\n    engine_kwargs:\r\n        max_num_seqs: 9\r\n    batch_size: 7\r\n    cpu_threads: null\r\n",
        ),
    ],
    ids=["commented", "no section", "empty section", "braces", "CRLF"],
)
def test_file_changes_in_the_settings_alone(tmp_path, text, edited):
    path = tmp_path / "run.yaml"
    path.write_bytes(text.encode())
    path.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to(path)
    edit_config(link, {"infer.batch_size": 7, "infer.engine_kwargs.max_num_seqs": 9, "infer.cpu_threads": None})
    assert path.read_bytes().decode() == edited
    assert path.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()
    values = yaml.safe_load(edited)["infer"]
    assert (values["batch_size"], values["engine_kwargs"]["max_num_seqs"], values["cpu_threads"]) == (7, 9, None)


def test_file_that_shares_a_section_is_left_alone(tmp_path):
    path = tmp_path / "run.yaml"
    text = "serve:\n  engine_kwargs: &shared {max_model_len: 512}\ninfer:\n  engine_kwargs: *shared\n"
    path.write_text(text)
    with pytest.raises(UserError, match=r"its form is unusual; set there: infer.engine_kwargs.max_num_seqs=9"):
        edit_config(path, {"infer.engine_kwargs.max_num_seqs": 9})
    assert path.read_text() == text


def test_file_that_cannot_be_written_is_told_before_the_search(tmp_path, monkeypatch):
    path = tmp_path / "run.yaml"
    path.touch()
    check_writable(path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UserError, match=r"run.yaml: cannot be written.*autotune.write=false"):
        check_writable(path)


def words(number):
    return [{"role": "user", "content": f"scarf {number}"}]


WORKLOAD = Workload([(words(number), {"temperature": 0.0, "max_tokens": 8}) for number in range(40)])


def test_no_round_repeats_a_prompt():
    rounds = [WORKLOAD.build_round(number, lambda messages: messages[0]["content"]) for number in range(12)]
    prompts = [request.prompt for one in rounds for request in one]
    assert len(set(prompts)) == len(prompts) == 480
    for number, one in enumerate(rounds):
        assert all(request.prompt.startswith(f"{number}. scarf ") for request in one)


def find_engines():
    return find_processes(os.getpid(), "ray::SimulatedEngine")


def wait_for_none():
    deadline = time.monotonic() + 10
    while find_engines():
        assert time.monotonic() < deadline, find_engines()
        time.sleep(0.1)


def simulated(batch_size=8, **options):
    return InferConfig(engine="simulated", batch_size=batch_size, engine_kwargs=options, timeout_seconds=2)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_rate_is_the_engines_own(monkeypatch):
    monkeypatch.setattr("eshop_ray.inference.autotune.bench.PASS_SECONDS", 0.5)
    with EngineBench(WORKLOAD, Path(), 60) as bench:
        bench.start(simulated(rows_per_second=200, start_seconds=0.5))
        assert bench.start_seconds > 0.5
        rates = [bench.measure(simulated(size, rows_per_second=200, start_seconds=0.5)) for size in (8, 40)]
        assert all(rate == pytest.approx(200, rel=0.15) for rate in rates)
        assert bench.pass_seconds > 0.3
        assert len(find_engines()) == 1
    wait_for_none()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(
    ("options", "trouble"),
    [
        ({"start_seconds": 1e6}, "it did not start within 1 s"),
        ({"kill_on": "scarf 3"}, "the engine died"),
        ({"stall_on": "scarf 3"}, "it did not answer within 2 s"),
    ],
)
def test_engine_that_fails_is_given_up_and_ended(options, trouble):
    with EngineBench(WORKLOAD, Path(), 1 if "start_seconds" in options else 60) as bench:
        with pytest.raises(TrialError, match=trouble):
            bench.start(simulated(**options))
        assert bench.running is None
        wait_for_none()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_session")
def test_engine_that_answers_nothing_is_no_fast_one():
    with EngineBench(WORKLOAD, Path(), 60) as bench:
        bench.start(simulated(reject_on="scarf"))
        with pytest.raises(TrialError, match="1600 of 1600 rows failed"):
            bench.measure(simulated(reject_on="scarf"))
