"""What each task asks about a product, and the digest of all that determines the answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eshop_ray.artifacts import fingerprint
from eshop_ray.tasks import get_task

ASK, ENRICHED, EMPTY, QUARANTINED, DELETED = "ask", "enriched", "empty", "quarantined", "deleted"
"""What becomes of a product's task; all but `ask` stand in the table's column `status`."""

OUTPUT_VERSION = 1
"""Raise it when the table's prediction columns change: every row is then made anew."""

TITLE_CHARACTERS = 200
"""What a summariser's prompt shows of a product's name."""


@dataclass(frozen=True, slots=True)
class PromptContext:
    """What answers depend on besides the product."""

    tasks: tuple[str, ...]
    labels: tuple[str, ...]
    temperature: float
    constrained: bool
    model_digest: str
    max_review_tokens: int


@dataclass(frozen=True, slots=True)
class Question:
    """One task for one product."""

    key: str
    """Digest of the fields that the prompt uses, task and version, sampling, output and model."""
    status: str
    """`ask`, `empty` or `quarantined`."""
    fields: Mapping[str, Any]
    """The task's record fields; empty unless it is to be asked."""
    reason: str | None = None
    message: str | None = None


class UnaskableError(Exception):
    """A product lacks what a task needs: reason code and message."""


def build_question(
    task: str,
    product: Mapping[str, Any],
    reviews: Sequence[Mapping[str, Any]],
    context: PromptContext,
    count_tokens: Callable[[str], int],
) -> Question:
    """Return what to ask.

    Args:
        task: One of `enrich.tasks`.
        product: `name`, `description` (text or None) and `problems` (field -> reason code).
        reviews: The product's reviews with `text` and `votes`.
        context: What else the answer depends on.
        count_tokens: Text -> number of tokens.
    """
    try:
        fields = _FIELDS[task](product, reviews, context, count_tokens)
    except UnaskableError as problem:
        reason, message = problem.args
        key = _key(task, {"reason": reason, **product}, context)
        return Question(key, QUARANTINED, {}, reason, message)
    return Question(_key(task, fields or {}, context), ASK if fields else EMPTY, fields or {})


def select_reviews(
    reviews: Sequence[Mapping[str, Any]], max_tokens: int, count_tokens: Callable[[str], int]
) -> list[str]:
    """Return the texts that fit the budget, the most helpful first; of one that alone is too long, its beginning."""
    ordered = sorted(reviews, key=lambda review: (-review["votes"], review["text"]))
    texts = list(dict.fromkeys(review["text"] for review in ordered))
    if sum(len(text.encode()) + REVIEW_OVERHEAD for text in texts) <= max_tokens:
        return texts  # no token is shorter than a byte
    chosen, left = [], max_tokens
    for text in texts:
        cost = count_tokens(text) + REVIEW_OVERHEAD if left > REVIEW_OVERHEAD else left + 1
        if cost <= left:
            chosen.append(text)
            left -= cost
    return chosen or [_beginning(texts[0], max_tokens - REVIEW_OVERHEAD, count_tokens)]


REVIEW_OVERHEAD = 3
"""Tokens around a review in the prompt: a dash, a blank, a line end."""


def _beginning(text: str, max_tokens: int, count_tokens: Callable[[str], int]) -> str:
    words = text.split()
    low, high = 1, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count_tokens(" ".join(words[:middle])) <= max_tokens else (low, middle - 1)
    return " ".join(words[:low])


def _key(task: str, fields: Mapping[str, Any], context: PromptContext) -> str:
    described = get_task(task)
    asked = [context.temperature, context.constrained, described.max_tokens]
    return fingerprint([task, described.version, OUTPUT_VERSION, asked, context.model_digest, fields])


def _text(product: Mapping[str, Any], name: str) -> str:
    problem = product["problems"].get(name)
    if problem:
        raise UnaskableError(problem, f"`{name}`: {_EXPLAINED[problem]}")
    return product[name] or ""


_EXPLAINED = {"wrong_type": "not text", "too_long": "longer than any model reads", "not_utf8": "half of a character"}


def _tagging_fields(product: Mapping[str, Any], *_: Any) -> dict[str, Any]:
    tokens = _text(product, "name").split()
    if not tokens:
        raise UnaskableError("missing_text", "`name` is missing or empty")
    return {"tokens": tokens}


def _category_fields(product: Mapping[str, Any], _reviews: Any, context: PromptContext, *_: Any) -> dict[str, Any]:
    parts = [" ".join(_text(product, name).split()) for name in ("name", "description")]
    text = "\n".join(part for part in parts if part)
    if not text:
        raise UnaskableError("missing_text", "`name` and `description` are missing or empty")
    if not context.labels:
        raise UnaskableError("no_labels", "the catalogue names no category to choose from; set `catalog.labels`")
    return {"labels": list(context.labels), "text": text}


def _summary_fields(
    product: Mapping[str, Any],
    reviews: Sequence[Mapping[str, Any]],
    context: PromptContext,
    count_tokens: Callable[[str], int],
) -> dict[str, Any] | None:
    """Return None where there is nothing to summarise, which is no one's fault."""
    if not reviews:
        return None
    title = " ".join((product["name"] or "").split())[:TITLE_CHARACTERS]
    return {"title": title, "reviews": select_reviews(reviews, context.max_review_tokens, count_tokens)}


_FIELDS: Mapping[str, Callable[..., dict[str, Any] | None]] = {
    "ner_tagging": _tagging_fields,
    "summarization": _summary_fields,
    "classification": _category_fields,
}
