"""Columns of text, a block of rows at a time: the fast road for files whose rows are all of one kind."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from eshop_ray.schema import Malformed, Row


@dataclass(frozen=True, slots=True)
class TextBlock:
    """Well-formed rows, by columns."""

    columns: Mapping[str, pa.Array]
    """The wanted columns, as text; null where a row has none. One that is missing here has no row of the file."""
    lines: np.ndarray
    """1-based line or row of the file where each row begins."""


Found = TextBlock | tuple[int, Row] | Malformed
"""What a reader by blocks yields: a row by itself where a block of rows is not all well-formed, or not all text."""

Blocks = Iterator[Found]
BLOCK_BYTES = 4 << 20
