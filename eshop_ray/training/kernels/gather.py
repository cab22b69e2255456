"""Attention of a pack, row by row: each is computed against its prefix and itself only, similar lengths at once."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eshop_ray.training.kernels.attention import attend_batch
from eshop_ray.training.kernels.short_attention import MAX_KEYS, ShortAttention
from eshop_ray.training.packing.pack import PREFIX, Pack

MAX_PADDING = 1.25
"""Rows are computed together while padding them to the longest costs at most so much."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Rows computed together: n of them, padded at the end to Q tokens, behind a shared prefix of P."""

    prefix: slice
    """The prefix within the pack; empty where the rows have none."""
    mask: Tensor | None
    """(Q, P + Q): the prefix, and causally the row itself; None where plain causality says the same."""
    length: int
    """Q."""
    slots: slice
    """The bucket's n * Q among all padded tokens."""


@dataclass(frozen=True, slots=True)
class GatherLayout:
    """Rows taken out of the pack, bucket by bucket, and put back."""

    buckets: tuple[Bucket, ...]
    tokens: Tensor
    """(S,) place within the pack of each padded slot; for padding any."""
    slots: Tensor
    """(T,) slot of each token of the pack."""

    @classmethod
    def build(cls, pack: Pack, device: torch.device) -> "GatherLayout":
        """Divide the rows of a pack among buckets; prefixes are rows themselves."""
        buckets: list[Bucket] = []
        tokens: list[Tensor] = []
        slots = torch.empty(len(pack.input_ids), dtype=torch.long)
        num_slots = 0
        for prefix, rows in _group_rows(pack):
            length = max(stop - start for start, stop in rows)
            places = torch.zeros(len(rows), length, dtype=torch.long)
            for index, (start, stop) in enumerate(rows):
                places[index, : stop - start] = torch.arange(start, stop)
                first = num_slots + index * length
                slots[start:stop] = torch.arange(first, first + stop - start)
            tokens.append(places.view(-1))
            own = slice(num_slots, num_slots + places.numel())
            buckets.append(Bucket(prefix, _prefix_mask(prefix, length, device), length, own))
            num_slots = own.stop
        return cls(tuple(buckets), torch.cat(tokens).to(device), slots.to(device))

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None, dropout: float) -> Tensor:
        """See `Layout`."""
        padded = [_Pad.apply(states, self.tokens, self.slots) for states in (query, key, value)]
        outputs = []
        for bucket in self.buckets:
            own_query, own_key, own_value = (_cut(states, bucket) for states in padded)
            if bucket.mask is not None:
                own_key, own_value = (
                    torch.cat((states[:, bucket.prefix].expand(len(own_query), -1, -1, -1), own), dim=2)
                    for states, own in ((key, own_key), (value, own_value))
                )
            output = _attend_rows(own_query, own_key, own_value, scale, bucket.mask, dropout)
            outputs.append(output.transpose(0, 1).flatten(1, 2))
        result: Tensor = _Unpad.apply(torch.cat(outputs, dim=1), self.tokens, self.slots)
        return result


def _group_rows(pack: Pack) -> Iterator[tuple[slice, list[tuple[int, int]]]]:
    """Yield (prefix, spans of rows to compute together); rows without a prefix meet whatever their group."""
    edges = (pack.segment_ids[1:] != pack.segment_ids[:-1]) | (pack.group_ids[1:] != pack.group_ids[:-1])
    stops = [*(edges.nonzero()[0] + 1).tolist(), len(pack.segment_ids)]
    prefix, behind = slice(0, 0), dict[tuple[int, int], list[tuple[int, int]]]()
    group = None
    for start, stop in zip([0, *stops[:-1]], stops, strict=True):
        if pack.group_ids[start] != group:
            group, prefix = pack.group_ids[start], slice(0, 0)
        behind.setdefault((prefix.start, prefix.stop), []).append((start, stop))
        if pack.segment_ids[start] == PREFIX:
            prefix = slice(start, stop)
    for (first, last), rows in behind.items():
        for bucket in _divide(sorted(rows, key=lambda row: (row[1] - row[0], row)), last - first):
            yield slice(first, last), bucket


def _divide(rows: list[tuple[int, int]], num_prefix: int) -> Iterator[list[tuple[int, int]]]:
    """Cut rows, sorted by length, where padding would cost too much; longest first, so that few short ones remain."""
    bucket: list[tuple[int, int]] = []
    longest = needed = 0
    for start, stop in reversed(rows):
        length = stop - start
        area = length * (num_prefix + length)
        if bucket and (len(bucket) + 1) * longest > MAX_PADDING * (needed + area):
            yield bucket
            bucket, needed = [], 0
        if not bucket:
            longest = area
        bucket.append((start, stop))
        needed += area
    yield bucket


def _prefix_mask(prefix: slice, length: int, device: torch.device) -> Tensor | None:
    num_prefix = prefix.stop - prefix.start
    if not num_prefix:
        return None
    return torch.ones(length, num_prefix + length, dtype=torch.bool, device=device).tril(num_prefix)


def _cut(padded: Tensor, bucket: Bucket) -> Tensor:
    """(H, S, D) -> (n, H, Q, D) of one bucket."""
    return padded[:, bucket.slots].unflatten(1, (-1, bucket.length)).transpose(0, 1)


def _attend_rows(
    query: Tensor, key: Tensor, value: Tensor, scale: float | None, mask: Tensor | None, dropout: float
) -> Tensor:
    if query.device.type != "cpu" or key.shape[2] > MAX_KEYS or dropout:
        return attend_batch(query, key, value, scale, mask, dropout)
    output: Tensor = ShortAttention.apply(query, key, value, mask, scale or query.shape[-1] ** -0.5)
    return output


class _Pad(torch.autograd.Function):  # type: ignore[misc]
    """(H, T, D) -> (H, S, D). Every token has one slot, so its gradient is read there instead of being summed up."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, tokens: Tensor, slots: Tensor) -> Tensor:
        ctx.save_for_backward(slots)
        return states.index_select(1, tokens)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0].index_select(1, ctx.saved_tensors[0]), None, None


class _Unpad(torch.autograd.Function):  # type: ignore[misc]
    """(H, S, D) -> (H, T, D). Padding gets no gradient."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, tokens: Tensor, slots: Tensor) -> Tensor:
        ctx.save_for_backward(slots)
        ctx.num_slots = len(tokens)
        return states.index_select(1, slots)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        padded = gradient.new_zeros(gradient.shape[0], ctx.num_slots, gradient.shape[2])
        return padded.index_copy_(1, ctx.saved_tensors[0], gradient), None, None
