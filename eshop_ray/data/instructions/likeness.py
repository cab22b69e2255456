"""What two questions of a sub-task are compared by: what they ask about and what is right, not how they ask it."""

from collections.abc import Iterable, Mapping

from eshop_ray.data.instructions.material import Instruction, fold
from eshop_ray.data.instructions.question import Answer, Choice, Grade, Order, Question, Selection, Spans, Text
from eshop_ray.schema import encode

DECIDED = frozenset({"multiple_choice", "ner"})
"""Tasks whose answer is a verdict, or tells which part of a text was asked for: of two offers nearly alike one may be
the same product and the other not, and just these teach most. Rows of unlike answers are not compared."""
VERDICTS = frozenset({"yes", "no"})
"""Texts that are a verdict too."""


def compare_question(group: str, question: Question) -> Mapping[str, str]:
    """Return `compared`, the text of a question, and `within`, of rows among which it is compared.

    Wordings are not part of it: short questions are alike for the words that all of them share. Nor are wrong options.
    """
    answer = question.answer
    asked = question.values.values()
    if isinstance(answer, Spans):  # of one title many attributes may be asked for
        return _compare([*asked, *answer.spans], group, question.values.get("type", ""))
    if isinstance(answer, Text) and fold(answer.text) in VERDICTS:
        return _compare(asked, group, fold(answer.text))
    if isinstance(answer, Choice | Grade):
        verdict = answer.right if isinstance(answer, Choice) else str(answer.value)
        return _compare(asked, group, verdict)
    return _compare([*asked, *_list_answers(answer)], group)


def compare_instruction(group: str, one: Instruction) -> Mapping[str, str]:
    """Return the same of a row that is passed on."""
    verdict = encode(one.target)
    is_decided = one.task in DECIDED or (isinstance(one.target, str) and fold(one.target) in VERDICTS)
    return _compare([one.prompt], group, verdict) if is_decided else _compare([one.prompt, verdict], group)


def _list_answers(answer: Answer) -> list[str]:
    if isinstance(answer, Selection):
        return sorted(answer.right)
    if isinstance(answer, Order):
        return sorted(option for option, _ in answer.options)
    assert isinstance(answer, Text)
    return [answer.text]


def _compare(texts: Iterable[str], *within: str) -> dict[str, str]:
    return {"compared": "\n".join(texts), "within": "\n".join(within)}
