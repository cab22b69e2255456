"""Known defects of published question files: what can be mended, and what must be refused."""

import re
from collections.abc import Sequence


class AnswerError(ValueError):
    """A question or answer that cannot be used; the message says why."""


_OPTION = re.compile(r"^[ \t]*(?:[A-Z]\w*:[ \t]*)?(\d{1,2})\.(?!\d)", re.MULTILINE)
_INLINE_OPTION = re.compile(r"(?:^|\s)(\d)\.\s")
_SCALE = re.compile(r"\b([0-9])\s*(?:to|-|and)\s*([0-9])\b")
_FINAL_ANSWER = re.compile(r"the answer is (\d)\.?\s*$")
_STEP_BY_STEP = re.compile(r"\s*Let's think step by step\.?\s*$")
_SOLUTION_MARK = "\n#### "


def is_reasoning(prompt: str, answer: str) -> bool:
    """Whether an answer reasons towards a result instead of stating it."""
    return bool(_STEP_BY_STEP.search(prompt)) or _SOLUTION_MARK in answer


def final_answer(prompt: str, answer: str) -> tuple[str, int]:
    """Return the question without the request to reason, and the number of the option that the text ends on."""
    match = _FINAL_ANSWER.search(answer)
    if match is None or len(option_numbers(prompt)) < 2:
        raise AnswerError("a reasoning text without the number of one option as its final answer")
    return _STEP_BY_STEP.sub(" ", prompt), int(match[1])


def renumber_options(prompt: str) -> str | None:
    """Number options such as 0, 1, 3 without the gap (answers count positions); None where there is no gap."""
    options = _options(prompt)
    numbers = [int(option[1]) for option in options]
    if numbers[:1] != [0] or numbers == list(range(len(numbers))) or numbers != sorted(set(numbers)):
        return None
    for position, option in reversed(list(enumerate(options))):
        prompt = prompt[: option.start(1)] + str(position) + prompt[option.end(1) :]
    return prompt


def option_numbers(prompt: str) -> list[int]:
    """Return the numbers that stand at the head of the option lines, from the last line numbered 0 or 1."""
    return [int(option[1]) for option in _options(prompt)]


def check_options(prompt: str, target: int | Sequence[int]) -> None:
    """Raise AnswerError if an answer names an option that the question does not offer.

    Answers follow the numbers printed in the question, from whichever they count. Where options are not set out
    in lines, those within a line and rating scales such as `1 to 5` are accepted.
    """
    chosen = {target} if isinstance(target, int) else set(target)
    offered = set(option_numbers(prompt))
    if len(offered) < 2 or not chosen <= offered:
        offered |= {int(number) for number in _INLINE_OPTION.findall(prompt)} if len(offered) < 2 else set()
        for low, high in _SCALE.findall(prompt):
            offered.update(range(int(low), int(high) + 1))
    if not chosen <= offered:
        missing = ", ".join(str(number) for number in sorted(chosen - offered))
        raise AnswerError(f"answer {missing} is none of the question's options")


def _options(prompt: str) -> list[re.Match[str]]:
    lines = list(_OPTION.finditer(prompt))
    heads = [position for position, line in enumerate(lines) if line[1] == "0"]
    if not heads:
        heads = [position for position, line in enumerate(lines) if line[1] == "1"]
        return lines[heads[-1] :] if heads and _is_run(lines[heads[-1] :]) else []
    return lines[heads[-1] :] if len(lines) - heads[-1] > 1 else []


def _is_run(lines: Sequence[re.Match[str]]) -> bool:
    numbers = [int(line[1]) for line in lines]
    return len(numbers) > 1 and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
