"""Whether a night's first answers are such as the table has: if not, nothing of the night is committed."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from eshop_ray.config import EnrichSection
from eshop_ray.enrichment.canary.noise import find_median_bounds, get_distance, is_above, is_another_mix
from eshop_ray.enrichment.canary.reference import Reference
from eshop_ray.enrichment.canary.sample import Answered
from eshop_ray.errors import UserError
from eshop_ray.schema import Row, decode
from eshop_ray.tasks import Task

MIN_REFERENCE = 50
"""Rows of the table below which nothing is compared with them."""
MIN_TOKENS_APART = 8
"""Generated tokens by which two medians differ at least, whatever their ratio: labels have few, more or less."""
_NUM_SHOWN = 3
_MAX_LABEL = 40
_OTHERS = "answers that the table does not have"


class CanaryError(UserError):
    """The canary's answers are not such as the table has; nothing of the night is committed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What may differ, as `enrich.canary_...` sets it."""

    max_failed_share: float
    max_label_shift: float
    max_length_ratio: float

    @classmethod
    def from_config(cls, config: EnrichSection) -> "Limits":
        """Take them from the config."""
        return cls(config.canary_max_failed_share, config.canary_max_label_shift, config.canary_max_length_ratio)


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that moved too far."""

    what: str
    """In words, from what to what."""
    products: Sequence[str]
    """Ids of those whose answers show it."""
    setting: str
    """What lets it through, e.g. `enrich.canary_max_failed_share=1`."""


class Canary:
    """Takes the reports of the canary's shards, and judges them once they are all there."""

    def __init__(
        self,
        shards: Iterable[Row],
        references: Mapping[str, Reference],
        limits: Limits,
        model_digest: str,
        tasks: Mapping[str, Task],
    ) -> None:
        """Begin.

        Args:
            shards: Those of the canary: `shard` and `task`.
            references: Task -> its rows in the table.
            limits: What may differ.
            model_digest: Of the model that answers tonight.
            tasks: What the names of tasks stand for.
        """
        self._names = {shard["shard"]: str(shard["task"]) for shard in shards}
        self._open = set(self._names)
        self._tasks = tasks
        self._references, self._limits, self._model = references, limits, model_digest
        self._answers: dict[str, list[Answered]] = {name: [] for name in sorted(set(self._names.values()))}

    @property
    def is_complete(self) -> bool:
        """Whether all of its answers are there."""
        return not self._open

    def add(self, report: Row) -> None:
        """Take the report of any shard; those of others are none of the canary's business."""
        if report["shard"] in self._open:
            self._open.discard(report["shard"])
            self._answers[self._names[report["shard"]]] += [Answered(*values) for values in report["answers"]]

    def judge(self) -> None:
        """Judge the answers that are there.

        Raises:
            CanaryError: naming the task, what moved, three products, and the setting that lets it through.
        """
        for task, answers in self._answers.items():
            reference = self._references[task]
            for trouble in find_trouble(self._tasks[task], answers, reference, self._limits):
                shown = ", ".join(trouble.products[:_NUM_SHOWN])
                raise CanaryError(
                    f"{task}: in the canary, the first {len(answers)} answers of the night, {trouble.what} (e.g. "
                    f"{shown}); nothing was changed. {self._word_cause(reference)}; or, if that is right, run it once "
                    f"with {trouble.setting}"
                )

    def describe(self) -> list[dict[str, Any]]:
        """Return what was compared, task by task, as plain values.

        Each has `task`, `num_answers` and `num_compared` (rows of the table); `failed_share`, `length` (median of
        generated tokens) and their `..._before`; `label_shift`, total variation distance. None where nothing tells.
        """
        return [
            {"task": name, **_describe(self._tasks[name], answers, self._references[name])}
            for name, answers in self._answers.items()
            if answers
        ]

    def _word_cause(self, reference: Reference) -> str:
        if reference.models and self._model not in reference.models:
            return "The model is another than that of the table's rows (`enrich.model`): look at its answers"
        return "Look at the model, the engine's version and its settings, and at what kind of products came"


