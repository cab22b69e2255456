"""The search: one setting after the other, and a comparison side by side at the end.

What is measured is for the bench to know; here is only what is tried, what a difference has to be to count, and when
the time is over.
"""

import json
import logging
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from eshop_ray.config import InferSection
from eshop_ray.errors import UserError
from eshop_ray.inference.autotune.knobs import Knob, Setting, find_changes, list_knobs, shares_engine

logger = logging.getLogger(__name__)

NUM_REPEATS = 3
"""Measurements of the settings that are to be beaten, and of either side in the end."""

LEAST_NOISE = 0.01
"""Three measurements that happen to agree do not make a machine so quiet."""


CLEARLY = 0.9
"""Settings that reach less of the best rate have lost, and the best ones are not measured again beside them."""


class TrialError(Exception):
    """Settings with which nothing could be measured."""


class Bench(Protocol):
    """Measures settings. At most one engine is up."""

    running: InferSection | None
    """Settings of the engine that is up."""
    start_seconds: float
    """What an engine took to be up and warm; the longest so far."""
    pass_seconds: float
    """What a measurement took; the longest so far."""

    def start(self, infer: InferSection) -> None:
        """Start an engine, in place of the one before.

        Raises:
            TrialError: if it does not come up; none is up then.
        """

    def measure(self, infer: InferSection) -> float:
        """Ask the engine that is up, and return rows/s.

        Raises:
            TrialError: if it does not answer as it should; none is up then.
        """


@dataclass(frozen=True)
class TriedSettings:
    """Settings that were tried against the best so far."""

    changes: dict[str, Setting]
    """In what they differ from the original ones."""
    rows_per_second: float | None = None
    versus: float | None = None
    """Ratio to the best settings so far."""
    is_better: bool = False
    trouble: str | None = None
    """Why nothing was measured."""


@dataclass(frozen=True)
class SearchResult:
    """What a search has found."""

    original: InferSection
    best: InferSection
    trials: Sequence[TriedSettings]
    original_rates: Sequence[float]
    """Rows/s of the original settings, measured in turn with the best ones; alone, where nothing was better."""
    best_rates: Sequence[float] = ()
    trouble: str | None = None
    """Why the best settings could not be measured again."""
    is_cut_short: bool = False
    """Whether time was over before everything was tried."""

    @property
    def gain(self) -> float:
        """Ratio of the medians; 1 where nothing was better."""
        if len(self.best_rates) < NUM_REPEATS:
            return 1.0
        return statistics.median(self.best_rates) / statistics.median(self.original_rates)

    @property
    def noise(self) -> float:
        """Spread of the repeated measurements, of whichever side spreads more, relative to its median."""
        return max(spread(self.original_rates), spread(self.best_rates))

    @property
    def is_faster(self) -> bool:
        """Whether the gain is more than noise."""
        return self.gain > 1 + self.noise


def spread(rates: Sequence[float]) -> float:
    """Return the distance between the highest and the lowest of several rates, relative to their median."""
    if len(rates) < 2:
        return LEAST_NOISE
    return max(LEAST_NOISE, (max(rates) - min(rates)) / statistics.median(rates))


