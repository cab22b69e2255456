"""What is wrong with written answers: how long they are, how much of them is copied, which are empty or cut."""

import heapq
import logging
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import chain
from statistics import fmean
from typing import Any

import numpy as np

from eshop_ray.data.prompts import find_question
from eshop_ray.errors import UserError
from eshop_ray.tasks.metrics.similarity import MULTILINGUAL_SIMILARITY, SIMILARITY
from eshop_ray.tasks.metrics.texts import BLEU, JP_BLEU, ROUGE_L
from eshop_ray.words import fold_words

logger = logging.getLogger(__name__)

TEXT_METRICS = frozenset(one.name for one in (ROUGE_L, BLEU, JP_BLEU, SIMILARITY, MULTILINGUAL_SIMILARITY))
"""Metrics of answers that are written freely."""
NUM_WORDS = 4
"""Words of a sequence that counts as copied, where the answer has as many."""
NUM_COMPARED = 200
"""Rows of a group that ROUGE-L and similarity are looked at for: an encoder reads a hundred in a second."""
NUM_EXTREME = 3
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SCORED = {ROUGE_L.name: "ROUGE-L", SIMILARITY.name: "similarity"}
"""Metric -> the measure that it is: where it is the group's, all rows have it already."""
CUT = "length"
"""The `finish_reason` of an answer that ran into its limit."""
MEASURES = ("words", "ratio to target", "copied share", "longest copied run", "ROUGE-L", "similarity")

Extreme = tuple[float, str]
"""A value, and the id of its row."""


@dataclass(slots=True)
class Measure:
    """A number of every row: all of them, and the rows at both ends."""

    values: "array[float]" = field(default_factory=lambda: array("d"))
    lowest: list[Extreme] = field(default_factory=list)
    highest: list[Extreme] = field(default_factory=list)

    def add(self, found: Sequence[Extreme]) -> None:
        """Add a batch."""
        self.values.extend(value for value, _ in found)
        self.lowest = heapq.nsmallest(NUM_EXTREME, chain(self.lowest, found))
        self.highest = heapq.nsmallest(NUM_EXTREME, chain(self.highest, found), key=lambda one: (-one[0], one[1]))

    def describe(self) -> dict[str, Any]:
        """Return `quantiles`, those of `QUANTILES`, and the ids of the `lowest` and `highest` rows."""
        quantiles = np.quantile(self.values, QUANTILES).tolist()
        ends = {"lowest": self.lowest, "highest": self.highest}
        return {"quantiles": quantiles, **{end: [row_id for _, row_id in rows] for end, rows in ends.items()}}


@dataclass(slots=True)
class TextErrors:
    """The written answers of a group."""

    metric: str
    """The group's."""
    num_rows: int = 0
    """That have an answer, be it empty."""
    num_empty: int = 0
    num_cut: int = 0
    _measures: dict[str, Measure] = field(default_factory=dict)
    _sample: list[tuple[bytes, str, Any, str]] = field(default_factory=list)
    """The rows whose ids have the smallest digests: the same for every model."""

    def add(
        self,
        columns: Mapping[str, Sequence[Any]],
        targets: Sequence[Any],
        predictions: Sequence[Any],
        scores: Sequence[float],
    ) -> None:
        """Look at rows, columns `id`, `messages` and `finish_reason`; failed ones are left out."""
        reasons, questions = columns["finish_reason"], columns["messages"]
        found: dict[str, list[Extreme]] = {}
        for row in zip(columns["id"], questions, reasons, targets, predictions, scores, strict=True):
            row_id, messages, reason, target, prediction, score = row
            if prediction is None:
                continue
            self.num_rows += 1
            self.num_empty += not prediction.strip()
            self.num_cut += reason == CUT
            for name, value in measure(prediction, target, find_question(messages)):
                found.setdefault(name, []).append((value, row_id))
            if self.metric in SCORED:
                found.setdefault(SCORED[self.metric], []).append((score, row_id))
            self._sample.append((blake2b(row_id.encode(), digest_size=8).digest(), row_id, target, prediction))
        for name, values in found.items():
            self._measures.setdefault(name, Measure()).add(values)
        self._sample = heapq.nsmallest(NUM_COMPARED, self._sample, key=lambda one: one[0])

    def describe(self) -> dict[str, Any]:
        """Return `num_rows`, `num_empty`, `num_cut`, `num_compared` (rows of ROUGE-L and similarity, but where one is
        the group's score) and `measures`.
        """
        measures = {**self._measures, **dict(self._compare())}
        return {
            "num_rows": self.num_rows,
            "num_empty": self.num_empty,
            "num_cut": self.num_cut,
            "num_compared": len(self._sample),
            "measures": {name: measures[name].describe() for name in MEASURES if name in measures},
        }

    def _compare(self) -> Iterator[tuple[str, Measure]]:
        if not self._sample:
            return
        _, ids, targets, predictions = zip(*self._sample, strict=True)
        for metric in (ROUGE_L, SIMILARITY):
            name = SCORED[metric.name]
            if name in self._measures:
                continue
            found = Measure()
            try:
                found.add(list(zip(metric.score_rows(targets, predictions), ids, strict=True)))
            except UserError as error:  # nobody asked for it: the score is another metric's
                logger.warning("%s is left out of the error analysis: %s", name, error)
            else:
                yield name, found


def measure(answer: str, target: str | Sequence[str], source: str) -> Iterator[tuple[str, float]]:
    """Yield numbers of one answer, by name; an answer without words has no share that is copied.

    `copied share` is that of its sequences of `NUM_WORDS` words that stand in the source as well, after Grusky et al.,
    "Newsroom: A Dataset of 1.3 Million Summaries with Diverse Extractive Strategies", 2018, who ask for the longest
    matches; `longest copied run` is in words.

    Args:
        answer: What was written.
        target: What was to be written, or several ways to say it.
        source: What the answer was to be taken from: the question.
    """
    words = fold_words(answer)
    references = [target] if isinstance(target, str) else target
    expected = fmean(len(fold_words(reference)) for reference in references) if references else 0
    yield "words", len(words)
    if expected:
        yield "ratio to target", len(words) / expected
    if words:
        text = f" {' '.join(fold_words(source))} "
        size = min(NUM_WORDS, len(words))
        parts = [words[start : start + size] for start in range(len(words) - size + 1)]
        yield "copied share", fmean(_join(part) in text for part in parts)
        yield "longest copied run", _find_longest_run(words, text)


def _find_longest_run(words: Sequence[str], text: str) -> int:
    """Return how many words in a row the text has too; the part looked at only moves on."""
    longest = start = 0
    for stop in range(1, len(words) + 1):
        while start < stop and _join(words[start:stop]) not in text:
            start += 1
        longest = max(longest, stop - start)
    return longest


def _join(words: Sequence[str]) -> str:
    return f" {' '.join(words)} "
