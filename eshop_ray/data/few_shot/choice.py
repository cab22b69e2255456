"""Which training rows stand before which questions of a group: plain decisions over plain values."""

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from eshop_ray.data.few_shot.candidates import Barred, Questions
from eshop_ray.schema import content_id, encode

BLOCK_BYTES = 64 << 20
"""Similarities that are held at a time."""

Embeddings = NDArray[np.float32]
"""One row per text, of length 1."""

Chosen = list[list[int]]
"""Per question, places in the pool, in the order in which they are shown."""

IDENTICAL, RELATED = "identical", "same_cluster"
"""Why a training row that would have been taken was passed over."""


def draw_random(pool: Questions, seed: int) -> list[int]:
    """Return all of a pool in an order that only ids and seed decide: another row moves no other."""
    return sorted(range(len(pool)), key=lambda place: content_id("few_shot", str(seed), pool.ids[place]))


def draw_balanced(pool: Questions, seed: int) -> list[int]:
    """Return all of a pool in such an order that the first k have each answer as evenly as k allows.

    Which answers come first, where k is less than there are, is drawn too.
    """
    by_label: defaultdict[str, list[int]] = defaultdict(list)
    for place in draw_random(pool, seed):
        by_label[encode(pool.targets[place])].append(place)
    turns = [(turn, label, place) for label, places in by_label.items() for turn, place in enumerate(places)]
    drawn = {label: content_id("few_shot", str(seed), label) for label in by_label}
    return [place for _, _, place in sorted(turns, key=lambda one: (one[0], drawn[one[1]]))]


def has_labels(pool: Questions) -> bool:
    """Return whether answers come often enough to be balanced: not if most rows have one of their own."""
    return 2 * len({encode(target) for target in pool.targets}) <= len(pool)


def take_first(
    order: Sequence[int], questions: Questions, barred: Barred, num_examples: int
) -> tuple[Chosen, Counter[str]]:
    """Give each question the first rows of an order that it may have, and count those that were passed over."""
    chosen: Chosen = []
    passed: Counter[str] = Counter()
    for number in range(len(questions)):
        identical, related = barred.find(questions, number)
        taken: list[int] = []
        for place in order:
            if len(taken) == num_examples:
                break
            if place in identical or place in related:
                passed[IDENTICAL if place in identical else RELATED] += 1
            else:
                taken.append(place)
        chosen.append(taken)
    return chosen, passed


def take_nearest(
    questions: Questions,
    embeddings: Embeddings,
    pool: Embeddings,
    barred: Barred,
    num_examples: int,
    block_bytes: int = BLOCK_BYTES,
) -> tuple[Chosen, Counter[str]]:
    """Give each question the rows of the pool whose embeddings have the largest cosine with its own, the largest last.

    Args:
        questions: n of them.
        embeddings: Theirs, (n, d).
        pool: Those of the training rows, (m, d).
        barred: What a question may not have.
        num_examples: Rows for each.
        block_bytes: Similarities held at a time; the whole matrix of 65,000 by 10,000 would take 2.6 GB.

    Returns:
        The rows, and how many nearer ones were passed over.
    """
    chosen: Chosen = []
    passed: Counter[str] = Counter()
    if not len(pool):
        return [[] for _ in questions.ids], passed
    num_taken = min(num_examples, len(pool))
    num_rows = max(1, block_bytes // (4 * len(pool)))
    for start in range(0, len(questions), num_rows):
        block = embeddings[start : start + num_rows] @ pool.T
        for number, cosines in enumerate(block, start):
            taken = _take(cosines, *barred.find(questions, number), num_taken, passed)
            chosen.append(taken)
    return chosen, passed


def _take(
    cosines: NDArray[np.float32], identical: set[int], related: set[int], num_taken: int, passed: Counter[str]
) -> list[int]:
    kept = {reason: cosines[sorted(places)] for reason, places in ((IDENTICAL, identical), (RELATED, related))}
    cosines[sorted(identical | related)] = -np.inf
    nearest = np.argpartition(-cosines, num_taken - 1)[:num_taken]
    nearest = nearest[np.lexsort((nearest, cosines[nearest]))]
    nearest = nearest[np.isfinite(cosines[nearest])]
    least = cosines[nearest[0]] if len(nearest) == num_taken else -np.inf
    for reason, barred in kept.items():
        passed[reason] += int((barred >= least).sum())
    return [int(place) for place in nearest]