@dataclass
class Search:
    """One search on one machine."""

    bench: Bench
    original: InferSection
    max_seconds: float
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._started = self.clock()
        self._trials: list[TriedSettings] = []
        self._best_rate = self._noise = 0.0
        self._is_cut_short = False

    def run(self) -> SearchResult:
        """Measure the original settings, try others, and compare the best with the original ones, in turn.

        Settings of the calls come first and cost no start; they come again when the engine's have changed.

        Raises:
            UserError: if the original settings do not work, or there is no time to try any others.
        """
        base = self._measure_original()
        best = self._climb_all(self.original, needs_start=False)
        tuned = self._climb_all(best, needs_start=True)
        if not shares_engine(tuned, best):
            tuned = self._climb_all(tuned, needs_start=False)
        if not self._trials:
            raise UserError(
                f"autotune.max_minutes: no time to try anything; give it {self._least_minutes()}, or lower "
                "`autotune.num_rows`"
            )
        if not find_changes(self.original, tuned):
            return SearchResult(self.original, tuned, self._trials, base, is_cut_short=self._is_cut_short)
        return self._compare(tuned)

    def _measure_original(self) -> list[float]:
        try:
            rates = [self._measure(self.original) for _ in range(NUM_REPEATS)]
        except TrialError as error:
            raise UserError(f"the settings of `infer` as they are do not work: {error}; mend them first") from error
        self._best_rate, self._noise = statistics.median(rates), spread(rates)
        logger.info("current settings: %.2f rows/s, noise %.1f%%", self._best_rate, 100 * self._noise)
        return rates

    def _climb_all(self, best: InferSection, needs_start: bool) -> InferSection:
        for knob in list_knobs(best):
            if knob.needs_start == needs_start:
                best = self._climb(best, knob)
        return best

    def _climb(self, best: InferSection, knob: Knob) -> InferSection:
        """Turn a knob up while that helps; down, if up did not."""
        for factor in (2.0, 0.5):
            reached = best
            while (turned := knob.turn(reached, factor)) and self._is_better(turned, reached):
                reached = turned
            if reached is not best:
                return reached
        return best

    def _is_better(self, candidate: InferSection, best: InferSection) -> bool:
        """Measure a candidate, then the best so far again: the machine may have changed."""
        if not self._has_time(candidate, best):
            self._is_cut_short = True
            return False
        changes = find_changes(self.original, candidate)
        try:
            rate = self._measure(candidate)
            before = after = self._best_rate
            if rate > CLEARLY * before:
                after = self._measure(best)
        except TrialError as error:
            return self._note(TriedSettings(changes, trouble=str(error)))
        is_better = rate > (1 + self._noise) * max(before, after)
        self._best_rate = rate if is_better else after
        return self._note(TriedSettings(changes, rate, rate / statistics.mean((before, after)), is_better))

    def _note(self, trial: TriedSettings) -> bool:
        self._trials.append(trial)
        logger.info("%s", describe(trial))
        return trial.is_better

    def _compare(self, best: InferSection) -> SearchResult:
        """Measure the original and the best settings in turn; each time in an engine of its own, if they need two."""
        sides: tuple[list[float], list[float]] = ([], [])
        trouble = None
        try:
            for _ in range(NUM_REPEATS):
                for settings, rates in zip((self.original, best), sides, strict=True):
                    rates.append(self._measure(settings))
                    logger.info("side by side: %.2f rows/s %s", rates[-1], "now" if rates is sides[0] else "tuned")
        except TrialError as error:
            trouble = str(error)
        return SearchResult(self.original, best, self._trials, *sides, trouble, self._is_cut_short)

    def _measure(self, infer: InferSection) -> float:
        if self.bench.running is None or not shares_engine(self.bench.running, infer):
            self.bench.start(infer)
        return self.bench.measure(infer)

    def _has_time(self, candidate: InferSection, best: InferSection) -> bool:
        """Whether a trial, and after it the comparison, would end in time."""
        seconds = self._cost(candidate, best, 2) + self._cost(candidate, self.original, 2 * NUM_REPEATS)
        return self.clock() - self._started + seconds <= self.max_seconds

    def _cost(self, one: InferSection, other: InferSection, num_passes: int) -> float:
        num_starts = 1 if shares_engine(one, other) else num_passes
        return num_starts * self.bench.start_seconds + num_passes * self.bench.pass_seconds

    def _least_minutes(self) -> int:
        first = self.bench.start_seconds + NUM_REPEATS * self.bench.pass_seconds
        trial = 2 * (1 + NUM_REPEATS) * (self.bench.start_seconds + self.bench.pass_seconds)
        return math.ceil((first + trial) / 60)


def describe(trial: TriedSettings) -> str:
    """Return one line for the log."""
    settings = " ".join(f"{key}={json.dumps(value)}" for key, value in trial.changes.items()) or "as they are"
    if trial.trouble:
        return f"{settings}: left out, {trial.trouble}"
    verdict = ", better" if trial.is_better else ""
    return f"{settings}: {trial.rows_per_second:.2f} rows/s, {trial.versus:.2f} of the best so far{verdict}"
