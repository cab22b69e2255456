"""How far a student is from its teacher at answer tokens, by a few words and all others together.

A teacher's probabilities p are kept of K words, and of all other words as one. For the student's q, divided alike, the
loss of a token is the divergence of Kullback and Leibler of these K + 1 probabilities,

    L = sum_K p_i (log p_i - log q_i) + p_rest (log p_rest - log q_rest)

It is a lower bound of the divergence over the whole vocabulary, and is that where p and q divide the rest alike: the
log sum inequality (Cover and Thomas, Elements of Information Theory, 2nd ed., theorem 2.7.1). With scores z, and
Z = logsumexp over all words,

    dL/dz_i = q_i - p_i  of the K words,    dL/dz_v = (q_rest - p_rest) q_v / q_rest  of all others

Knowledge distillation: Hinton, Vinyals and Dean, https://arxiv.org/abs/1503.02531, at temperature 1.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

BLOCK = 2048
"""Words of the vocabulary whose scores are held at a time."""


def diverge(scores: Tensor, words: Tensor, probabilities: Tensor) -> Tensor:
    """Return the loss of each token.

    Args:
        scores: The student's, (A, V).
        words: That the teacher's probabilities are kept of, (A, K), K below V.
        probabilities: The teacher's, (A, K + 1), fp32; the last is that of all other words.

    Returns:
        (A,), fp32.
    """
    wide = scores.float()
    rest = wide.scatter(1, words, -torch.inf).logsumexp(1)
    return _sum_up(torch.cat([wide.gather(1, words), rest[:, None]], 1), probabilities)


def diverge_by_head(states: Tensor, weight: Tensor, words: Tensor, probabilities: Tensor) -> Tensor:
    """Return the same under a head that is not trained, without keeping scores of the whole vocabulary.

    Args:
        states: What the head is given, (A, D).
        weight: The head's, (V, D).
        words: As for `diverge`.
        probabilities: Likewise.
    """
    losses: Tensor = _HeadDivergence.apply(states, weight, words, probabilities)
    return losses


def _sum_up(parts: Tensor, probabilities: Tensor) -> Tensor:
    """Return the losses of scores of the K words and the rest, (A, K + 1), each a logarithm up to a constant."""
    return (torch.xlogy(probabilities, probabilities) - probabilities * parts.log_softmax(1)).sum(1)


class _HeadDivergence(torch.autograd.Function):  # type: ignore[misc]
    """See `frozen_head`: the gradient is computed with the loss, a block of the vocabulary at a time."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, words: Tensor, probabilities: Tensor) -> Tensor:
        kept, rest, pull = _sweep(states.to(weight.dtype), weight, words, ctx.needs_input_grad[0])
        parts = torch.cat([kept, rest], 1)
        gaps = parts.softmax(1).sub_(probabilities)
        if ctx.needs_input_grad[0]:
            own = embedding_bag(words, weight, per_sample_weights=gaps[:, :-1].to(weight.dtype), mode="sum")
            pull.mul_(gaps[:, -1:]).add_(own)
        ctx.save_for_backward(pull.to(weight.dtype))
        ctx.dtype = states.dtype
        return _sum_up(parts, probabilities)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (pulls,) = ctx.saved_tensors
        return (pulls * gradients[0][:, None]).to(ctx.dtype), None, None, None


def _sweep(narrow: Tensor, weight: Tensor, words: Tensor, is_learning: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Go over the vocabulary once.

    Returns:
        The scores of `words`, (A, K); the logarithm of the sum of all other words, (A, 1); and, where it learns, their
        mean embedding, (A, D), each weighted by its share of that sum. All fp32.
    """
    lowest = torch.finfo(torch.float32).min  # not -inf: a block may hold no other word
    highest = narrow.new_full((len(narrow), 1), lowest, dtype=torch.float32)
    kept = torch.zeros(words.shape, dtype=torch.float32, device=narrow.device)
    total, pull = torch.zeros_like(highest), torch.zeros_like(narrow, dtype=torch.float32)
    for start in range(0, len(weight), BLOCK):
        block = weight[start : start + BLOCK]
        scores = (narrow @ block.T).float()
        is_here = (words >= start) & (words < start + len(block))
        places = (words - start).clamp_(0, len(block) - 1)
        kept = torch.where(is_here, scores.gather(1, places), kept)
        scores.scatter_reduce_(1, places, torch.where(is_here, -torch.inf, torch.inf), "amin")
        before, highest = highest, torch.maximum(highest, scores.amax(1, keepdim=True))
        scores.sub_(highest).exp_()
        shrink = before.sub_(highest).exp_()
        total.mul_(shrink).add_(scores.sum(1, keepdim=True))
        if is_learning:
            pull.mul_(shrink).add_(scores.to(weight.dtype) @ block)
    return kept, highest + total.log(), pull.div_(total)
