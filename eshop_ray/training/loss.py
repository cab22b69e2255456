"""The loss of a pack: cross entropy of its answer tokens, and nothing else computed for the head."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from eshop_ray.data.packing import IGNORED, Pack


def answer_loss(model: Any, pack: Pack, device: torch.device) -> Tensor:
    """Return the weighted sum of the cross entropy over the answer tokens of a pack.

    Args:
        model: A causal LM of Transformers, or PEFT's wrapper of one.
        pack: The rows.
        device: Where the model is.

    Returns:
        Scalar. The caller divides by the weights of the whole global batch, so that a token counts the same in
        whatever pack and on whatever worker it stands.
    """
    backbone, head = _split_head(model)
    input_ids = torch.from_numpy(pack.input_ids).to(device)
    hidden = backbone(
        input_ids=input_ids[None],
        position_ids=torch.from_numpy(pack.position_ids).to(device)[None],
        attention_mask=torch.from_numpy(pack.attention_mask()).to(device)[None, None],
        use_cache=False,
    ).last_hidden_state[0]
    labels = torch.from_numpy(pack.labels).to(device)
    answer = torch.nonzero(labels[1:] != IGNORED)[:, 0]
    logits = head(hidden[answer])
    weights = torch.from_numpy(pack.weights).to(device)
    losses = cross_entropy(logits.float(), labels[answer + 1], reduction="none")
    return losses @ weights[answer + 1]


def _split_head(model: Any) -> tuple[Any, Any]:
    causal_lm = model.get_base_model() if hasattr(model, "get_base_model") else model
    return causal_lm.get_decoder(), causal_lm.get_output_embeddings()
