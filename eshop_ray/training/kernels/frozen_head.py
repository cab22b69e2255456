"""Answer losses under a head that is not trained, without keeping the scores of the whole vocabulary.

The head's input needs one gradient per answer token: the tokens' embeddings, weighted by their probabilities, less the
right one's. It is known as soon as the loss is, so it is computed then, a block of the vocabulary at a time, as flash
attention goes over keys: a running maximum, and sums that are scaled down when it rises. Scores stay in the processor's
cache. A vocabulary is some ten times as wide as anything else in a small model.
"""

from typing import Any

import torch
from torch import Tensor

from eshop_ray.training.kernels.partition import BLOCK, diverge_by_head


class FrozenHead(torch.nn.Module):  # type: ignore[misc]
    """Stands in for a head: hands hidden states through and keeps the weights, (V, D), for the loss."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, states: Tensor) -> Tensor:
        """Return the states as they are."""
        return states

    def measure(self, states: Tensor, labels: Tensor) -> Tensor:
        """Return the cross entropy, (A,), of states (A, D) whose tokens should have been `labels`, (A,)."""
        losses: Tensor = _HeadLoss.apply(states, self.weight, labels)
        return losses

    def compare(self, states: Tensor, words: Tensor, probabilities: Tensor) -> Tensor:
        """Return how far states (A, D) are from a teacher, (A,); see `diverge`."""
        return diverge_by_head(states, self.weight, words, probabilities)


def can_freeze(head: Any) -> bool:
    """Whether a head is a plain product that is not trained."""
    return type(head) is torch.nn.Linear and head.bias is None and not head.weight.requires_grad


class _HeadLoss(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
        narrow, right = states.to(weight.dtype), weight[labels].float()
        highest = states.new_full((len(states), 1), -torch.inf, dtype=torch.float32)
        total, pull = torch.zeros_like(highest), torch.zeros(states.shape, dtype=torch.float32, device=states.device)
        for start in range(0, len(weight), BLOCK):
            words = weight[start : start + BLOCK]
            scores = (narrow @ words.T).float()
            before, highest = highest, torch.maximum(highest, scores.amax(1, keepdim=True))
            scores.sub_(highest).exp_()
            shrink = before.sub_(highest).exp_()
            total.mul_(shrink).add_(scores.sum(1, keepdim=True))
            if ctx.needs_input_grad[0]:
                pull.mul_(shrink).add_(scores.to(weight.dtype) @ words)
        ctx.save_for_backward(pull.div_(total).sub_(right).to(weight.dtype))
        ctx.dtype = states.dtype
        return (highest + total.log())[:, 0] - (narrow.float() * right).sum(1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (pulls,) = ctx.saved_tensors
        return (pulls * gradients[0][:, None]).to(ctx.dtype), None, None
