"""Attention within a pack: every row looks at its group's prefix and at itself, causally, and at nothing else.

Three ways with the same numbers. `mask` hides the rest of the pack from each token: simple, the reference, and
quadratic in the pack's length. `gather` computes each row against its prefix and itself only, rows of similar length
at once. `flex` hands the rule to flex attention, which skips hidden blocks in a compiled kernel.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from eshop_ray.errors import UserError

NAME = "eshop_ray_pack"
"""Under which the function is known to Transformers."""

UNSUPPORTED = ("softcap", "s_aux", "position_bias")
"""What some models add to attention and none of the ways here computes."""


DROPOUTS = ("attention_dropout", "attn_pdrop", "attn_dropout", "attention_probs_dropout_prob")
"""What configs call the share of the attention's weights that are set to 0 in training."""


class Layout(Protocol):
    """How one pack's attention is computed."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None, dropout: float) -> Tensor:
        """Return (H, T, D) from queries (H, T, D) and keys and values (H_kv, T, D); `dropout` is the share of the
        attention's weights that are set to 0.
        """


def check_window(model_config: Any, max_row_length: int) -> None:
    """Refuse rows longer than the window of a model that attends to its latest tokens only.

    Raises:
        UserError: naming the window.
    """
    text = model_config.get_text_config()
    window, kinds = getattr(text, "sliding_window", None), getattr(text, "layer_types", None)
    if window and max_row_length > window and (kinds is None or "sliding_attention" in kinds):
        raise UserError(
            f"this base attends to the last {window} tokens only; set `train.max_row_length`, now {max_row_length}, "
            f"to {window} or less"
        )


def check_kind(model_config: Any, outline: torch.nn.Module) -> None:
    """Refuse attention that packs cannot compute.

    Args:
        model_config: Of Transformers.
        outline: The model without weights.

    Raises:
        UserError: naming what the attention has.
    """
    text = model_config.get_text_config()
    own = ["a cap on its scores (`attn_logit_softcapping`)"] if getattr(text, "attn_logit_softcapping", None) else []
    own += ["sinks"] if any(name.endswith(".sinks") for name, _ in outline.named_parameters()) else []
    if own:
        raise UserError(f"this base cannot be trained here: its attention has {' and '.join(own)}; take another base")


def has_dropout(model_config: Any) -> bool:
    """Whether training sets some of the attention's weights to 0 by chance."""
    text = model_config.get_text_config()
    return any(getattr(text, name, None) for name in DROPOUTS)


def use_layouts(model: Any) -> None:
    """Make a model of Transformers compute its attention by the `layout` handed to its forward pass."""
    AttentionInterface.register(NAME, _attend)
    model.set_attn_implementation(NAME)


def _attend(
    module: torch.nn.Module,  # noqa: ARG001
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001
    *,
    layout: Layout | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention as Transformers calls it: (1, H, T, D) in, (1, T, H, D) out.

    Some models do not hand the layout on to their layers. Theirs is causal, which is right for one row.
    """
    for name in UNSUPPORTED:
        if options.get(name) is not None:
            raise NotImplementedError(f"packs cannot be trained with this model's attention: it uses `{name}`")
    if torch.is_autocast_enabled(query.device.type):
        dtype = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    if layout is None:
        return attend_batch(query, key, value, scaling, None, dropout).transpose(1, 2), None
    return layout.attend(query[0], key[0], value[0], scaling, dropout).transpose(0, 1)[None], None


@dataclass(frozen=True, slots=True)
class MaskLayout:
    """One mask over the whole pack."""

    mask: Tensor
    """(T, T)."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None, dropout: float) -> Tensor:
        """See `Layout`."""
        return attend_batch(query[None], key[None], value[None], scale, self.mask, dropout)[0]


def attend_batch(
    query: Tensor, key: Tensor, value: Tensor, scale: float | None, mask: Tensor | None, dropout: float = 0.0
) -> Tensor:
    """Return (n, H, Q, D); without a mask, attention is causal."""
    return scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        dropout_p=dropout,
        is_causal=mask is None,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )
