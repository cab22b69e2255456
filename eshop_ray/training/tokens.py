"""Rows to learn from on disk: written by Ray Data's tasks, read at random by mapping the files into memory.

Each task makes the token ids of a block one Arrow file, and says what is known about its rows. The driver keeps that
index, ordered by task and id, so a row's number depends neither on the files nor on who made them.
"""

import hashlib
import logging
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from eshop_ray.artifacts import AnyFolder, stage_dir, write_manifest
from eshop_ray.data.tokenization import TOKEN_SCHEMA, TOO_LONG, UNANSWERED
from eshop_ray.errors import UserError
from eshop_ray.training.packing.bin_packing import Ints
from eshop_ray.training.packing.pack import TokenRow
from eshop_ray.training.packing.prefixes import Prompts

if TYPE_CHECKING:
    from ray.data import Dataset

logger = logging.getLogger(__name__)

INDEX = "index.arrow"
TOKENS = "tokens"
"""The kind of such a folder."""
SUFFIX = ".tokens"
MAX_NAMED = 10
"""Rows left out that are named in the log, without their text; all are counted."""

REASONS = {"num_too_long": TOO_LONG, "num_unanswered": UNANSWERED}
"""Reasons why rows are left out that are counted by themselves: name of the count -> how `error` begins."""
COUNTS = ("num_errors", *REASONS)

INDEX_SCHEMA = pa.schema(
    [
        ("task", pa.string()),
        ("id", pa.string()),
        ("group", pa.string()),
        ("digest", pa.string()),
        ("num_prompt", pa.int32()),
        ("num_answer", pa.int32()),
        ("num_cut", pa.int32()),
        ("error", pa.string()),
        ("file", pa.string()),
        ("row", pa.int32()),
    ]
)
"""What is known of a row without its tokens; `digest`, of the tokens, orders rows of the same id."""


@dataclass(frozen=True)
class TokenStore:
    """The rows that can be learned from, numbered 0..N-1 by task and id."""

    folder: Path
    index: pa.Table
    """Columns of `INDEX_SCHEMA`, one row per usable row."""
    num_errors: int
    """Rows that could not be made, for another reason than these:"""
    num_too_long: int
    """Rows that do not fit."""
    num_unanswered: int = 0
    """Rows without an answer to learn from, with `train.answers`."""

    @classmethod
    def open(cls, place: AnyFolder) -> "TokenStore":
        """Return the store that `write_tokens` has left in a folder.

        Raises:
            UserError: if there is none.
        """
        folder = Path(place)
        try:
            index = pa.ipc.open_file(pa.memory_map(str(folder / INDEX))).read_all()
        except (OSError, pa.ArrowInvalid) as error:
            raise UserError(f"{folder}: no complete token files ({type(error).__name__}); train again") from error
        counts = {name: int(index.schema.metadata.get(name.encode(), 0)) for name in COUNTS}
        return cls(folder, index, **counts)

    def __len__(self) -> int:
        """Usable rows."""
        return int(self.index.num_rows)

    @property
    def num_cut(self) -> int:
        """Rows that lost the beginning of their own text."""
        return int(np.count_nonzero(self._column("num_cut")))

    @property
    def ids(self) -> pa.ChunkedArray:
        """The rows' ids."""
        return self.index["id"]

    @cached_property
    def tasks(self) -> npt.NDArray[np.str_]:
        """The rows' tasks, (N,)."""
        encoded = self.index["task"].combine_chunks().dictionary_encode()
        names = np.array(encoded.dictionary.to_pylist(), dtype=np.str_)
        tasks: npt.NDArray[np.str_] = names[encoded.indices.to_numpy()] if len(self) else names
        return tasks

    @property
    def num_prompt(self) -> Ints:
        """Tokens of the prompts, (N,)."""
        return self._column("num_prompt")

    @property
    def num_answer(self) -> Ints:
        """Tokens of the answers, (N,)."""
        return self._column("num_answer")

    def read(self, numbers: Sequence[int] | Ints) -> list[TokenRow]:
        """Return rows in the order of their numbers."""
        picked = self.index.select(["id", "task", "file", "row"]).take(pa.array(numbers, pa.int64())).to_pylist()
        return [
            TokenRow(
                row["id"],
                row["task"],
                _read_ids(self.folder / row["file"], "prompt_ids", row["row"]),
                _read_ids(self.folder / row["file"], "answer_ids", row["row"]),
            )
            for row in picked
        ]

    def read_prompts(self, numbers: Ints) -> Prompts:
        """Return the prompts of many rows as one array; see `find_prefixes`."""
        files, rows = self._places
        lengths = self.num_prompt[numbers]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        tokens = np.empty(offsets[-1], dtype=np.int32)
        file_numbers = files.indices.to_numpy()[numbers]
        for number in np.unique(file_numbers):
            mine = np.flatnonzero(file_numbers == number)
            values, starts = _open_column(self.folder / files.dictionary[int(number)].as_py(), "prompt_ids")
            steps = np.arange(lengths[mine].sum()) - np.repeat(np.cumsum(lengths[mine]) - lengths[mine], lengths[mine])
            source = np.repeat(starts[rows[numbers[mine]]], lengths[mine]) + steps
            tokens[np.repeat(offsets[mine], lengths[mine]) + steps] = values[source]
        return tokens, offsets

    @cached_property
    def _places(self) -> tuple[pa.DictionaryArray, Ints]:
        return self.index["file"].combine_chunks().dictionary_encode(), self._column("row")

    def _column(self, name: str) -> Ints:
        values: Ints = self.index[name].to_numpy().astype(np.int64)
        return values


