"""Attention of short rows on a CPU, with a backward pass of plain matrix products.

The forward pass is torch's flash kernel. Its backward pass keeps a CPU busy two to three times as long as the same
arithmetic done by batched products over blocks of queries that fit its cache (Dao, FlashAttention-2, 2023, section 3.1,
for the formulas). For long rows the two are even.
"""

from typing import Any

import torch
from torch import Tensor

MAX_KEYS = 640
"""Keys per query up to which the products win."""
BLOCK = 48
"""Queries per block."""


class ShortAttention(torch.autograd.Function):  # type: ignore[misc]
    """(n, H, Q, D) queries and (n, H_kv, P + Q, D) keys and values -> (n, H, Q, D).

    A query sees the P first keys and, causally, the Q last.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
        """Compute the output; `mask` says the same as the shapes, for the kernel."""
        bias = None if mask is None else torch.zeros_like(mask, dtype=query.dtype).masked_fill_(~mask, -torch.inf)
        output: Tensor
        output, log_sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, mask is None, attn_mask=bias, scale=scale
        )
        ctx.save_for_backward(query, key, value, output, log_sums)
        ctx.scale = scale
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """Compute the gradients, probabilities anew from their logarithmic sums; sums are kept in fp32."""
        query, key, value, output, log_sums = ctx.saved_tensors
        query, gradient = query.contiguous(), gradients[0].contiguous()
        count, num_heads, num_queries, size = query.shape
        num_kv, num_keys = key.shape[1], key.shape[2]
        groups, num_prefix, dtype = num_heads // num_kv, num_keys - num_queries, query.dtype

        def fold(states: Tensor, start: int, stop: int) -> Tensor:
            """Put the heads that share keys, and a block of their queries, into one dimension: (n * H_kv, m, ...)."""
            part = states.view(count, num_kv, groups, num_queries, -1)[:, :, :, start:stop]
            return part.reshape(count * num_kv, groups * (stop - start), -1)

        keys, values = (states.reshape(count * num_kv, num_keys, size) for states in (key, value))
        scaled_keys, wide_values = keys.float().transpose(1, 2) * ctx.scale, values.float().transpose(1, 2)
        drift = (gradient * output).sum(-1, dtype=torch.float32)
        to_query, to_key, to_value = torch.empty_like(query), *(torch.zeros(keys.shape) for _ in range(2))
        for start in range(0, num_queries, BLOCK):
            stop = min(start + BLOCK, num_queries)
            seen = num_prefix + stop
            asked, wanted = fold(query, start, stop), fold(gradient, start, stop)
            shares = torch.baddbmm(fold(log_sums, start, stop), asked.float(), scaled_keys[..., :seen], beta=-1).exp_()
            shares.view(count * num_kv, groups, stop - start, seen)[..., num_prefix + start :].tril_()
            moves = torch.baddbmm(fold(drift, start, stop), wanted.float(), wide_values[..., :seen], beta=-1)
            moves = moves.mul_(shares).to(dtype)
            to_value[:, :seen] += shares.to(dtype).transpose(1, 2) @ wanted
            to_key[:, :seen] += moves.transpose(1, 2) @ asked
            turned = (moves @ keys[:, :seen]).mul_(ctx.scale)
            to_query.view(count, num_kv, groups, num_queries, size)[:, :, :, start:stop] = turned.view(
                count, num_kv, groups, stop - start, size
            )
        to_key = to_key.mul_(ctx.scale).to(dtype).view_as(key)
        return to_query, to_key, to_value.to(dtype).view_as(value), None, None
