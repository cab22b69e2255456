"""A question and an answer that a model wrote -> a question and a target as the task reads and scores them."""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from eshop_ray.data.instructions.material import fold
from eshop_ray.data.instructions.render import Rendered, UnaskableError
from eshop_ray.data.instructions.teacher.commission import Commission
from eshop_ray.data.instructions.teacher.options import Options, read_options, shuffle
from eshop_ray.tasks import get_task
from eshop_ray.tasks.metrics import get_metric
from eshop_ray.tasks.ranking import MAX_OPTIONS
from eshop_ray.tasks.retrieval import MAX_ANSWERS

UNREAD = "a teacher's answer is none that the task's parser reads"
NO_OPTIONS = "a teacher's options cannot be read"
ELSEWHERE = "an entity of a teacher's does not stand in the question"
_DIGITS = 10
_EXACT = 1.0 - 1e-9


def settle(commission: Commission, question: str, answer: str, draw: Random) -> Rendered:
    """Return a question and its answer as a row has them.

    Models like some places of right options better than others, so the order of options is drawn.

    Args:
        commission: What was to be made.
        question: As the teacher wrote it.
        answer: As the teacher wrote it; its task's parser reads it.
        draw: Chooses the order of options.

    Raises:
        UnaskableError: if the two make no question of the task.
    """
    prediction = get_task(commission.task).parse(answer)
    return _SETTLE[commission.task](commission, question, prediction, draw)


def comes_to(commission: Commission, answer: str) -> bool:
    """Whether an answer is the known one, in full."""
    prediction, target = get_task(commission.task).parse(answer), commission.target
    if commission.task == "retrieval":  # its metric forgives numbers that are too many
        return sorted(prediction) == sorted(target[:MAX_ANSWERS])
    return get_metric(commission.metric).score_rows([target], [prediction])[0] >= _EXACT


def _settle_choice(commission: Commission, question: str, prediction: int, draw: Random) -> Rendered:
    if not commission.num_options:
        _check(prediction in commission.grades, UNREAD)
        return Rendered(question, prediction)
    options = _read_options(question, first=0, most=_DIGITS)
    _check(0 <= prediction < len(options.texts), UNREAD)
    order = shuffle(len(options.texts), draw)
    place = order.index(prediction)
    return Rendered(options.arrange(order), place, place, len(order))


def _settle_selection(commission: Commission, question: str, prediction: Sequence[int], draw: Random) -> Rendered:  # noqa: ARG001
    options = _read_options(question, first=0)
    chosen = set(prediction)
    is_read = len(chosen) == len(prediction) and chosen <= set(range(len(options.texts)))
    _check(is_read and 0 < len(chosen) < len(options.texts), UNREAD)
    order = shuffle(len(options.texts), draw)
    right = [place for place, option in enumerate(order) if option in chosen]
    return Rendered(options.arrange(order), right, None, len(order))


def _settle_order(commission: Commission, question: str, prediction: Sequence[int], draw: Random) -> Rendered:  # noqa: ARG001
    options = _read_options(question, first=1, most=MAX_OPTIONS)
    _check(sorted(prediction) == list(range(1, len(options.texts) + 1)), UNREAD)
    order = shuffle(len(options.texts), draw)
    last = len(order) - 1
    gains = [(last - prediction.index(option + 1)) / last for option in order]
    return Rendered(options.arrange(order), gains, None, len(order))


def _settle_spans(commission: Commission, question: str, prediction: Sequence[str], draw: Random) -> Rendered:  # noqa: ARG001
    _check(bool(prediction), UNREAD)
    asked = fold(question)
    _check(all(fold(span) and fold(span) in asked for span in prediction), ELSEWHERE)
    return Rendered(question, [" ".join(span.split()) for span in prediction])


def _settle_text(commission: Commission, question: str, prediction: str, draw: Random) -> Rendered:  # noqa: ARG001
    _check(bool(prediction), "the answer is empty")
    _check(commission.is_quotable or fold(prediction) not in fold(question), "the answer stands in the question")
    return Rendered(question, prediction)


_SETTLE: Mapping[str, Callable[[Commission, str, Any, Random], Rendered]] = {
    "multiple_choice": _settle_choice,
    "retrieval": _settle_selection,
    "ranking": _settle_order,
    "ner": _settle_spans,
    "generation": _settle_text,
}


def _read_options(question: str, first: int, most: int | None = None) -> Options:
    options = read_options(question)
    _check(options is not None and options.first == first, NO_OPTIONS)
    assert options is not None
    _check(options.is_distinct, "two options are the same")
    _check(most is None or len(options.texts) <= most, NO_OPTIONS)
    return options


def _check(holds: bool, reason: str) -> None:
    if not holds:
        raise UnaskableError(reason)
