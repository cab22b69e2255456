"""The competition's way of asking: batch after batch, each timed, and every answer checked before any is scored."""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from eshop_ray.errors import UserError
from eshop_ray.evaluation.shopbench.questions import Question
from eshop_ray.evaluation.shopbench.tracks import ALL_AROUND, BUDGET_SECONDS, MAX_BATCH_SIZE, SECONDS_PER_SAMPLE

Track = int | None


class BatchModel(Protocol):
    """What a KDD Cup submission offers as `UserModel`.

    Source: `models/base_model.py` of the starter kit `AIcrowd/amazon-kdd-cup-2024-starter-kit`.
    """

    def get_batch_size(self) -> int:
        """Return how many questions the next batch may hold, 1 to 16."""

    def batch_predict(self, batch: dict[str, Any], is_multiple_choice: bool) -> list[str]:
        """Return one answer per question.

        Args:
            batch: `prompt`, the questions.
            is_multiple_choice: Whether all of them are multiple choices; none is, otherwise.
        """


class ModelError(Exception):
    """A model failed on a batch; the message says how."""


@dataclass(slots=True)
class TrackTime:
    """Wall time of one track."""

    num_questions: int = 0
    num_batches: int = 0
    seconds: float = 0.0
    longest_seconds_per_sample: float = 0.0
    """Of the slowest batch."""
    num_over_limit: int = 0
    """Batches that took more than `SECONDS_PER_SAMPLE` for each of their questions."""

    def add(self, num_questions: int, seconds: float) -> None:
        """Account for a batch."""
        self.num_questions += num_questions
        self.num_batches += 1
        self.seconds += seconds
        self.longest_seconds_per_sample = max(self.longest_seconds_per_sample, seconds / num_questions)
        self.num_over_limit += seconds > SECONDS_PER_SAMPLE * num_questions


@dataclass(slots=True)
class Answers:
    """What a model said, and how long it took."""

    texts: dict[str, str] = field(default_factory=dict)
    """Id of a question -> answer."""
    times: dict[Track, TrackTime] = field(default_factory=lambda: defaultdict(TrackTime))


def answer_questions(model: BatchModel, questions: Sequence[Question]) -> Answers:
    """Have a model answer all questions, track after track, multiple choices apart from others.

    Raises:
        UserError: naming batch and rows, if the model fails or returns anything but one text per question.
    """
    answers = Answers()
    number = 0
    for group in _group(questions):
        rest = list(group)
        while rest:
            number += 1
            size = _read_batch_size(model)
            batch, rest = rest[:size], rest[size:]
            started = time.perf_counter()
            texts = _predict(model, batch, number)
            answers.times[batch[0].track].add(len(batch), time.perf_counter() - started)
            answers.texts.update(zip((question.id for question in batch), texts, strict=True))
    return answers


def account(times: Mapping[Track, TrackTime], start_seconds: float) -> dict[str, dict[str, Any]]:
    """Hold each track's time against its budget.

    In the competition each track is a run of its own, so the start counts in each of them; the all-around track
    answers all questions in one.

    Args:
        times: Of the tracks.
        start_seconds: Until the model could be asked.

    Returns:
        Track's number, or `none` for questions of no track -> fields of `TrackTime`, `seconds` with the start,
        `budget_seconds`, `is_within`; of the last two None where there is no budget.
    """
    told = {}
    for track, one in sorted(times.items(), key=lambda item: item[0] or 0):
        told["none" if track is None else str(track)] = _account(one, track, start_seconds)
    if all(track is not None for track in times):
        whole = TrackTime(
            sum(one.num_questions for one in times.values()),
            sum(one.num_batches for one in times.values()),
            sum(one.seconds for one in times.values()),
            max(one.longest_seconds_per_sample for one in times.values()),
            sum(one.num_over_limit for one in times.values()),
        )
        told[str(ALL_AROUND)] = _account(whole, ALL_AROUND, start_seconds)
    return told


def _account(one: TrackTime, track: Track, start_seconds: float) -> dict[str, Any]:
    seconds = one.seconds + start_seconds
    budget = None if track is None else BUDGET_SECONDS[track]
    is_within = None if budget is None else seconds <= budget and not one.num_over_limit
    return {**asdict(one), "seconds": seconds, "budget_seconds": budget, "is_within": is_within}


def _group(questions: Sequence[Question]) -> Iterator[list[Question]]:
    groups: dict[tuple[int, bool], list[Question]] = defaultdict(list)
    for question in questions:
        groups[question.track or 0, not question.is_multiple_choice].append(question)
    for key in sorted(groups):
        yield groups[key]


def _read_batch_size(model: BatchModel) -> int:
    try:
        size = model.get_batch_size()
    except ModelError as error:
        raise UserError(f"get_batch_size: {error}") from None
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= MAX_BATCH_SIZE:
        raise UserError(f"get_batch_size returned {size!r}; it has to be a whole number from 1 to {MAX_BATCH_SIZE}")
    return size


def _predict(model: BatchModel, batch: Sequence[Question], number: int) -> list[str]:
    places = f"batch {number} ({len(batch)} questions, {batch[0].place} to {batch[-1].place})"
    prompts = [question.prompt for question in batch]
    try:
        texts: Any = model.batch_predict({"prompt": prompts}, batch[0].is_multiple_choice)
    except ModelError as error:
        raise UserError(f"{places}: {error}; no score is made of the other answers") from None
    if not isinstance(texts, list) or len(texts) != len(batch):
        found = f"{len(texts)} answers" if isinstance(texts, list) else f"a {type(texts).__name__}"
        raise UserError(f"{places}: batch_predict returned {found} instead of a list of {len(batch)} texts")
    for question, text in zip(batch, texts, strict=True):
        if not isinstance(text, str):
            raise UserError(f"{places}: the answer to {question.place} is a {type(text).__name__}, not a text")
    return texts
