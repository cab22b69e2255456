"""The loss of a pack: that of its answer tokens, and nothing else computed for the head.

It is their cross entropy; where a teacher speaks of them, how far the model is from it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from eshop_ray.training.kernels.frozen_head import FrozenHead
from eshop_ray.training.kernels.layouts import build_layout
from eshop_ray.training.kernels.partition import diverge
from eshop_ray.training.model import get_causal_lm
from eshop_ray.training.packing.pack import IGNORED, Pack


def answer_loss(model: Any, pack: Pack, attention: str, device: torch.device) -> Tensor:
    """Return the weighted sum of the losses of the answer tokens of a pack.

    Args:
        model: A causal LM of Transformers whose attention follows layouts, or PEFT's wrapper of one.
        pack: The rows.
        attention: Which layout to compute with.
        device: Where the model is.

    Returns:
        Scalar. The caller divides by the weights of the whole global batch, so that a token counts the same in
        whatever pack and on whatever worker it stands.
    """
    losses, places = _token_losses(model, pack, attention, device)
    weights = torch.from_numpy(pack.weights).to(device)[places]
    return (losses * weights).sum()  # no product of matrices, which autocast would round to bf16


def answer_losses(model: Any, pack: Pack, attention: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the loss of every answer token, (A,), and the number of its row within the pack, (A,)."""
    losses, places = _token_losses(model, pack, attention, device)
    return losses, torch.from_numpy(pack.segment_ids).to(device)[places]


def sum_by_task(losses: Tensor, rows: Tensor, pack: Pack, tasks: Sequence[str]) -> Tensor:
    """Return the sum of the losses of each task's answer tokens, and the number of these tokens, (2, tasks) in fp64.

    Args:
        losses: Of the answer tokens of a pack, with `rows`, as `answer_losses` returns them.
        rows: Their rows within the pack.
        pack: The rows.
        tasks: All tasks, in the order of the columns.
    """
    of_row = torch.tensor([tasks.index(task) for task in pack.tasks], device=losses.device)
    sums = torch.zeros(2, len(tasks), dtype=torch.float64, device=losses.device)
    sums[0].index_add_(0, of_row[rows], losses.double())
    sums[1].index_add_(0, of_row[rows], torch.ones_like(losses, dtype=torch.float64))
    return sums


def average(sums: Tensor, tasks: Sequence[str]) -> dict[str, float]:
    """Return the mean loss per answer token of every task that has any, from sums over packs of `sum_by_task`."""
    return {task: loss / count for task, loss, count in zip(tasks, *sums.tolist(), strict=True) if count}


def _token_losses(model: Any, pack: Pack, attention: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the loss of every answer token and its place within the pack."""
    scores, places = score_answers(model, pack, attention, device)
    head = get_causal_lm(model).get_output_embeddings()
    if pack.targets is not None:
        words = torch.from_numpy(pack.targets.words).to(device, torch.int64)
        probabilities = torch.from_numpy(pack.targets.probabilities).to(device)
        compare = head.compare if isinstance(head, FrozenHead) else diverge
        return compare(scores, words, probabilities), places
    labels = torch.from_numpy(pack.labels).to(device)[places]
    if isinstance(head, FrozenHead):
        return head.measure(scores, labels), places
    return cross_entropy(scores.float(), labels, reduction="none"), places


def score_answers(model: Any, pack: Pack, attention: str, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return what a model says before every answer token, and the token's place within the pack, (A,).

    Args:
        model: A causal LM of Transformers whose attention follows layouts, or PEFT's wrapper of one.
        pack: The rows.
        attention: Which layout to compute with.
        device: Where the model is.

    Returns:
        Scores (A, V), or, under a `FrozenHead`, the states (A, D) that the head is given.
    """
    is_answer = torch.from_numpy(pack.labels).to(device)[1:] != IGNORED
    places = torch.nonzero(is_answer)[:, 0] + 1
    causal_lm = get_causal_lm(model)
    scores = causal_lm(
        input_ids=torch.from_numpy(pack.input_ids).to(device)[None],
        position_ids=torch.from_numpy(pack.position_ids).to(device)[None],
        layout=build_layout(pack, attention, device),
        logits_to_keep=places - 1,
        use_cache=False,
    ).logits.squeeze(0)
    if len(scores) == len(pack):  # not every model knows `logits_to_keep`
        scores = scores[places - 1]
    return scores, places
