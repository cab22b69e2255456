"""Scores of tagged spans: entity F1 by `seqeval`, strict, scheme IOB2."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from eshop_ray.tasks.metrics.metric import Metric, Numbers, Predictions, Targets, compute_f1, require

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


def _count_rows(targets: Targets, predictions: Predictions) -> Numbers:
    """Return true positives, false positives and false negatives of every row, (n, 3).

    Raises:
        UserError: if `seqeval` is not installed.
        ValueError: if a target has not as many tags as tokens.
    """
    pairs = list(zip(targets, predictions, strict=True))
    if any(len(target["tokens"]) != len(target["tags"]) for target, _ in pairs):
        raise ValueError(f"{ENTITY_F1.name}: a target has not as many tags as tokens")
    expected = _find_entities([list(target["tags"]) for target, _ in pairs])
    found = _find_entities([align_spans(target["tokens"], spans or []) for target, spans in pairs])
    counts = [(len(gold & own), len(own - gold), len(gold - own)) for gold, own in zip(expected, found, strict=True)]
    return np.array(counts, dtype=np.float64)


def _find_entities(tags: list[list[str]]) -> list[set[Any]]:
    """Return the entities of every row, as `seqeval` reads IOB2: strict, an entity needs a B- tag."""
    scheme = require("seqeval.scheme", "seqeval")
    return [set(entities) for entities in scheme.Entities(tags, scheme.IOB2).entities]


def _combine(counts: Numbers) -> Numbers:
    """Return micro F1 over entities; 1 where there is none to find and none was found."""
    f1: Numbers = np.where(counts.any(axis=-1), compute_f1(counts), 1.0)
    return f1


def _score_rows(targets: Targets, predictions: Predictions) -> list[float]:
    scores = _combine(_count_rows(targets, predictions)).tolist()
    return [0.0 if spans is None else score for spans, score in zip(predictions, scores, strict=True)]


ENTITY_F1 = Metric(name="entity f1", score_rows=_score_rows, count_rows=_count_rows, combine=_combine)
"""Targets are `{"tokens": [...], "tags": [BIO tag, ...]}`, predictions `[[span text, type], ...]`.

Source: `seqeval`, which follows the CoNLL-2000 evaluation.
"""
