"""What each task asks about a product, and the digest of all that determines the answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eshop_ray.artifacts import fingerprint
from eshop_ray.enrichment.templates import Prompt, Template
from eshop_ray.inference.answer_identity import identify_task
from eshop_ray.tasks.product import ATTRIBUTES, LABELS, REVIEWS, UnaskableError

ASK, ENRICHED, EMPTY, QUARANTINED, DELETED = "ask", "enriched", "empty", "quarantined", "deleted"
"""What becomes of a product's task; all but `ask` stand in the table's column `status`."""

OUTPUT_VERSION = 1
"""Raise it when the table's prediction columns change: every row is then made anew."""


@dataclass(frozen=True, slots=True)
class PromptContext:
    """What answers depend on besides the product."""

    templates: Mapping[str, Template]
    """What is asked, by the names of `enrich.tasks`."""
    answers: str
    """Digest of model, engine and sampling; see `identify_answers`."""
    max_review_tokens: int
    model_digest: str = ""

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of `enrich.tasks`."""
        return tuple(self.templates)


@dataclass(frozen=True, slots=True)
class Question:
    """One task for one product."""

    status: str
    """`ask`, `empty` or `quarantined`."""
    fields: Mapping[str, Any]
    """The task's record fields; empty unless it is to be asked."""
    prompt_id: str | None = None
    """Of the prompt that asks, or would ask; None: nothing is asked about products of this category."""
    reason: str | None = None
    message: str | None = None
    seen: Mapping[str, Any] | None = None
    """What keys were made of before they were made by columns; None: `fields`."""


def build_question(
    template: Template,
    product: Mapping[str, Any],
    reviews: Sequence[Mapping[str, Any]],
    context: PromptContext,
    count_tokens: Callable[[str], int],
) -> Question:
    """Return what to ask.

    Args:
        template: What is asked.
        product: The columns that tasks read (text or None) and `problems` (column -> reason code).
        reviews: The product's reviews with `text` and `votes`.
        context: What else the answer depends on.
        count_tokens: Text -> number of tokens.
    """
    form, prompt = template.form, template.find_prompt(product.get("category"))
    prompt_id = prompt.prompt_id if prompt else None
    try:
        values = _read_values(template, prompt, product, reviews, context, count_tokens)
        fields = form.build(values) if all(values[name] for name in form.empty_without) else {}
    except UnaskableError as problem:
        reason, message = problem.args
        seen = {name: product.get(name) for name in (*form.columns, "problems")}
        return Question(QUARANTINED, {}, prompt_id, reason, message, {"reason": reason, **seen})
    return Question(ASK if fields else EMPTY, fields, prompt_id)


def identify_question(template: Template, context: PromptContext) -> str:
    """Return the digest of what a question's answers depend on besides the product and its category's attributes.

    Its name is none of it: what is asked by two names is asked once.
    """
    form, own = template.form, template.own_words
    labels = template.labels if LABELS in form.fields else None
    max_review_tokens = context.max_review_tokens if REVIEWS in form.fields else None
    asked = [identify_task(template.task), OUTPUT_VERSION, context.answers, form.columns, labels, max_review_tokens]
    return fingerprint([*asked, *own])


def identify_attributes(prompt: Prompt) -> str:
    """Return the digest of the attributes that are asked for; empty where none are."""
    return fingerprint(prompt.attributes) if prompt.attributes else ""


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


def build_former_key(template: Template, question: Question, context: PromptContext) -> str:
    """Return the key that a row of the table has which was written before keys were made by columns."""
    seen = question.fields if question.seen is None else question.seen
    asked = [identify_task(template.task), OUTPUT_VERSION, context.answers, seen]
    return fingerprint([*asked, *template.own_words])


FORMER_KEY_CHARACTERS = 64


def _read_values(
    template: Template,
    prompt: Prompt | None,
    product: Mapping[str, Any],
    reviews: Sequence[Mapping[str, Any]],
    context: PromptContext,
    count_tokens: Callable[[str], int],
) -> dict[str, Any]:
    form = template.form
    values: dict[str, Any] = {name: product.get(name) or "" for name in form.columns}
    for name in form.fields:
        if name == REVIEWS:
            values[name] = select_reviews(reviews, context.max_review_tokens, count_tokens) if reviews else []
        elif name == LABELS:
            values[name] = template.labels
        elif name == ATTRIBUTES:
            values[name] = prompt.attributes if prompt else None
        elif problem := product["problems"].get(name):
            raise UnaskableError(problem, f"`{name}`: {_EXPLAINED[problem]}")
    return values


_EXPLAINED = {"wrong_type": "not text", "too_long": "longer than any model reads", "not_utf8": "half of a character"}
