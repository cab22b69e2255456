"""Products that go with other queries, as wrong options: none that may answer this query too."""

from collections.abc import Sequence
from random import Random

from eshop_ray.data.instructions.content_words import find_content
from eshop_ray.data.instructions.material import Relation, Search, fold
from eshop_ray.data.instructions.pool import Pool, likeness

ALIKE = 0.5
"""Likeness of titles from which on a product may be right for what the other is right for."""


def draw_wrong_products(
    one: Search | Relation, pool: Pool, number: int, draw: Random, shown: Sequence[str]
) -> list[str]:
    """Return products that other queries are answered by, like the right ones or not, and that do not answer this one.

    Nobody has judged them for this query, so what could be right is left out: a title with a word of the query in it,
    and one that is too much like a product of the query's own.

    Args:
        one: What is asked about, a query or a product that others go with.
        pool: What stands beside it.
        number: How many; fewer where there are not so many.
        draw: Choices.
        shown: Products that are options already, what is right first.
    """
    own = list(dict.fromkeys((*shown, *list_titles(one))))
    taken, words = {fold(title) for title in own}, find_content(name_of(one))

    def is_wrong(title: str) -> bool:
        is_apart = fold(title) not in taken and words.isdisjoint(find_content(title))
        return is_apart and all(likeness(title, other) < ALIKE for other in own)

    def offer(other: Search | Relation) -> str:
        return own[0] if other is one else next(filter(is_wrong, _list_sure(other)), "")

    def is_strange(other: Search | Relation) -> bool:
        return other is not one and words.isdisjoint(find_content(name_of(other))) and bool(offer(other))

    return [offer(other) for other in pool.draw_near(one, offer, number, draw, is_strange)]


def name_of(one: Search | Relation) -> str:
    """Return what shoppers look for: a query, or the product that another goes with."""
    return one.query if isinstance(one, Search) else one.first


def list_titles(one: Search | Relation) -> list[str]:
    """Return the products that were judged for a query, or the one that goes with another."""
    return [title for title, _ in one.results] if isinstance(one, Search) else [one.second]


def _list_sure(one: Search | Relation) -> list[str]:
    """Return the products that are what a query asks for: others may be anything."""
    return one.titles("Exact") if isinstance(one, Search) else [one.second]
