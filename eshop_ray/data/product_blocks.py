"""Products by columns: what `read_products` gives row by row, a block at a time where the file allows it."""

from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from eshop_ray.config.files import CatalogOptions
from eshop_ray.data.formats.reader import read_text_blocks
from eshop_ray.data.formats.text_blocks import TextBlock
from eshop_ray.data.markup import to_plain_text
from eshop_ray.data.products import (
    MAX_ID_CHARACTERS,
    ReadRow,
    choose_file_options,
    finish_row,
    read_id,
    read_products,
    select_level,
)

_UNUSUAL_ID = rf"^ | $|^\d+\.0+$|^$|[^ -~]|.{{{MAX_ID_CHARACTERS + 1}}}"
_MARKED = "[<&]"
_TEXT = pa.string()
_SPACED = r"  |^ | $|[^!-~\pL\pN ]"  # what is neither letter, digit nor ASCII may be a blank of another kind


def read_product_blocks(
    stream: IO[bytes], path: str, options: CatalogOptions, names: Sequence[str]
) -> Iterator[TextBlock | ReadRow]:
    """Yield products by columns, called by our names, where well-formed rows follow each other; others as rows.

    A block has `id`, and those of `names` that the file has: texts without markup, the category as `options.category`
    says. An id that is none is null.

    Args:
        stream: As for `read_products`.
        path: As for `read_products`.
        options: As for `read_products`.
        names: Our names of the wanted columns.

    Raises:
        UserError: as `read_products` does.
    """
    columns = {name: options.columns.get(name, name) for name in ("id", *names)}
    is_plain = all(isinstance(column, str) and "." not in column for column in columns.values())
    if not is_plain or options.format or options.newest_by or len(set(columns.values())) < len(columns):
        yield from read_products(stream, path, options)
        return
    own = {str(column): name for name, column in columns.items()}
    files = choose_file_options(path, options)
    texts = [column for column, name in own.items() if name != "id"]
    for found in read_text_blocks(stream, path, files, texts, [str(columns["id"])]):
        if isinstance(found, TextBlock):
            yield _finish_block(found, own, options)
        elif isinstance(found, tuple):
            yield found[0], finish_row(found[1], options)
        else:
            yield found


def _finish_block(block: TextBlock, own: dict[str, str], options: CatalogOptions) -> TextBlock:
    named = {own[column]: values for column, values in block.columns.items()}
    finished = {name: clean_column(values) for name, values in named.items() if name != "id"}
    if "category" in finished and options.category != "path":
        level = options.category
        finished["category"] = map_distinct(finished["category"], lambda text: select_level(text, level))
    ids = named.get("id", pa.nulls(len(block.lines), pa.string()))
    return TextBlock({"id": normalize_ids(clean_column(ids)), **finished}, block.lines)


def normalize_ids(values: pa.Array) -> pa.Array:
    """Return ids as `read_id` gives them, null where a text is none."""
    return map_matching(values, _UNUSUAL_ID, read_id)


def clean_column(values: pa.Array) -> pa.Array:
    """Return texts without markup."""
    return map_matching(values, _MARKED, to_plain_text)


def squeeze_column(values: pa.Array) -> pa.Array:
    """Return texts on one line, their words one blank apart."""
    return map_matching(values, _SPACED, lambda text: " ".join(text.split()))


def map_matching(values: pa.Array, pattern: str, function: Callable[[str], str | None]) -> pa.Array:
    """Return a column in which the texts that match a pattern are what a function makes of them."""
    is_matching = pc.fill_null(pc.match_substring_regex(values, pattern), False)
    places = np.flatnonzero(is_matching.to_numpy(zero_copy_only=False))
    if not len(places):
        return values
    made = pa.array([function(text) for text in values.take(places).to_pylist()], pa.string())
    return pc.replace_with_mask(values, is_matching, made)


def map_distinct(values: pa.Array, function: Callable[[str], Any], kind: pa.DataType = _TEXT) -> pa.Array:
    """Return a column of what a function makes of its texts, each distinct one once."""
    encoded = values.dictionary_encode()
    made = pa.array([None if text is None else function(text) for text in encoded.dictionary.to_pylist()], kind)
    return made.take(encoded.indices)
