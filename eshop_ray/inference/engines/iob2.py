"""Scores of tags -> the best sequence of tags that IOB2 allows."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float32]


def find_best_tags(scores: Scores, labels: Sequence[str]) -> list[str]:
    """Return the tags of the highest sum of scores in which every `I-` goes on from a tag of its type.

    Source: Viterbi, "Error bounds for convolutional codes", IEEE Transactions on Information Theory 13(2), 1967.

    Args:
        scores: Log-probability of each tag for each word, (words, labels); at least one word.
        labels: The tags.
    """
    allowed = _build_transitions(tuple(labels))
    is_first = np.array([0.0 if not label.startswith("I-") else -np.inf for label in labels])
    best = scores[0] + is_first
    back = np.zeros(scores.shape, dtype=np.int64)
    for place in range(1, len(scores)):
        paths = best[:, None] + allowed
        back[place] = paths.argmax(0)
        best = paths.max(0) + scores[place]
    chosen = [int(best.argmax())]
    for place in range(len(scores) - 1, 0, -1):
        chosen.append(int(back[place][chosen[-1]]))
    return [labels[number] for number in reversed(chosen)]


def _build_transitions(labels: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return 0 where a tag may follow another, (before, after), and minus infinity where it may not."""
    transitions = np.zeros((len(labels), len(labels)))
    for after, label in enumerate(labels):
        if label.startswith("I-"):
            may = np.array([before[:1] in ("B", "I") and before[2:] == label[2:] for before in labels])
            transitions[~may, after] = -np.inf
    return transitions
