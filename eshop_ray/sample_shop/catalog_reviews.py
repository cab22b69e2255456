"""Reviews for the products of any shop: real catalogues seldom come with reviews that may be shared."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from eshop_ray.sample_shop.aspects import BY_CATEGORY
from eshop_ray.sample_shop.products import make_rng
from eshop_ray.sample_shop.reviews import Subject, make_reviews, to_rating_row
from eshop_ray.sample_shop.write import write_json_lines

MAX_REVIEWS = 8
"""Most reviews of one product; some have none."""

_CATEGORIES = {category.casefold(): category for category in BY_CATEGORY}
_USES = ("everyday use", "a birthday present", "the holidays", "our home", "a friend")
_NAME_END = re.compile(r"[,;:(|]| - ")
_WORD = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")


def write_reviews(catalog_rows: Iterable[Mapping[str, Any]], path: Path, seed: int) -> int:
    """Write reviews as JSON Lines of Amazon Reviews 2023, 0 to `MAX_REVIEWS` a product, and return their number.

    A product's reviews follow from the seed, its `id`, `name` and `category` alone, whatever stands around it; its
    description may change without them. Rows are read and written one at a time.

    Args:
        catalog_rows: Products with `id`, `name` and `category`; those without an id get no reviews.
        path: The local file to write.
        seed: Another seed gives other reviews.

    Raises:
        UserError: if the file cannot be written.
    """
    return write_json_lines(path, _make_rows(catalog_rows, seed))


def _make_rows(catalog_rows: Iterable[Mapping[str, Any]], seed: int) -> Iterator[dict[str, Any]]:
    for row in catalog_rows:
        if row.get("id") in (None, ""):
            continue
        subject = _describe_row(row)
        num_reviews = make_rng(seed, "num_reviews", subject.key).randint(0, MAX_REVIEWS)
        for position, review in enumerate(make_reviews(seed, subject, num_reviews)):
            yield to_rating_row(seed, subject, position, review)


def _describe_row(row: Mapping[str, Any]) -> Subject:
    product_id, category = str(row["id"]), str(row.get("category"))
    return Subject(
        product_id, product_id, _find_noun(row), _CATEGORIES.get(category.casefold(), category), _USES, "train"
    )


def _find_noun(row: Mapping[str, Any]) -> str:
    """Return what a name says that the product is: its last word, before any comma, bracket or dash."""
    words = _WORD.findall(_NAME_END.split(str(row.get("name") or ""))[0])
    return words[-1].lower() if words else "item"
