"""What autotuning tries, and what counts as faster."""

import itertools
import math
import os

import pytest

from eshop_ray.config import InferSection
from eshop_ray.errors import UserError
from eshop_ray.inference.autotune.knobs import find_changes, list_knobs, read_settings, shares_engine
from eshop_ray.inference.autotune.report import word_verdict
from eshop_ray.inference.autotune.search import Search, TrialError

ORIGINAL = InferSection(engine_kwargs={"max_num_seqs": 16, "max_num_batched_tokens": 2048}, batch_size=16)


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
        list_knobs(InferSection(engine="serve"))
    with pytest.raises(UserError, match=r"infer.engine=oracle .*run with infer.engine=vllm"):
        list_knobs(InferSection(engine="oracle"))


def test_threads_are_turned_only_where_they_are_one_engines_own(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert read_settings(InferSection())["infer.cpu_threads"] is None
    for other in (InferSection(use_gpu=True), InferSection(concurrency=2)):
        assert "infer.cpu_threads" not in read_settings(other)
    threads = next(knob for knob in list_knobs(InferSection()) if knob.key == "cpu_threads")
    assert threads.turn(InferSection(), 2.0) is None
    assert threads.turn(InferSection(), 0.5).cpu_threads == 4
