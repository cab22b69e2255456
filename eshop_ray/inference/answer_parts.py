"""Answers of a bulk run as they come, in small files of its storage that a rerun goes on from.

Each file appears whole or not at all. They lie beside the folder of predictions, for one set of inputs each: what was
answered with other settings is of no use, and is removed.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from eshop_ray.artifacts import shorten_digest
from eshop_ray.places import place_of
from eshop_ray.schema import PREDICTION_SCHEMA
from eshop_ray.storage import Storage

ROWS_PER_FILE = 100_000
"""Of the predictions in the end."""

KEYS = ["task", "id"]
EMPTY: pa.Table = PREDICTION_SCHEMA.empty_table()
_ENDING = ".parquet"


class AnswerParts:
    """The files of one run; picklable, as workers write them."""

    def __init__(self, predictions_dir: Path, inputs: str) -> None:
        """Name the folder.

        Args:
            predictions_dir: Where the predictions are to stand.
            inputs: Digest of all that determines them.
        """
        self._beside = Storage(place_of(predictions_dir.parent))
        self._prefix = f".{predictions_dir.name}.answers-"
        self._name = self._prefix + shorten_digest(inputs)
        self._storage = self._beside.below(self._name)

    def open(self) -> pa.Table:
        """Make the folder ready, and return `task` and `id` of what an earlier run has answered; failures are not."""
        self._beside.make_folder()
        for folder in self._beside.list_folder()[0]:
            if folder.startswith(self._prefix) and folder != self._name:
                self._beside.remove_folder(folder)
        self._storage.make_folder()
        answered = [self._keep_answers(name) for name in self.list_files()]
        return pa.concat_tables([EMPTY.select(KEYS), *answered])

    def take_back(self, predictions_dir: Path) -> None:
        """Begin from complete predictions with the same inputs: `open` then takes their failures out."""
        self._beside.make_folder()
        self._storage.make_folder()
        for path in sorted(predictions_dir.glob(f"*{_ENDING}")):
            self.write(pq.read_table(path, schema=PREDICTION_SCHEMA))

    def write(self, block: pa.Table) -> None:
        """Add answers, columns of `PREDICTION_SCHEMA`."""
        sink = pa.BufferOutputStream()
        pq.write_table(block, sink)
        self._storage.write(f"{uuid4().hex}{_ENDING}", sink.getvalue().to_pybytes())

    def read(self) -> Iterator[pa.Table]:
        """Yield all answers in tables of about `ROWS_PER_FILE`."""
        held: list[pa.Table] = []
        for name in self.list_files():
            held.append(self.read_file(name))
            if sum(table.num_rows for table in held) >= ROWS_PER_FILE:
                yield pa.concat_tables(held)
                held = []
        if held:
            yield pa.concat_tables(held)

    def list_files(self) -> list[str]:
        """Return the names of all files."""
        return sorted(file.path for file in self._storage.list())

    def read_file(self, name: str) -> pa.Table:
        """Return the answers of a file."""
        return pq.read_table(self._open(name), schema=PREDICTION_SCHEMA)

    def remove(self) -> None:
        """Clear away what has become predictions."""
        self._beside.remove_folder(self._name)

    def _open(self, name: str) -> io.BytesIO:
        return io.BytesIO(self._storage.read(name) or b"")

    def _keep_answers(self, name: str) -> pa.Table:
        """Return the keys of a file's answers, and take its failures out of it: they are asked again."""
        keys = pq.read_table(self._open(name), columns=[*KEYS, "error"])
        if keys["error"].null_count == keys.num_rows:
            return keys.select(KEYS)
        table = pq.read_table(self._open(name), schema=PREDICTION_SCHEMA)
        answers = table.filter(pc.is_null(table["error"]))
        if answers.num_rows:
            self.write(answers)
        self._storage.delete(name)
        return answers.select(KEYS)
