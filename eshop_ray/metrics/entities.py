"""Scores of tagged spans: entity F1 by `seqeval`, strict, scheme IOB2."""

from collections.abc import Mapping, Sequence
from typing import Any

from eshop_ray.metrics.metric import Metric, Predictions, Targets, require, score_each

OUTSIDE = "O"
"""The tag, and the span type, of words that belong to no entity."""


def align_spans(tokens: Sequence[str], spans: Sequence[Sequence[str]]) -> list[str]:
    """Lay predicted spans over the tokens and return one BIO tag per token.

    Spans are laid from left to right: each takes the first place, from the end of the span before it, where its
    words stand. A span whose words stand nowhere ahead is left out, and costs only itself. Spans of type `O`
    give no tag, but move the place on, so that a word that occurs twice is tagged where it was meant.

    Args:
        tokens: Words of the text.
        spans: `[text, type]` pairs; the text's words are separated by blanks.
    """
    tags = [OUTSIDE] * len(tokens)
    position = 0
    for text, entity_type in spans:
        words = text.split()
        start = _find_words(tokens, words, position)
        if start is None:
            continue
        position = start + len(words)
        if entity_type != OUTSIDE:
            tags[start:position] = [f"B-{entity_type}", *[f"I-{entity_type}"] * (len(words) - 1)]
    return tags


def _find_words(tokens: Sequence[str], words: Sequence[str], position: int) -> int | None:
    if not words:
        return None
    starts = range(position, len(tokens) - len(words) + 1)
    return next((start for start in starts if list(tokens[start : start + len(words)]) == list(words)), None)


def _score_tags(expected: list[list[str]], found: list[list[str]]) -> float:
    """Return micro F1 over entities; 1 where there is none to find and none was found.

    Source: `seqeval`, which follows the CoNLL-2000 evaluation; strict: an entity needs a B- tag.

    Raises:
        UserError: if `seqeval` is not installed.
    """
    metrics: Any = require("seqeval.metrics", "seqeval")
    scheme = require("seqeval.scheme", "seqeval").IOB2
    return float(metrics.f1_score(expected, found, mode="strict", scheme=scheme, zero_division=1))


def _score_row(target: Mapping[str, Sequence[str]], spans: Sequence[Sequence[str]]) -> float:
    return _score_tags([list(target["tags"])], [align_spans(target["tokens"], spans)])


def _aggregate(targets: Targets, predictions: Predictions) -> float:
    pairs = list(zip(targets, predictions, strict=True))
    expected = [list(target["tags"]) for target, _ in pairs]
    found = [align_spans(target["tokens"], spans or []) for target, spans in pairs]
    return _score_tags(expected, found)


ENTITY_F1 = Metric(
    name="entity f1",
    score_rows=lambda targets, predictions: score_each(_score_row, targets, predictions),
    aggregate=_aggregate,
)
"""Targets are `{"tokens": [...], "tags": [BIO tag, ...]}`, predictions `[[span text, type], ...]`."""
