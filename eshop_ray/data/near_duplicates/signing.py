"""Texts to keys: a digest by which equal ones meet, and one key a band by which those meet that may be alike."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from eshop_ray.config.cleaning import NearDuplicatesSection
from eshop_ray.data.near_duplicates.bands import choose_bands, sign
from eshop_ray.data.near_duplicates.shingles import build_shingles, digest_words, read_words
from eshop_ray.data.near_duplicates.staging import Columns, Part, read_part
from eshop_ray.exchange import Buckets, Exchange, PartWriter
from eshop_ray.schema import Row
from eshop_ray.storage import Storage

EQUAL_ROWS = 1 << 18
KEYS = 1 << 20
"""Of a bucket, on average: what one task sorts."""

_EQUAL = pa.schema(
    [
        ("first", pa.uint64()),
        ("second", pa.uint64()),
        ("number", pa.int64()),
        ("id", pa.string()),
        ("priority", pa.float64()),
    ]
)
_NEAR = pa.schema([("key", pa.uint64()), ("number", pa.int64())])


@dataclass(frozen=True, slots=True)
class Job:
    """What all phases of one removal know; picklable."""

    rows: Storage
    """Where the staged rows are."""
    storage: Storage
    """Where this removal's own files are: of these rows and settings, and of no others."""
    columns: Columns
    section: NearDuplicatesSection
    num_rows: int

    @property
    def equal(self) -> Exchange:
        """Rows by the digest of their words."""
        return Exchange(self.storage, "digests", _EQUAL, math.ceil(self.num_rows / EQUAL_ROWS))

    @property
    def near(self) -> Exchange:
        """Rows by the keys of their bands."""
        num_keys = self.num_rows * choose_bands(self.section.threshold).num_bands
        return Exchange(self.storage, "bands", _NEAR, math.ceil(num_keys / KEYS))

    def read_texts(self, part: Part) -> Iterable[pa.Table]:
        """Yield number, id, priority, text and within of a part's rows, some at a time."""
        number = part.start
        for batch in read_part(self.rows, part, self.columns.names):
            yield self.columns.select(batch, number)
            number += len(batch)


def sign_part(job: Job, item: Mapping[str, Any]) -> Row:
    """Write the keys of a part's rows, and return where they stand."""
    part = Part(**item)
    equal = PartWriter(job.equal, part.name, _place_by("first", job.equal.num_buckets))
    near = PartWriter(job.near, part.name, _place_by("key", job.near.num_buckets))
    bands = choose_bands(job.section.threshold)
    for rows in job.read_texts(part):
        words = read_words(rows["text"].combine_chunks(), rows["within"].to_numpy(), job.section.unit)
        first, second = digest_words(words)
        digests = pa.table({"first": first, "second": second})
        for name in ("number", "id", "priority"):
            digests = digests.append_column(name, rows[name])
        equal.add(digests)
        keys = sign(build_shingles(words, job.section.num_units), bands)
        numbers = np.repeat(rows["number"].to_numpy(), bands.num_bands)
        near.add(pa.table({"key": keys.ravel(), "number": numbers}))
    return {"equal": equal.close(), "near": near.close()}


def _place_by(name: str, num_buckets: int) -> Callable[[pa.Table], Buckets]:
    return partial(_place, name, num_buckets)


def _place(name: str, num_buckets: int, rows: pa.Table) -> Buckets:
    buckets: Buckets = (rows[name].to_numpy() % np.uint64(num_buckets)).astype(np.int64)
    return buckets