def find_trouble(task: Task, answers: Sequence[Answered], reference: Reference, limits: Limits) -> Iterator[Trouble]:
    """Yield what moved too far, and further than chance moves it.

    Args:
        task: Whose answers.
        answers: Of tonight.
        reference: Rows of the table; with fewer than `MIN_REFERENCE` only failures are judged, by their number alone.
        limits: What may differ.
    """
    is_comparable = reference.num_rows >= MIN_REFERENCE
    yield from _judge_failures(answers, reference.failed_share if is_comparable else 0.0, limits.max_failed_share)
    good = [answer for answer in answers if not answer.failed]
    if good and is_comparable:
        if has_choice(task):
            yield from _judge_labels(good, reference, limits.max_label_shift)
        yield from _judge_lengths(good, reference, limits.max_length_ratio)


def has_choice(task: Task) -> bool:
    """Whether a task's answers are one of a few, so that their mix can be compared."""
    return any("choice" in (task.output(example) or {}) for example in task.examples)


def _judge_failures(answers: Sequence[Answered], before: float, limit: float) -> Iterator[Trouble]:
    failed = [answer.product_id for answer in answers if answer.failed]
    if is_above(len(failed), len(answers), min(before + limit, 1.0)):
        yield Trouble(
            f"{len(failed) / len(answers):.1%} failed or could not be read, of the table's rows {before:.1%}; "
            f"enrich.canary_max_failed_share={limit:g} allows that much more",
            failed,
            "enrich.canary_max_failed_share=1",
        )


def _judge_labels(good: Sequence[Answered], reference: Reference, limit: float) -> Iterator[Trouble]:
    now, before = count_predictions(good), reference.predictions
    distance = get_distance(now, before)
    if distance > limit and is_another_mix(now, before):
        known = {label: (before[label] / reference.num_rows, now[label] / len(good)) for label in before}
        others = sum(number for label, number in now.items() if label not in before) / len(good)
        moved = max(known, key=lambda label: (abs(known[label][1] - known[label][0]), label))
        name, (was, has) = f"`{_show(moved)}`", known[moved]
        if others > abs(has - was):
            name, was, has = _OTHERS, 0.0, others
        more = [one.product_id for one in good if now[one.prediction or ""] / len(good) > _share(before, one)]
        yield Trouble(
            f"the mix of answers is another than that of {reference.num_rows} rows of the table: {name} went from "
            f"{was:.1%} to {has:.1%}; {distance:.2f} of the answers moved (total variation distance), more than "
            f"enrich.canary_max_label_shift={limit:g} allows",
            more,
            "enrich.canary_max_label_shift=1",
        )


def _judge_lengths(good: Sequence[Answered], reference: Reference, limit: float) -> Iterator[Trouble]:
    lengths = [answer.num_tokens for answer in good]
    was, has = median(reference.num_tokens), median(lengths)
    if not was or not has:  # an encoder, which generates nothing, answers now or did so before
        return
    low, high = find_median_bounds(lengths)
    low_before, high_before = find_median_bounds(reference.num_tokens)
    is_longer, is_shorter = low > limit * high_before, high * limit < low_before
    if abs(has - was) >= MIN_TOKENS_APART and (is_longer or is_shorter):
        ordered = sorted(good, key=lambda answer: answer.num_tokens, reverse=is_longer)
        ratio = max(has, was) / max(min(has, was), 1)
        yield Trouble(
            f"the median length went from {was:g} to {has:g} generated tokens, more than "
            f"enrich.canary_max_length_ratio={limit:g} allows",
            [answer.product_id for answer in ordered],
            f"enrich.canary_max_length_ratio={int(ratio) + 1}",
        )


def count_predictions(good: Iterable[Answered]) -> Counter[str]:
    """Return JSON text -> answers that say it."""
    return Counter(answer.prediction or "" for answer in good)


def _share(before: Counter[str], answer: Answered) -> float:
    return before[answer.prediction or ""] / before.total()


def _show(label: str) -> str:
    return str(decode(label))[:_MAX_LABEL]


def _describe(task: Task, answers: Sequence[Answered], reference: Reference) -> dict[str, Any]:
    good = [answer for answer in answers if not answer.failed]
    is_compared = reference.num_rows > 0
    has_mix = bool(good) and is_compared and has_choice(task)
    return {
        "num_answers": len(answers),
        "num_compared": reference.num_rows,
        "failed_share": 1 - len(good) / len(answers),
        "failed_share_before": reference.failed_share if is_compared else None,
        "length": median(answer.num_tokens for answer in good) if good else None,
        "length_before": median(reference.num_tokens) if is_compared else None,
        "label_shift": get_distance(count_predictions(good), reference.predictions) if has_mix else None,
    }
