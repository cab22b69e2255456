"""Reviews with stars: Amazon Reviews 2023, a shop's own, or any table with ratings and texts."""

import itertools
from collections.abc import Iterator, Mapping
from functools import partial
from typing import IO, Any

from pydantic import ValidationError

from eshop_ray.config.loading import explain_errors
from eshop_ray.data.formats.reader import read_rows
from eshop_ray.data.instructions.material import Material, ProductTitle, Review
from eshop_ray.data.products import look_up
from eshop_ray.data.sources.required import require_columns, to_line
from eshop_ray.data.sources.reviews import SourceOptions, clean_text, read_rating
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed, Row, content_id

PRODUCT_COLUMNS = ("parent_asin", "asin", "product_id", "product")
"""What names the product, the first that a row has."""


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Material | Malformed]:
    """Yield a `Review` for each row, and a `ProductTitle` for each of a file of products' metadata.

    Reviews then get the titles of their products (`joining`).

    Raises:
        UserError: if a needed column is missing from the whole file.
    """
    own = {key: value for key, value in options.items() if key != "language"}
    try:
        settings = SourceOptions.model_validate(own)
    except ValidationError as error:
        raise UserError(f"reviews source: {explain_errors(error, SourceOptions)}") from error
    names = ("rating", "title", "text")
    columns = {name: settings.columns.get(name, name) for name in names}
    rows = read_rows(stream, path, settings.file_options())
    head = list(_read_head(rows))
    needed: tuple[str, ...] = (columns["rating"], columns["text"])
    parse = partial(_read, columns=columns, language=options["language"])
    if head and not isinstance(head[-1], Malformed) and _is_metadata(head[-1][1], columns):
        needed, parse = ("title",), partial(_read_title, language=options["language"])
    yield from require_columns(itertools.chain(head, rows), path, needed, parse)


def _read_head(rows: Iterator[tuple[int, Row] | Malformed]) -> Iterator[tuple[int, Row] | Malformed]:
    """Yield rows up to the first that can be read."""
    for row in rows:
        yield row
        if not isinstance(row, Malformed):
            return


def _is_metadata(row: Row, columns: Mapping[str, str]) -> bool:
    """Whether a row tells of a product, as the metadata of Amazon Reviews 2023 does, and not of a review."""
    is_review = any(look_up(row, columns[name]) is not None for name in ("rating", "text"))
    return not is_review and "title" in row and any(row.get(name) for name in PRODUCT_COLUMNS)


def _read_title(path: str, number: int, row: Row, language: str) -> Material | Malformed:
    product = next((told for name in PRODUCT_COLUMNS if (told := to_line(row.get(name)))), "")
    title = to_line(row.get("title"))
    if not product or not title:
        return Malformed(path, number, f"`title` or the product's id ({', '.join(PRODUCT_COLUMNS)}) is empty")
    return ProductTitle(id=product, language=language, title=title)


def _read(path: str, number: int, row: Row, columns: Mapping[str, str], language: str) -> Material | Malformed:
    values = {name: look_up(row, column) for name, column in columns.items()}
    rating = read_rating(values["rating"])
    text, title = (clean_text(value) if isinstance(value := values[name], str) else "" for name in ("text", "title"))
    if rating is None or not text:
        return Malformed(path, number, "`rating` is not 1 to 5" if rating is None else "`text` is missing or empty")
    product = next((told for name in PRODUCT_COLUMNS if (told := to_line(row.get(name)))), "")
    return Review(
        id=content_id(product, title, text, rating),
        language=language,
        text=text,
        rating=int(rating),
        title=title,
        product=product,
    )
