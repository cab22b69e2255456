"""What a teacher says of every row of a token store, on disk: computed once, read at random by mapping it into memory.

targets/00000.targets   a block of rows: for each answer token K words, their log probabilities, and that of all others
targets/places.arrow    file and first answer token of every row, by its number in the token store
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eshop_ray.artifacts import AnyFolder
from eshop_ray.models.switched import find_weights
from eshop_ray.training.packing.bin_packing import Ints
from eshop_ray.training.packing.soft_targets import SoftTargets
from eshop_ray.training.tokens import TokenStore, to_file

PLACES = "places.arrow"
ROWS_PER_BLOCK = 256
"""Rows that a teacher is asked about at a time: what is lost when it dies."""

Words = npt.NDArray[np.int32]
Logprobs = npt.NDArray[np.float16]


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Rows that a teacher is asked about together."""

    number: int
    update: str | None
    """Of a switched model, by whose weights it answers; None where all rows have the same."""
    rows: Ints
    """Numbers in the token store."""

    @property
    def file(self) -> str:
        """Name of the file of its targets."""
        return f"{self.number:05d}.targets"


def plan_blocks(store: TokenStore, held: Sequence[str]) -> list[Block]:
    """Divide the rows of a store into blocks, each for one update of the teacher; always in the same way.

    Args:
        store: The rows.
        held: The teacher's updates; empty for one that is the same for all rows.
    """
    pairs = list(zip(store.tasks.tolist(), store.index["group"].to_pylist(), strict=True))
    answers_by = {pair: find_weights(held, *pair) for pair in set(pairs)}
    updates = np.array([answers_by[pair] or "" for pair in pairs], dtype=np.str_)
    blocks: list[Block] = []
    for update in np.unique(updates):
        rows = np.flatnonzero(updates == update)
        for start in range(0, len(rows), ROWS_PER_BLOCK):
            blocks.append(Block(len(blocks), str(update) or None, rows[start : start + ROWS_PER_BLOCK]))
    return blocks


def pack_targets(words: Words, logprobs: Logprobs) -> bytes:
    """Return a block's targets as the bytes of a file.

    Args:
        words: (A, K) of the answer tokens of its rows, behind each other.
        logprobs: (A, K + 1), natural logarithms.
    """
    columns = {
        "words": pa.FixedSizeListArray.from_arrays(pa.array(words.ravel()), words.shape[1]),
        "logprobs": pa.FixedSizeListArray.from_arrays(pa.array(logprobs.ravel()), logprobs.shape[1]),
    }
    return to_file(pa.table(columns))


def write_places(blocks: Sequence[Block], num_answer: Ints, folder: Path) -> None:
    """Write where the targets of each row stand.

    Args:
        blocks: Of `plan_blocks`; together they hold each row once.
        num_answer: Answer tokens of all rows.
        folder: Where the blocks' files are.
    """
    files, starts = np.zeros(len(num_answer), np.int32), np.zeros(len(num_answer), np.int64)
    for block in blocks:
        lengths = num_answer[block.rows]
        files[block.rows] = block.number
        starts[block.rows] = np.cumsum(lengths) - lengths
    (folder / PLACES).write_bytes(to_file(pa.table({"file": files, "start": starts})))


@dataclass(frozen=True, slots=True, eq=False)
class TargetStore:
    """Targets by the rows' numbers in the token store."""

    folder: Path
    share: float
    """What the teacher counts beside the answer's own words."""
    files: Ints
    starts: Ints

    @classmethod
    def open(cls, place: AnyFolder, share: float) -> "TargetStore":
        """Return the targets of a folder.

        Args:
            place: The folder.
            share: `train.teacher_share`.
        """
        folder = Path(place)
        places = pa.ipc.open_file(pa.memory_map(str(folder / PLACES))).read_all()
        return cls(folder, share, places["file"].to_numpy(), places["start"].to_numpy())

    def read(self, number: int, answer_ids: Sequence[int]) -> SoftTargets:
        """Return what is to be learned at the answer tokens of a row.

        With a share below 1 the rest goes to the token's own word. The gradient is then that of `share` times the
        distance to the teacher plus the rest times the cross entropy.

        Args:
            number: Of the row.
            answer_ids: Its answer tokens.
        """
        block = Block(int(self.files[number]), None, self.files[:0])
        words, logprobs = _open(self.folder / block.file)
        chosen = slice(self.starts[number], self.starts[number] + len(answer_ids))
        probabilities = np.exp(logprobs[chosen].astype(np.float32))
        probabilities *= self.share / probabilities.sum(1, keepdims=True)  # what rounding took from the sum
        own = words[chosen] == np.array(answer_ids)[:, None]
        probabilities[:, :-1][own] += 1 - self.share
        return SoftTargets(words[chosen], probabilities)


@lru_cache(maxsize=8192)
def _open(path: Path) -> tuple[Words, Logprobs]:
    """Return a file's targets mapped into memory; the map lives as long as the arrays do."""
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    words, logprobs = (table[name].chunk(0) for name in ("words", "logprobs"))
    return (
        words.values.to_numpy().reshape(len(words), -1),
        logprobs.values.to_numpy().reshape(len(logprobs), -1),
    )
