"""A catalogue one night later: some products changed, some new, some gone."""

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, islice
from typing import Any

from eshop_ray.errors import UserError
from eshop_ray.sample_shop.products import make_rng
from eshop_ray.schema import content_id

Row = Mapping[str, Any]

_EDITIONS = ("New", "Improved", "Limited Edition", "Classic", "Recycled")
_NEWS = (
    "Now with a two year warranty.",
    "Redesigned after the wishes of our customers.",
    "Back in stock.",
    "Made with less packaging.",
    "Our bestseller of the season.",
)


def change_products(rows: Sequence[Row], seed: int, share: float, num_added: int, num_removed: int) -> list[Row]:
    """Return the next night's catalogue; the order of what stays is kept, new products come last.

    Every changed product has another description, every second another name too; none of them is among the removed.
    New products have ids and descriptions that no other has, and resemble one of `rows` in all else.

    Args:
        rows: Products with `id`, `name`, optional `description`; other fields are kept as they are.
        seed: The same rows and seed give the same night; another seed gives another.
        share: Share of `rows` that changes, 0 to 1.
        num_added: New products.
        num_removed: Products that leave.

    Raises:
        UserError: if there are fewer rows than have to change and leave, or none that new ones could resemble.
    """
    num_changed = round(share * len(rows))
    if num_changed + num_removed > len(rows) or (num_added and not rows):
        raise UserError(
            f"{len(rows)} products are too few to change {num_changed}, remove {num_removed} and add {num_added}"
        )
    rng = make_rng(seed, "changes")
    touched = rng.sample(range(len(rows)), num_changed + num_removed)
    changed, removed = touched[:num_changed], set(touched[num_changed:])
    night = list(rows)
    for number, place in enumerate(changed):
        night[place] = _describe_anew(rng, _rename(rng, rows[place]) if number % 2 else rows[place])
    kept = [row for place, row in enumerate(night) if place not in removed]
    return [*kept, *(_make_new(rng, rows, product_id) for product_id in _draw_ids(rows, seed, num_added))]


def _describe_anew(rng: random.Random, row: Row) -> Row:
    news = f"{rng.choice(_NEWS)} Lot {rng.randrange(10**6):06d}."
    return {**row, "description": " ".join(filter(None, (row.get("description"), news)))}


def _rename(rng: random.Random, row: Row) -> Row:
    return {**row, "name": f"{rng.choice(_EDITIONS)} {row['name']}"}


def _make_new(rng: random.Random, rows: Sequence[Row], product_id: str) -> Row:
    return {**_describe_anew(rng, _rename(rng, rng.choice(rows))), "id": product_id}


def _draw_ids(rows: Sequence[Row], seed: int, num_ids: int) -> Iterator[str]:
    taken = {row["id"] for row in rows}
    drawn = (content_id("added", str(seed), str(number)) for number in count())
    return islice((product_id for product_id in drawn if product_id not in taken), num_ids)
