"""A question's task type, from its text alone: the hidden test set says neither the type nor the metric.

What a question asks for stands outside its list of options, its quotations and the text that it is about: a product
that is called "rank" asks for no ranking.
"""

import re

from eshop_ray.data.sources.repairs import option_numbers

TaskType = str
"""Name of the task of `eshop_ray.tasks` whose instruction, constraint and parser a question takes."""

TASK_TYPES: tuple[TaskType, ...] = (
    *("multiple_choice", "classification", "ranking", "retrieval", "ner", "generation"),
)
"""ShopBench's five, and `classification` for questions that want yes or no, which EC-Guide has too."""

MAX_CHOICES = 10
"""A multiple choice is answered by one digit: a longer list is one to search."""

_OPTION_LINE = re.compile(r"^[ \t]*(?:[A-Z][\w ]*:[ \t]*)?\d{1,2}[.:)](?!\d).*$", re.MULTILINE)
_INLINE_OPTIONS = re.compile(r"\s0\. \S.*?\s1\. \S.*?\s2\. \S", re.DOTALL)
_SUBJECT = re.compile(
    r"^[ \t]*(?:Query|Text|Review|Product(?: \w+)?|Input|Description|Title|Sentence|Question)[ \t]*[:\uff1a].*$",
    re.MULTILINE | re.IGNORECASE,
)
"""Lines that hold what the question is about."""
_QUOTATION = re.compile(r"(?<!\w)'(?:[^'\n]|'(?=\w))*'(?!\w)|\"[^\"\n]*\"")

_RANKING = re.compile(
    r"\b(?:re-?)?rank(?:s|ed|ing)?\b|\bpermutation\b|\b(?:sort|arrange) (?:the|these|them|all)\b"
    r"|\border (?:the|these|them|all)\b[^.\n]*\b(?:from|by)\b",
    re.IGNORECASE,
)
_SEVERAL = re.compile(
    r"\b(?:indices|indexes)\b|\bcommas?\b|\b(?:two|three|several|[2-9]) numbers\b"
    r"|\b(?:which|select|choose|pick|identify|find|list|mark|retrieve|return|output|name)\b[^.?\n]*"
    r"\b(?:two|three|several|all|every|any|[2-9])\b[^.?\n]*"
    r"\b(?:aspects|snippets|phrases|products|queries|options|candidates|ones|that)\b",
    re.IGNORECASE,
)
_ENTITY = re.compile(r"\b(?:named[ -])?entit(?:y|ies)\b|\battribute value", re.IGNORECASE)
_PART_OF_TITLE = re.compile(
    r"\b(?:identify|locate|determine|find|select|extract|choose|copy|which words)\b[^.\n]*"
    r"\b(?:in|of|from|within)\b (?:the|this) (?:following )?(?:product )?(?:title|query)\b(?! and)"
    r"|\b(?:product )?title\b\W+\b(?:select|choose|find|locate|identify) the\b",
    re.IGNORECASE,
)
_KEYWORDS = re.compile(r"\bkey ?(?:words?|terms?)\b", re.IGNORECASE)
_YES_OR_NO = re.compile(
    r"\b(?:output|answer|respond|return|reply|say|write|generate|provide)\b[^\n]*\byes\b[^\n]*\bno\b", re.IGNORECASE
)
_SCALE = re.compile(
    r"\b(?:scale|rate|rating|score|evaluate)\b[^.\n]*\b[01]\s*(?:to|-|and|through)\s*[3-9]\b"
    r"|\b[01]\s*(?:to|-)\s*[3-9]\b[^.\n]*\b(?:scale|rating|score|stars?)\b",
    re.IGNORECASE,
)
_NUMBER_OPTION = re.compile(r"^[ \t]*\d{1,2}[.:)][ \t]*[$€£]?[ \t]*\d", re.MULTILINE)
_QUANTITY = re.compile(
    r"\bhow (?:many|much|far|long|old|tall|heavy|fast)\b|\b(?:total|altogether|difference|sum|average|number of)\b"
    r"|\bin all\b|\bpercent|\bremain|\bleft\b",
    re.IGNORECASE,
)


def infer_task_type(prompt: str) -> TaskType:
    """Return the type that a question's wording asks for, one of `TASK_TYPES`."""
    asked = _drop_subject(prompt)
    num_options = len(option_numbers(prompt))
    if _RANKING.search(asked) and (num_options > 1 or "permutation" in asked.lower()):
        return "ranking"
    if num_options > 1:
        return "retrieval" if num_options > MAX_CHOICES or _SEVERAL.search(asked) else "multiple_choice"
    if _INLINE_OPTIONS.search(prompt):
        return "multiple_choice"
    if _ENTITY.search(asked) or (_PART_OF_TITLE.search(asked) and not _KEYWORDS.search(asked)):
        return "ner"
    if _YES_OR_NO.search(asked):
        return "classification"
    return "multiple_choice" if _SCALE.search(asked) else "generation"


def is_arithmetic(prompt: str) -> bool:
    """Whether a question with options wants a number worked out: most options are numbers, and a quantity is asked."""
    num_options = len(option_numbers(prompt))
    are_numbers = num_options > 1 and 2 * len(_NUMBER_OPTION.findall(prompt)) > num_options
    return are_numbers and bool(_QUANTITY.search(_OPTION_LINE.sub("", prompt)))


def _drop_subject(prompt: str) -> str:
    """Return the question without options, quotations and the lines that hold what it is about."""
    return _QUOTATION.sub("", _SUBJECT.sub("", _OPTION_LINE.sub("", prompt)))
