"""The phases of a removal in this process, one item after the other: what Ray runs is what runs here."""

from contextlib import contextmanager

import pyarrow as pa
import pytest

from eshop_ray.data.near_duplicates import removal, work


class Tables:
    """Stands for a dataset."""

    def __init__(self, tables):
        self.tables = list(tables)

    def map_batches(self, function, fn_kwargs=None, **_):
        found = (function(table, **(fn_kwargs or {})) for table in self.tables)
        return Tables(block for one in found for block in ([one] if isinstance(one, pa.Table) else one))

    def repartition(self, target_num_rows_per_block):
        size = target_num_rows_per_block
        return Tables(t.slice(start, size) for t in self.tables for start in range(0, t.num_rows, size))

    def union(self, *others):
        return Tables([*self.tables, *(table for other in others for table in other.tables)])

    def select_columns(self, names):
        return Tables(table.select(names) for table in self.tables)

    def materialize(self):
        return self

    def iter_rows(self):
        return (row for table in self.tables for row in table.to_pylist())

    def iter_batches(self, **_):
        return iter(self.tables)


@contextmanager
def without_ray():
    """Have datasets be `Tables`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "map_tasks", lambda function, items: (function(item) for item in items))
        patch.setattr(removal, "map_items", lambda read, items: Tables(table for item in items for table in read(item)))
        yield


def list_ids(rows):
    return sorted(row["id"] for row in rows.iter_rows())
