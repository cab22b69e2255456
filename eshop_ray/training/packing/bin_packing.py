"""Which rows of a step go into which pack: few packs, equal in length, and no prefix computed twice without need."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

LITTLE_WASTE = 0.03
"""Share of padding that is no reason to try another number of packs."""
MORE_TRIES = 4
"""Numbers of packs to try, from the smallest on."""


def fill_packs(own: Ints, groups: Ints, shared: Ints, pack_length: int, num_shares: int = 1) -> list[Ints]:
    """Divide the rows of one step among packs: as few as can be, then as equal in length as can be.

    Every pass of a step is padded to the step's longest pack on a GPU, so the longest pack is made as short as the
    rows allow, which also leaves little room to compute a prefix twice. Where that leaves much padding, a pack more
    may leave less. The method is MULTIFIT (Coffman, Garey and
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
        num_wanted = -(-(len(fewest) + len(packs)) // num_shares) * num_shares - len(packs)
        tries = MORE_TRIES if not packs else 1
        counts = (min(num_wanted + more * num_shares, filler.num_rows) for more in range(tries))
        packs += filler.choose(filler.balance(fewest, num_packs, pack_length) for num_packs in counts)
    arrays = [np.array(pack, dtype=np.int64) for pack in packs]
    return [pack[np.lexsort((pack, own[pack], groups[pack]))] for pack in arrays]


class _Filler:
    """Fills a given number of packs with the rows of a step, group after group, the largest first."""

    def __init__(self, own: Ints, groups: Ints, shared: Ints, rows: Ints) -> None:
        self.num_rows = len(rows)
        self._own, self._shared, self._group_of = own, shared, groups
        self._groups: list[tuple[int, int, list[int]]] = []
        for group in np.unique(groups[rows]):
            members = rows[groups[rows] == group]
            members = members[np.lexsort((members, -own[members]))]
            prefix = int(shared[members[0]])
            self._groups.append((prefix, prefix + int(own[members].sum()), members.tolist()))
        self._groups.sort(key=lambda group: (-group[1], group[2]))
        self._least = sum(total for _, total, _ in self._groups)

    def find_fewest(self, pack_length: int) -> list[list[int]]:
        """Return the smallest number of packs found to hold all rows."""
        low, high = -(-self._least // pack_length), self.num_rows
        best = [[row] for _, _, rows in self._groups for row in rows]
        while low < high:
            middle = low + (high - low) // 8
            packs = self.fill(middle, pack_length)
            if packs:
                best, high = packs, middle
            else:
                low = middle + 1
        return best

    def balance(self, packs: list[list[int]], num_packs: int, pack_length: int) -> list[list[int]]:
        """Return packs of which the longest is as short as found possible, within half a percent.

        Args:
            packs: How the rows fit.
            num_packs: Packs to make, at least as many.
            pack_length: Tokens of a pack at most.
        """
        low, high = -(-self._least // num_packs) - 1, pack_length
        while high - low > max(1, pack_length // 200):
            middle = (low + high) // 2
            found = self.fill(num_packs, middle)
            if found:
                packs, high = found, middle
            else:
                low = middle
        packs = [list(pack) for pack in packs if pack]
        while len(packs) < num_packs:
            fullest = max((pack for pack in packs if len(pack) > 1), key=lambda pack: int(self._own[pack].sum()))
            packs.append(fullest[len(fullest) // 2 :])
            del fullest[len(fullest) // 2 :]
        return packs

    def choose(self, candidates: Iterator[list[list[int]]]) -> list[list[int]]:
        """Return the first way to divide the rows that wastes little, or the one with fewest tokens when padded."""
        best, fewest = list[list[int]](), np.inf
        for packs in candidates:
            sizes = [self._measure(pack) for pack in packs]
            padded = len(sizes) * max(sizes)
            if padded < fewest:
                best, fewest = packs, padded
            if sum(sizes) >= (1 - LITTLE_WASTE) * padded:
                break
        return best

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

    def _measure(self, pack: list[int]) -> int:
        _, first = np.unique(self._group_of[pack], return_index=True)
        return int(self._own[pack].sum() + self._shared[pack][first].sum())

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
