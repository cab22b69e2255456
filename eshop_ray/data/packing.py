"""Shared-prefix packing: what several rows begin with is computed once.

Rows of a task share their instruction. A pack holds that prefix once and the rows behind it; each row attends to
the prefix and to itself, and its positions go on where the prefix ends, so it sees exactly what it would see alone.
A pack may hold several such groups.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

PREFIX = -1
"""`segment_ids` of prefix tokens."""
IGNORED = -100
"""`labels` of tokens without a loss."""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One row to learn from."""

    id: str
    task: str
    prompt_ids: Sequence[int]
    answer_ids: Sequence[int]
    weight: float = 1.0
    """What each of its answer tokens counts in the loss."""

    def __len__(self) -> int:
        """Tokens of the row."""
        return len(self.prompt_ids) + len(self.answer_ids)


@dataclass(frozen=True, slots=True)
class Pack:
    """One forward pass; all arrays have shape (T,)."""

    input_ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    """The token itself where it is part of an answer, else `IGNORED`; not shifted."""
    position_ids: npt.NDArray[np.int64]
    segment_ids: npt.NDArray[np.int64]
    """Number of the row within the pack; `PREFIX` for shared parts."""
    group_ids: npt.NDArray[np.int64]
    """Number of the group, a prefix and its rows, within the pack."""
    weights: npt.NDArray[np.float32]
    """What a token counts in the loss."""
    ids: tuple[str, ...]
    """The rows' ids, by number of the row within the pack."""
    tasks: tuple[str, ...]
    """The rows' tasks, likewise."""

    def __len__(self) -> int:
        """Tokens of the pack."""
        return len(self.input_ids)

    def attention_mask(self) -> npt.NDArray[np.bool_]:
        """Return who may look at whom, (T, T): causally, at the own group's prefix and at one's own row."""
        same_group = self.group_ids[:, None] == self.group_ids[None, :]
        same_row = self.segment_ids[:, None] == self.segment_ids[None, :]
        visible: npt.NDArray[np.bool_] = np.tril(same_group & (same_row | (self.segment_ids == PREFIX)[None, :]))
        return visible


def build_pack(rows: Sequence[TokenRow], groups: Sequence[int] | None = None) -> Pack:
    """Write rows behind each other, what a group shares once before its rows.

    Args:
        rows: The rows of one forward pass. They keep their order within a group, and groups come in the order of
            their first rows.
        groups: Number of each row's group, any numbers; None makes one group of each task's rows.
    """
    keys: Sequence[int | str] = [row.task for row in rows] if groups is None else groups
    members: dict[int | str, list[TokenRow]] = {}
    for row, key in zip(rows, keys, strict=True):
        members.setdefault(key, []).append(row)
    pack = _OpenPack()
    for group in members.values():
        num_shared = count_shared(group)
        pack.add_prefix(group[0].prompt_ids[:num_shared])
        for row in group:
            pack.add_row(row, num_shared)
    return pack.close()


def count_shared(rows: Sequence[TokenRow]) -> int:
    """Return how many prompt tokens all rows begin with, at least one being left to each row.

    The rows between the smallest and the largest prompt share what those two share.
    """
    prompts = [tuple(row.prompt_ids) for row in rows]
    first, last = min(prompts), max(prompts)
    limit = max(0, min(len(prompt) for prompt in prompts) - 1)
    for index in range(limit):
        if first[index] != last[index]:
            return index
    return limit


