"""Flex attention over a pack: the rule of who looks at whom, compiled into a kernel that skips hidden blocks."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, create_mask, flex_attention
from torch.nn.functional import pad

from eshop_ray.training.kernels.attention import attend_batch
from eshop_ray.training.packing.pack import PREFIX, Pack

BLOCK = 128
"""Packs are padded to a multiple of so many tokens: whole blocks, and few shapes to compile for."""


@dataclass(frozen=True, slots=True)
class FlexLayout:
    """A pack as blocks of tokens that see each other."""

    block_mask: BlockMask
    num_padded: int

    @classmethod
    def build(cls, pack: Pack, device: torch.device) -> "FlexLayout":
        """Find the blocks of a pack in which any token sees another."""
        num_tokens = len(pack.input_ids)
        num_padded = -(-num_tokens // BLOCK) * BLOCK
        more = num_padded - num_tokens
        segments = pad(torch.from_numpy(pack.segment_ids), (0, more), value=PREFIX - 1).to(device)
        groups = pad(torch.from_numpy(pack.group_ids), (0, more), value=PREFIX).to(device)

        def is_visible(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:  # noqa: ARG001
            is_shared = (segments[key] == PREFIX) & (groups[query] == groups[key])
            return (query >= key) & (is_shared | ((segments[query] == segments[key]) & (groups[query] == groups[key])))

        return cls(create_block_mask(is_visible, None, None, num_padded, num_padded, device=str(device)), more)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None, dropout: float) -> Tensor:
        """See `attention.Layout`.

        On a CPU, where a model is tried before it moves to its GPU, PyTorch gives flex attention no gradients. There
        the same rule is a mask.

        Raises:
            NotImplementedError: for dropout, which the kernel does not have.
        """
        if dropout:
            raise NotImplementedError("flex attention has no dropout")
        queries, keys, values = (pad(states, (0, 0, 0, self.num_padded))[None] for states in (query, key, value))
        if query.device.type == "cpu":
            output = attend_batch(queries, keys, values, scale, self._write_mask())
        else:
            is_grouped = query.shape[0] != key.shape[0]
            output = _compile()(queries, keys, values, block_mask=self.block_mask, scale=scale, enable_gqa=is_grouped)
        return output[0, :, : query.shape[1]]

    def _write_mask(self) -> Tensor:
        """Return the rule for all pairs, (1, 1, Q, K)."""
        return create_mask(self.block_mask.mask_mod, None, None, *self.block_mask.seq_lengths, device="cpu")


@cache
def _compile() -> Any:
    return torch.compile(flex_attention, dynamic=True)
