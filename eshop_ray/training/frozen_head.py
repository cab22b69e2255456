"""Answer losses under a head that is not trained, without keeping the scores of the whole vocabulary.

The head's input needs one gradient per answer token: the tokens' embeddings, weighted by their probabilities, less the
right one's. It is known as soon as the loss is, so it is computed then, a few answer tokens at a time, and scores are
dropped. A vocabulary is some ten times as wide as anything else in a small model.
"""

from typing import Any

import torch
from torch import Tensor

from eshop_ray.training.model import LLAMA_LIKE, get_causal_lm

CHUNK = 128
"""Answer tokens whose scores are held at a time."""


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


def freeze_head(model: Any, dtype: torch.dtype) -> None:
    """Replace the head of a model whose head is not trained, if its scores are a plain product.

    Args:
        model: A causal LM of Transformers, or PEFT's wrapper of one.
        dtype: Of the product.
    """
    causal_lm = get_causal_lm(model)
    head = causal_lm.get_output_embeddings()
    is_plain = type(head) is torch.nn.Linear and head.bias is None and not head.weight.requires_grad
    if is_plain and causal_lm.config.model_type in LLAMA_LIKE:
        causal_lm.set_output_embeddings(FrozenHead(head.weight.detach().to(dtype)))


class _HeadLoss(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
        losses = torch.empty(len(labels), dtype=torch.float32, device=states.device)
        pulls = torch.empty(states.shape, dtype=weight.dtype, device=states.device)
        for start in range(0, len(labels), CHUNK):
            part = slice(start, start + CHUNK)
            scores = (states[part].to(weight.dtype) @ weight.T).float()
            right = labels[part, None]
            totals = scores.logsumexp(1, keepdim=True)
            losses[part] = (totals - scores.gather(1, right))[:, 0]
            if ctx.needs_input_grad[0]:
                shares = scores.sub_(totals).exp_()
                shares.scatter_add_(1, right, shares.new_full(right.shape, -1.0))
                pulls[part] = shares.to(weight.dtype) @ weight
        ctx.save_for_backward(pulls)
        ctx.dtype = states.dtype
        return losses

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (pulls,) = ctx.saved_tensors
        return (pulls * gradients[0][:, None]).to(ctx.dtype), None, None
