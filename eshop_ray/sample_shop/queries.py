"""Search queries with QueryNER's tags, typed the way people type."""

import random

from eshop_ray.sample_shop.products import Product, make_rng
from eshop_ray.sample_shop.typos import misspell
from eshop_ray.sample_shop.vocabulary import CONDITIONS, DEPARTMENTS, PRICES, QUANTITIES

Segment = tuple[str, str]
"""Words and their entity type."""

_TYPO_RATE = 0.04


def make_query(seed: int, product: Product) -> list[tuple[str, str]]:
    """Return (token, BIO tag) of a query that somebody who wants the product could type."""
    rng = make_rng(seed, "query", product.number)
    tagged = []
    for words, entity_type in _segments(rng, product):
        for position, word in enumerate(words.lower().split()):
            tagged.append((misspell(word, rng, _TYPO_RATE), f"{'I' if position else 'B'}-{entity_type}"))
    return tagged


def _segments(rng: random.Random, product: Product) -> list[Segment]:
    before: list[Segment] = []
    after: list[Segment] = []
    if product.brand and (product.split == "dev" or rng.random() < 0.45):  # the brand is what makes the query new
        before.append((product.brand.replace(" & ", " "), "creator"))
    if product.modifier and rng.random() < 0.6:
        before.append((product.modifier, "modifier"))
    if product.colors and rng.random() < 0.55:
        (before if rng.random() < 0.75 else after).append((product.colors[0], "color"))
    if product.material and rng.random() < 0.5:
        before.append((product.material, "material"))
    if product.size and rng.random() < 0.5:
        (before if rng.random() < 0.3 else after).append((_retype(product.size, rng), "UoM"))
    after += _extras(rng, product)
    if rng.random() < 0.25:
        rng.shuffle(before)
    return [*before, (product.kind.name, "core_product_type"), *after]


def _extras(rng: random.Random, product: Product) -> list[Segment]:
    extras: list[Segment] = []
    if rng.random() < 0.15:
        extras.append((f"for {rng.choice(product.kind.uses)}", "occasion"))
    if product.kind.category == "Clothing" and rng.random() < 0.4:
        extras.append((rng.choice(DEPARTMENTS[product.split]), "department"))
    if rng.random() < 0.08:
        extras.append((rng.choice(QUANTITIES[product.split]), "quantity"))
    if rng.random() < 0.08:
        price = round(product.price / 5 + 1) * 5
        extras.append((rng.choice(PRICES[product.split]).format(price=price), "price"))
    if rng.random() < 0.05:
        extras.append((rng.choice(CONDITIONS[product.split]), "condition"))
    return extras


def _retype(size: str, rng: random.Random) -> str:
    """Write units the way shoppers do: `500ml`, `2tb`, `10x12 ft`."""
    number, _, unit = size.partition(" ")
    if " x " in size and rng.random() < 0.5:
        return size.replace(" x ", "x")
    if number.isdigit() and unit in ("ml", "TB", "mm", "in", "ft", "lb", "g", "w", "mAh", "l") and rng.random() < 0.4:
        return f"{number}{unit}"
    return size
