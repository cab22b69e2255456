"""The phases of a removal in this process, one item after the other: what Ray runs is what runs here."""

from contextlib import contextmanager

import pytest

from eshop_ray.data.near_duplicates import removal, work


class Tables:
    """Stands for a dataset."""

    def __init__(self, tables):
        self.tables = list(tables)

    def map_batches(self, function, **_):
        return Tables(block for table in self.tables for block in function(table))

    def iter_rows(self):
        return (row for table in self.tables for row in table.to_pylist())


@contextmanager
def without_ray():
    """Have datasets be `Tables`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "map_tasks", lambda function, items: (function(item) for item in items))
        patch.setattr(removal, "map_items", lambda read, items: Tables(table for item in items for table in read(item)))
        yield


def list_ids(rows):
    return sorted(row["id"] for row in rows.iter_rows())