def plan_packs(own: Ints, groups: Ints, shared: Ints, pack_length: int, num_shares: int = 1) -> list[Ints]:
    """Divide the rows of one step among packs: as few as can be, then as equal in length as can be.

    Every pass of a step is padded to the step's longest pack on a GPU, so the longest pack is made as short as the
    rows allow, which also leaves little room to compute a prefix twice. The method is MULTIFIT (Coffman, Garey and
    Johnson 1978), groups being kept together where they fit.

    Args:
        own: Tokens that a row does not share, (N,).
        groups: Number of each row's group, (N,).
        shared: Tokens that the row's group shares, (N,).
        pack_length: Tokens of a pack at most; a longer row gets a pack of its own.
        num_shares: Workers among which the packs will be divided: they get the same number of packs if there are
            rows enough.

    Returns:
        Row positions of each pack, by group and then by own length, so that rows of similar length stand together.
    """
    is_long = own + shared > pack_length
    packs = [[int(row)] for row in np.flatnonzero(is_long)]
    filler = _Filler(own, groups, shared, np.flatnonzero(~is_long))
    if filler.num_rows:
        fewest = filler.find_fewest(pack_length)
        num_wanted = -(-(fewest + len(packs)) // num_shares) * num_shares - len(packs)
        packs += filler.balance(min(num_wanted, filler.num_rows), pack_length)
    arrays = [np.array(pack, dtype=np.int64) for pack in packs]
    return [pack[np.lexsort((pack, own[pack], groups[pack]))] for pack in arrays]


class _Filler:
    """Fills a given number of packs with the rows of a step, group after group, the largest first."""

    def __init__(self, own: Ints, groups: Ints, shared: Ints, rows: Ints) -> None:
        self.num_rows = len(rows)
        self._own = own
        self._groups: list[tuple[int, int, list[int]]] = []
        for group in np.unique(groups[rows]):
            members = rows[groups[rows] == group]
            members = members[np.lexsort((members, -own[members]))]
            prefix = int(shared[members[0]])
            self._groups.append((prefix, prefix + int(own[members].sum()), members.tolist()))
        self._groups.sort(key=lambda group: (-group[1], group[2]))
        self._least = sum(total for _, total, _ in self._groups)

    def find_fewest(self, pack_length: int) -> int:
        """Return the smallest number of packs found to hold all rows."""
        low, high = -(-self._least // pack_length), self.num_rows
        while low < high:
            middle = min((low + high) // 2, low + (high - low) // 8)
            if self.fill(middle, pack_length):
                high = middle
            else:
                low = middle + 1
        return high

    def balance(self, num_packs: int, pack_length: int) -> list[list[int]]:
        """Return packs of which the longest is as short as found possible, within half a percent."""
        low, high = -(-self._least // num_packs) - 1, pack_length
        best = self.fill(num_packs, pack_length) or [[row] for _, _, rows in self._groups for row in rows]
        while high - low > max(1, pack_length // 200):
            middle = (low + high) // 2
            packs = self.fill(num_packs, middle)
            if packs:
                best, high = packs, middle
            else:
                low = middle
        return [pack for pack in best if pack]

    def fill(self, num_packs: int, capacity: int) -> list[list[int]] | None:
        """Return the packs' rows, or None if they do not fit so."""
        room = np.full(num_packs, capacity, dtype=np.int64)
        packs: list[list[int]] = [[] for _ in range(num_packs)]
        for prefix, total, rows in self._groups:
            fits = np.flatnonzero(room >= total)
            if len(fits):
                pack = int(fits[np.argmin(room[fits])])
                room[pack] -= total
                packs[pack] += rows
            elif not self._divide(prefix, rows, room, packs):
                return None
        return packs

    def _divide(self, prefix: int, rows: list[int], room: Ints, packs: list[list[int]]) -> bool:
        """Put each row where its group is and it fits most closely, else begin the group in the emptiest pack."""
        places: list[int] = []
        for row in rows:
            size = int(self._own[row])
            fitting = [place for place in places if room[place] >= size]
            if fitting:
                pack = min(fitting, key=lambda place: room[place])
            else:
                pack, size = int(np.argmax(room)), size + prefix
                if pack in places or room[pack] < size:
                    return False
                places.append(pack)
            room[pack] -= size
            packs[pack].append(row)
        return True


@dataclass(slots=True)
class _OpenPack:
    """A pack that still takes rows; its lists become the arrays of a `Pack`."""

    input_ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    position_ids: list[int] = field(default_factory=list)
    segment_ids: list[int] = field(default_factory=list)
    group_ids: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    rows: list[TokenRow] = field(default_factory=list)
    num_groups: int = 0

    def add_prefix(self, ids: Sequence[int]) -> None:
        """Begin a group with what its rows share."""
        self.num_groups += 1
        self._extend(ids, start=0, segment=PREFIX, num_answer=0, weight=0.0)

    def add_row(self, row: TokenRow, num_shared: int) -> None:
        """Add what a row has of its own to the group begun last."""
        own = [*row.prompt_ids[num_shared:], *row.answer_ids]
        self._extend(own, num_shared, len(self.rows), len(row.answer_ids), row.weight)
        self.rows.append(row)

    def close(self) -> Pack:
        """Return the finished pack."""
        return Pack(
            input_ids=np.array(self.input_ids, dtype=np.int64),
            labels=np.array(self.labels, dtype=np.int64),
            position_ids=np.array(self.position_ids, dtype=np.int64),
            segment_ids=np.array(self.segment_ids, dtype=np.int64),
            group_ids=np.array(self.group_ids, dtype=np.int64),
            weights=np.array(self.weights, dtype=np.float32),
            ids=tuple(row.id for row in self.rows),
            tasks=tuple(row.task for row in self.rows),
        )

    def _extend(self, ids: Sequence[int], start: int, segment: int, num_answer: int, weight: float) -> None:
        num_prompt = len(ids) - num_answer
        self.input_ids += ids
        self.labels += [*[IGNORED] * num_prompt, *ids[num_prompt:]]
        self.position_ids += range(start, start + len(ids))
        self.segment_ids += [segment] * len(ids)
        self.group_ids += [self.num_groups - 1] * len(ids)
        self.weights += [*[0.0] * num_prompt, *[weight] * num_answer]
