"""What the table's rows of a task look like: what tonight's answers are compared with."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from eshop_ray.enrichment.questions import ENRICHED, QUARANTINED
from eshop_ray.enrichment.table import DataFile, Table

SAMPLED_FILES = 8
"""Files of a task that are read, the newest."""
MAX_ROWS = 5_000
"""Rows that are looked at, the last answered."""
_COLUMNS = ["status", "prediction", "num_generated_tokens", "model_digest", "inferred_at"]


@dataclass(frozen=True, slots=True)
class Reference:
    """Recent rows of one task."""

    failed_share: float = 0.0
    """Rows with the status `quarantined` among those that have or want an answer, 0 to 1."""
    predictions: Counter[str] = field(default_factory=Counter)
    """JSON text -> rows, of those with the status `enriched`."""
    num_tokens: tuple[int, ...] = ()
    """Of each of these rows."""
    models: frozenset[str] = frozenset()
    """Digests of what answered them."""

    @property
    def num_rows(self) -> int:
        """Rows with the status `enriched`."""
        return self.predictions.total()


def read_reference(table: Table, files: Iterable[DataFile], task: str) -> Reference:
    """Return the recent rows of a task.

    Raises:
        UserError: if a file is damaged or the storage refuses.
    """
    newest = sorted((file for file in files if file.task == task), key=lambda file: file.modified_ms)[-SAMPLED_FILES:]
    if not newest:
        return Reference()
    rows = pa.concat_tables([table.read_file(file, _COLUMNS) for file in newest])
    enriched = rows.filter(pc.equal(rows["status"], ENRICHED)).sort_by([("inferred_at", "descending")])[:MAX_ROWS]
    counted = Counter(rows["status"].to_pylist())
    return Reference(
        failed_share=counted[QUARANTINED] / max(counted[QUARANTINED] + counted[ENRICHED], 1),
        predictions=Counter(enriched["prediction"].to_pylist()),
        num_tokens=tuple(number or 0 for number in enriched["num_generated_tokens"].to_pylist()),
        models=frozenset(enriched["model_digest"].to_pylist()),
    )
