"""How far a conventional model is from what it is to say: one loss a row, whatever the head."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from eshop_ray.data.conventional import IGNORED, pad
from eshop_ray.models.conventional import Spec
from eshop_ray.training.conventional.rows import ModelRow


def row_losses(model: Any, spec: Spec, rows: Sequence[ModelRow], tokenizer: Any, device: torch.device) -> Tensor:
    """Return the loss of each row of a batch, (B,), fp32.

    Tags: the mean cross entropy of a row's words. A label: cross entropy. Candidates: cross entropy between the softmax
    of their scores and their gains, made to add up to 1 (ListNet's top-one loss, Cao et al., "Learning to Rank: From
    Pairwise Approach to Listwise Approach", ICML 2007). An answer: the mean cross entropy of its tokens.

    Args:
        model: Of `eshop_ray.models.conventional`.
        spec: What it is.
        rows: Of one head.
        tokenizer: Gives the token to pad with.
        device: Where the model is.
    """
    if spec.architecture == "causal":
        return _causal_losses(model, rows, tokenizer, device)
    inputs = pad([ids for row in rows for ids in row.inputs], tokenizer, device)
    if spec.architecture == "seq2seq":
        labels = _pad_labels([row.labels for row in rows], device)
        return _mean_of_tokens(model(**inputs, labels=labels, use_cache=False).logits, labels)
    scores = model(rows[0].head, **inputs).float()
    kind = spec.heads[rows[0].head].kind
    if kind == "tags":
        return _mean_of_tokens(scores, _pad_labels([row.labels for row in rows], device, scores.shape[1]))
    if kind == "label":
        return cross_entropy(scores, torch.tensor([row.labels[0] for row in rows], device=device), reduction="none")
    parts = scores[:, 0].split([len(row.inputs) for row in rows])
    return torch.stack([_list_loss(part, row.labels) for part, row in zip(parts, rows, strict=True)])


def _list_loss(scores: Tensor, gains: Sequence[int]) -> Tensor:
    wanted = torch.tensor(gains, dtype=torch.float32, device=scores.device)
    return -(wanted / wanted.sum() * log_softmax(scores, 0)).sum()


def _causal_losses(model: Any, rows: Sequence[ModelRow], tokenizer: Any, device: torch.device) -> Tensor:
    inputs = pad([[*row.inputs[0], *row.labels] for row in rows], tokenizer, device)
    labels = _pad_labels([[*[IGNORED] * len(row.inputs[0]), *row.labels] for row in rows], device)
    scores = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False).logits
    return _mean_of_tokens(scores[:, :-1], labels[:, 1:])


def _mean_of_tokens(scores: Tensor, labels: Tensor) -> Tensor:
    losses = cross_entropy(scores.float().transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
    return losses.sum(1) / (labels != IGNORED).sum(1).clamp(min=1)


def _pad_labels(labels: Sequence[Sequence[int]], device: torch.device, width: int = 0) -> Tensor:
    width = max(width, *map(len, labels))
    return torch.tensor([[*row, *[IGNORED] * (width - len(row))] for row in labels], device=device)