def write_tokens(tokens: "Dataset", folder: Path) -> TokenStore:
    """Write rows to learn from, in the place of earlier ones.

    The driver writes what the tasks make, so that nodes need no disk in common.

    Args:
        tokens: Columns of `TOKEN_SCHEMA`.
        folder: Where the files go, with a manifest.
    """
    written = tokens.map_batches(_pack_block, batch_format="pyarrow", batch_size=None)
    blocks = [INDEX_SCHEMA.empty_table()]
    with stage_dir(folder) as staged:
        for row in written.iter_rows():
            (staged / row["file"]).write_bytes(row["content"])
            blocks.append(pa.ipc.open_stream(row["index"]).read_all())
        write_index(pa.concat_tables(blocks), staged)
        write_manifest(staged, TOKENS, "", {})
    return TokenStore.open(folder)


def _pack_block(block: pa.Table) -> pa.Table:
    """Return a block's tokens as the bytes of a file, and its index, in one row."""
    index, tokens = _index_block(block)
    rows = {"file": [index["file"][0].as_py()], "content": [to_file(tokens)], "index": [_to_stream(index)]}
    return pa.table(rows, schema=_PACKED) if len(index) else _PACKED.empty_table()


_PACKED = pa.schema([("file", pa.string()), ("content", pa.large_binary()), ("index", pa.large_binary())])


def write_block(block: pa.Table, folder: Path) -> pa.Table:
    """Write one block's tokens under a name of their own and return its index."""
    index, tokens = _index_block(block)
    _write_file(tokens, folder / index["file"][0].as_py())
    return index


def _index_block(block: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Return what is known of the rows, columns of `INDEX_SCHEMA`, and their tokens."""
    block = block.select(TOKEN_SCHEMA.names).cast(TOKEN_SCHEMA)
    table = block.select(["prompt_ids", "answer_ids"]).combine_chunks()
    columns = {name: block[name] for name in ("task", "id", "group", "num_cut", "error")}
    columns["num_prompt"] = pc.list_value_length(block["prompt_ids"])
    columns["num_answer"] = pc.list_value_length(block["answer_ids"])
    columns["digest"] = pa.array(_digest_rows(table), pa.string())
    columns["file"] = pa.array([f"{uuid.uuid4().hex}{SUFFIX}"] * len(block), pa.string())
    columns["row"] = pa.array(range(len(block)), pa.int32())
    return pa.table({name: columns[name] for name in INDEX_SCHEMA.names}, schema=INDEX_SCHEMA), table


def write_index(index: pa.Table, folder: Path) -> None:
    """Number the usable rows by task and id and count the others; a folder with an index is complete."""
    is_usable = pc.is_null(index["error"])
    for row in index.filter(pc.invert(is_usable)).slice(0, MAX_NAMED).to_pylist():
        reason = row["error"] if row["error"].startswith(TOO_LONG) else row["error"].partition(":")[0]
        logger.warning("row %s of %s is left out: %s", row["id"], row["task"], reason)
    num_unusable = len(index) - pc.sum(is_usable, min_count=0).as_py()
    counts = {
        name: pc.sum(pc.starts_with(index["error"], reason), min_count=0).as_py() for name, reason in REASONS.items()
    }
    usable = index.filter(is_usable).sort_by([(name, "ascending") for name in ("task", "id", "digest")])
    counts = {**counts, "num_errors": num_unusable - sum(counts.values())}
    metadata = {name: str(number) for name, number in counts.items()}
    _write_file(usable.replace_schema_metadata(metadata), folder / INDEX)


def _write_file(table: pa.Table, path: Path) -> None:
    """Write a file completely or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    with pa.OSFile(str(partial), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    partial.replace(path)


def to_file(table: pa.Table) -> bytes:
    """Return a table as the bytes of a file that can be mapped into memory."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _to_stream(table: pa.Table) -> Any:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def _digest_rows(table: pa.Table) -> Iterator[str]:
    columns = [_split_column(table[name]) for name in ("prompt_ids", "answer_ids")]
    for row in range(len(table)):
        digest = hashlib.blake2b(digest_size=8)
        for values, offsets in columns:
            ids = values[offsets[row] : offsets[row + 1]]
            digest.update(len(ids).to_bytes(4, "little") + ids.tobytes())
        yield digest.hexdigest()


def _read_ids(path: Path, name: str, row: int) -> list[int]:
    values, offsets = _open_column(path, name)
    ids: list[int] = values[offsets[row] : offsets[row + 1]].tolist()
    return ids


@lru_cache(maxsize=8192)
def _open_column(path: Path, name: str) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return a column of a file mapped into memory; the map lives as long as the arrays do."""
    with pa.memory_map(str(path)) as source:
        return _split_column(pa.ipc.open_file(source).read_all()[name])


def _split_column(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Return all token ids of a column and where each row's begin, with the end."""
    lists = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    return lists.values.to_numpy(), lists.offsets.to_numpy()
