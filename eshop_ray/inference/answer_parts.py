"""Answers of a bulk run as they come, in small files that a rerun goes on from.

Each file appears whole or not at all. They lie beside the folder of predictions, for one set of inputs each: what was
answered with other settings is of no use, and is removed.
"""

from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from eshop_ray.artifacts import shorten_digest
from eshop_ray.schema import PREDICTION_SCHEMA

ROWS_PER_FILE = 100_000
"""Of the predictions in the end."""

KEYS = ["task", "id"]
EMPTY: pa.Table = PREDICTION_SCHEMA.empty_table()
_ENDING = ".parquet"


class AnswerParts:
    """The files of one run."""

    def __init__(self, predictions_dir: Path, inputs: str) -> None:
        """Name the folder.

        Args:
            predictions_dir: Where the predictions are to stand.
            inputs: Digest of all that determines them.
        """
        self._prefix = f".{predictions_dir.name}.answers-"
        self.folder = predictions_dir.with_name(self._prefix + shorten_digest(inputs))

    def open(self) -> pa.Table:
        """Make the folder ready, and return `task` and `id` of what an earlier run has answered; failures are not."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for other in self.folder.parent.glob(f"{self._prefix}*"):
            if other != self.folder:
                rmtree(other, ignore_errors=True)
        answered = [self._keep_answers(path) for path in sorted(self.folder.iterdir())]
        return pa.concat_tables([EMPTY.select(KEYS), *answered])

    def write(self, block: pa.Table) -> None:
        """Add answers, columns of `PREDICTION_SCHEMA`."""
        path = self.folder / f"{uuid4().hex}{_ENDING}"
        staged = path.with_suffix(".partial")
        pq.write_table(block, staged)
        staged.replace(path)

    def read(self) -> Iterator[pa.Table]:
        """Yield all answers in tables of about `ROWS_PER_FILE`."""
        held: list[pa.Table] = []
        for path in sorted(self.folder.glob(f"*{_ENDING}")):
            held.append(pq.read_table(path, schema=PREDICTION_SCHEMA))
            if sum(table.num_rows for table in held) >= ROWS_PER_FILE:
                yield pa.concat_tables(held)
                held = []
        if held:
            yield pa.concat_tables(held)

    def remove(self) -> None:
        """Clear away what has become predictions."""
        rmtree(self.folder, ignore_errors=True)

    def _keep_answers(self, path: Path) -> pa.Table:
        """Return the keys of a file's answers, and take its failures out of it: they are asked again."""
        if path.suffix != _ENDING:  # a killed run was writing it
            path.unlink()
            return EMPTY.select(KEYS)
        keys = pq.read_table(path, columns=[*KEYS, "error"])
        if keys["error"].null_count == keys.num_rows:
            return keys.select(KEYS)
        table = pq.read_table(path, schema=PREDICTION_SCHEMA)
        answers = table.filter(pc.is_null(table["error"]))
        if answers.num_rows:
            self.write(answers)
        path.unlink()
        return answers.select(KEYS)
