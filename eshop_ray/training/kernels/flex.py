"""Flex attention over a pack: the rule of who looks at whom, compiled into a kernel that skips hidden blocks.

The kernel's backward pass gives each block of keys to one program, which goes through all queries that see it. A prefix
that many rows share is such a block, and its program works on when all others are done. So its keys and values are
repeated, each copy for some of the queries: programs side by side, whose gradients are added up.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, create_mask, flex_attention
from torch.nn.functional import pad

from eshop_ray.training.kernels.attention import attend_batch
from eshop_ray.training.packing.pack import PREFIX, Pack

BLOCK = 128
"""Packs are padded to a multiple of so many tokens: whole blocks, and few shapes to compile for."""
SPAN = 1024
"""Queries that share one copy of a prefix. On an H200 a prefix that 26,000 queries share makes the backward pass take
seven times as long if it stands only once; 512 to 2,048 are alike."""

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Copies:
    """A prefix that is repeated behind the pack."""

    prefix: slice
    """Where it stands within the pack."""
    number: int

    def write(self, states: Tensor) -> Tensor:
        """(H, T, D) of a pack -> (H, number * P, D), P tokens of the prefix padded to whole blocks."""
        prefix = states[:, self.prefix]
        whole = pad(prefix, (0, 0, 0, -prefix.shape[1] % BLOCK))
        return whole[:, None].expand(-1, self.number, -1, -1).flatten(1, 2)


@dataclass(frozen=True, slots=True)
class FlexLayout:
    """A pack as blocks of tokens that see each other."""

    block_mask: BlockMask
    num_padded: int
    copies: tuple[Copies, ...]

    @classmethod
    def build(cls, pack: Pack, device: torch.device, span: int | None = None) -> "FlexLayout":
        """Find the blocks of a pack in which any token sees another.

        Args:
            pack: The rows.
            device: Where the model is.
            span: So many queries, from the pack's beginning on, share one copy of their prefix; a multiple of `BLOCK`.
                Each end of a span lies within one group at most, so there are fewer copies than spans. None: no copies.
        """
        num_padded = -len(pack) % BLOCK
        num_queries = len(pack) + num_padded
        rule = _Rule.write(pack, num_queries, span or num_queries)
        own, shared, labels, places = (
            torch.from_numpy(part.astype(np.int32)).to(device)
            for part in (rule.own, rule.shared, rule.labels, rule.places)
        )

        def is_visible(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:  # noqa: ARG001
            label = labels[key]
            return (query >= places[key]) & ((label == own[query]) | (label == shared[query]))

        block_mask = create_block_mask(is_visible, None, None, num_queries, len(labels), device=str(device))
        return cls(block_mask, num_padded, rule.copies)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None, dropout: float) -> Tensor:
        """See `attention.Layout`.

        On a CPU, where a model is tried before it moves to its GPU, PyTorch gives flex attention no gradients. There
        the same rule is a mask.

        Raises:
            NotImplementedError: for dropout, which the kernel does not have.
        """
        if dropout:
            raise NotImplementedError("flex attention has no dropout")
        more = (0, 0, 0, self.num_padded)
        queries = pad(query, more)[None]
        keys, values = (self._repeat(pad(states, more))[None] for states in (key, value))
        if query.device.type == "cpu":
            output = attend_batch(queries, keys, values, scale, self._write_mask())
        else:
            is_grouped = query.shape[0] != key.shape[0]
            output = _compile()(queries, keys, values, block_mask=self.block_mask, scale=scale, enable_gqa=is_grouped)
        return output[0, :, : query.shape[1]]

    def _write_mask(self) -> Tensor:
        """Return the rule for all pairs, (1, 1, Q, K)."""
        return create_mask(self.block_mask.mask_mod, None, None, *self.block_mask.seq_lengths, device="cpu")

    def _repeat(self, states: Tensor) -> Tensor:
        return torch.cat([states, *(one.write(states) for one in self.copies)], dim=1) if self.copies else states


@dataclass(frozen=True, slots=True)
class _Rule:
    """Who looks at whom: a query sees, of what stands up to its own place, its row and one copy of its prefix.

    Rows and copies have labels: a row its number, padding `PREFIX`, and the copies of prefixes all numbers below.
    """

    own: Labels
    """(Q,), the label of a query's row, or of its copy where it is part of a prefix itself."""
    shared: Labels
    """(Q,), the label of a query's copy of its prefix."""
    labels: Labels
    """(K,), the label of each key: those of the pack, then those of the copies."""
    places: Labels
    """(K,), where a key stands in the pack; behind all queries if it is padding of a copy."""
    copies: tuple[Copies, ...]

    @classmethod
    def write(cls, pack: Pack, num_queries: int, span: int) -> "_Rule":
        """Write the rule of a pack padded to `num_queries`, where so many queries share a copy of their prefix."""
        is_prefix, segments, groups = pack.segment_ids == PREFIX, pack.segment_ids, pack.group_ids
        starts = np.unique(groups, return_index=True)[1]
        spans = np.arange(len(pack)) // span
        copy_of_query = spans - spans[starts][groups]  # 0 is the prefix itself
        most = num_queries // span + 1

        def name(group: Any, copy: Any) -> Any:
            return PREFIX - 1 - (group * most + copy)

        shared = name(groups, copy_of_query)
        labels = [_pad(np.where(is_prefix, name(groups, 0), segments), num_queries, PREFIX)]
        places, copies = [np.arange(num_queries)], []
        num_shared, num_copies = np.add.reduceat(is_prefix, starts), np.maximum.reduceat(copy_of_query, starts)
        for group in np.flatnonzero((num_shared > 0) & (num_copies > 0)):
            prefix = slice(int(starts[group]), int(starts[group] + num_shared[group]))
            copies.append(Copies(prefix, int(num_copies[group])))
            tokens = np.arange(prefix.start, prefix.stop)
            tokens = _pad(tokens, len(tokens) + -len(tokens) % BLOCK, num_queries)
            labels += [np.full(len(tokens), name(group, copy)) for copy in range(1, copies[-1].number + 1)]
            places += [tokens] * copies[-1].number
        own = _pad(np.where(is_prefix, shared, segments), num_queries, PREFIX)
        shared = _pad(shared, num_queries, PREFIX)
        return cls(own, shared, np.concatenate(labels), np.concatenate(places), tuple(copies))


def _pad(values: Labels, length: int, value: int) -> Labels:
    return np.pad(values, (0, length - len(values)), constant_values=value)


@cache
def _compile() -> Any:
    return torch.compile(flex_attention, dynamic=True)
