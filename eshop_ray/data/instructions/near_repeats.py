"""Questions that nearly repeat another of their sub-task: found on any number of nodes, and marked."""

from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from ray.data import Dataset

from eshop_ray.config.cleaning import NearDuplicatesSection
from eshop_ray.data.cleaning import TRAIN
from eshop_ray.data.instructions.candidates import unseen_id
from eshop_ray.data.instructions.choose import set_removed
from eshop_ray.data.instructions.draw import RANKS
from eshop_ray.data.instructions.plan import UNSEEN
from eshop_ray.data.near_duplicates import remove_near_duplicates
from eshop_ray.places import place_of
from eshop_ray.storage import Storage

NEARLY = "nearly asked twice"
FOLDER = "near_duplicates"
"""Of what is exchanged meanwhile; a build that was stopped goes on with it."""


def find_near_repeats(candidates: Dataset, section: NearDuplicatesSection, folder: Path) -> frozenset[str]:
    """Return the ids of candidates that nearly repeat another one; a row of an evaluation split wins over one to learn
    from, then the lower rank does.

    A question in its unseen wording goes with the same question in `dev`, and is not compared itself.

    Args:
        candidates: Columns of `CANDIDATE_SCHEMA`; those that are marked already are not looked at.
        section: What is alike.
        folder: Of the run; all nodes reach it.
    """
    rows = candidates.map_batches(_select_compared, batch_format="pyarrow")
    storage = Storage(place_of(folder))
    found = remove_near_duplicates(rows, section, storage.below(FOLDER), "id", "compared", "priority", "within")
    going = [row["id"] for row in found.removed.iter_rows()]
    storage.remove_folder(FOLDER)
    return frozenset((*going, *map(unseen_id, going)))


def mark_near_repeats(table: pa.Table, going: Collection[str]) -> pa.Table:
    """Mark the rows of some ids."""
    pairs = zip(table["id"].to_pylist(), table["removed"].to_pylist(), strict=True)
    return set_removed(table, [removed or (NEARLY if row_id in going else None) for row_id, removed in pairs])


def _select_compared(table: pa.Table) -> pa.Table:
    table = table.filter(pc.and_(pc.is_null(table["removed"]), pc.not_equal(table["split"], UNSEEN)))
    is_learned = pc.equal(table["split"], TRAIN).cast(pa.float64())
    rank = pc.divide(table["rank"].cast(pa.float64(), safe=False), float(RANKS))
    return table.select(["id", "compared", "within"]).append_column("priority", pc.add(is_learned, rank))
