"""A question -> a row: which wording, in which order the options stand, what the right answer then is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from eshop_ray.data.instructions.material import fold
from eshop_ray.data.instructions.question import (
    TASK_OF,
    Choice,
    Grade,
    Order,
    Question,
    Selection,
    Spans,
    Subtask,
    Text,
)
from eshop_ray.tasks import get_task
from eshop_ray.tasks.base import number_options
from eshop_ray.tasks.ranking import MAX_OPTIONS
from eshop_ray.tasks.retrieval import MAX_ANSWERS

MAX_OPTION_CHARACTERS = 200
MAX_VALUE_CHARACTERS = 3_000
"""Of one text of a question; what is beyond would be cut by training anyway."""
_DIGITS = 10
UNWORDED = "its sub-task has no wording in its language"
UNASKED = "the recipe does not ask in its language"


class UnaskableError(ValueError):
    """A question that must not be asked; the message is the reason, as the card counts it."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a question has become."""

    prompt: str
    target: Any
    """As the task's parser reads it from the answer."""
    position: int | None = None
    """Of the one right option."""
    num_options: int = 0


def choose_language(question: Question, subtask: Subtask, asked: Sequence[str], own: str, draw: Random) -> str:
    """Return the language to ask in.

    A text to write is asked for in the language that it is in: nothing else says in which to answer. Options and spans
    may be asked about in any.

    Args:
        question: What to ask.
        subtask: Whose wordings there are.
        asked: Languages of the recipe's entry; empty: that of the question, else of its material.
        own: Of the material.
        draw: Choices.

    Raises:
        UnaskableError: if the sub-task is not worded in a language that fits, or the recipe asks in none.
    """
    bound = question.language or (own if isinstance(question.answer, Text) else None)
    languages = [bound] if bound else list(asked) or [own]
    worded = [language for language in languages if language in subtask.wordings]
    if not worded:
        raise UnaskableError(UNWORDED)
    fitting = [language for language in worded if not asked or language in asked]
    if not fitting:
        raise UnaskableError(UNASKED)
    return draw.choice(fitting)


def choose_metric(metric: str, language: str) -> str:
    """Return the metric that reads answers of a language, in place of its kin that reads English alone."""
    if metric == "sent-transformer" and language != "en":
        return "multilingual-sent-transformer"
    return "jp-bleu" if metric == "bleu" and language == "ja" else metric


def render(question: Question, subtask: Subtask, language: str, wording: int, draw: Random) -> Rendered:
    """Return the row's question and target.

    Args:
        question: What to ask.
        subtask: Whose question it is.
        language: Of the wording.
        wording: Its number; -1 is the unseen one.
        draw: Choices: those of a wording must not move the options, so it draws for them alone.

    Raises:
        UnaskableError: if a part of the question is empty, the options are not distinct, the answer stands in the
            question, or it could not be read back.
    """
    answer = question.answer
    options, target, position = _arrange(answer, draw)
    if len({fold(option) for option in options}) < len(options):
        raise UnaskableError("two options are the same")
    values = {name: _fit(text, MAX_VALUE_CHARACTERS) for name, text in question.values.items()}
    if not all((*values.values(), *options)):
        raise UnaskableError("a part of the question is empty")
    first = 1 if isinstance(answer, Order) else 0
    prompt = _fill(subtask.wordings[language][wording], values, number_options(options, first))
    if isinstance(answer, Text) and not answer.is_quotable and fold(answer.text) in fold(prompt):
        raise UnaskableError("the answer stands in the question")
    _check_readable(answer, target)
    return Rendered(prompt, target, position, len(options))


def _arrange(answer: Any, draw: Random) -> tuple[list[str], Any, int | None]:
    """Return the options in the order in which they are asked, the target, and where the one right option stands."""
    if isinstance(answer, Choice):
        wrong = [_fit(option, MAX_OPTION_CHARACTERS) for option in answer.wrong]
        draw.shuffle(wrong)
        position = draw.randrange(len(wrong) + 1)
        return [*wrong[:position], _fit(answer.right, MAX_OPTION_CHARACTERS), *wrong[position:]], position, position
    if isinstance(answer, Selection):
        marked = [(option, True) for option in answer.right] + [(option, False) for option in answer.wrong]
        draw.shuffle(marked)
        right = [place for place, (_, is_right) in enumerate(marked) if is_right]
        return [_fit(option, MAX_OPTION_CHARACTERS) for option, _ in marked], right, None
    if isinstance(answer, Order):
        graded = list(answer.options)
        draw.shuffle(graded)
        options = [_fit(option, MAX_OPTION_CHARACTERS) for option, _ in graded]
        return options, [gain for _, gain in graded], None
    if isinstance(answer, Text):
        texts = [" ".join(text.split()) for text in (answer.text, *answer.references)]
        return [], texts if len(texts) > 1 else texts[0], None
    if isinstance(answer, Grade):
        return [], answer.value, None
    assert isinstance(answer, Spans)
    return [], [" ".join(span.split()) for span in answer.spans], None


def _check_readable(answer: Any, target: Any) -> None:
    """Refuse an answer that its task's parser could not read back."""
    if isinstance(answer, Choice) and not 1 <= len(answer.wrong) < _DIGITS:
        raise UnaskableError("there are not enough wrong options")
    if isinstance(answer, Selection) and not (1 <= len(answer.right) <= MAX_ANSWERS and answer.wrong):
        raise UnaskableError("there are not enough options")
    if isinstance(answer, Order) and not (2 <= len(target) <= MAX_OPTIONS and any(target)):
        raise UnaskableError("there is nothing to rank")
    if isinstance(answer, Text | Spans) and not (target and all(target)):
        raise UnaskableError("the answer is empty")


def build_messages(task: str, prompt: str, target: Any) -> list[dict[str, str]]:
    """Return the conversation that a model learns from: the task's instruction, the question and the answer."""
    own = get_task(task)
    return [
        {"role": "system", "content": own.instruction},
        {"role": "user", "content": prompt},
        {"role": "assistant", "content": own.format_target(target)},
    ]


def task_of(question: Question) -> str:
    """Return the task that reads the answer."""
    return TASK_OF[type(question.answer)]


def _fill(wording: str, values: Mapping[str, str], options: str) -> str:
    return wording.format_map({**values, "options": options}).strip()


def _fit(text: str, limit: int) -> str:
    """Return a text on one line, cut at a blank where it is too long."""
    line = " ".join(text.split())
    if len(line) <= limit:
        return line
    head = line[: limit - 3]
    return f"{head.rpartition(' ')[0] or head}..."
