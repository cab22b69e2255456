"""Products: each made from the seed and its number alone, so that a shop of any size can be streamed."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eshop_ray.sample_shop.splits import Wordings, find_split
from eshop_ray.sample_shop.vocabulary import BRANDS, COLORS, KINDS, Kind

_MISSING = 0.12
"""Chance that the shop never filled in an attribute."""


@dataclass(frozen=True, slots=True)
class Product:
    """A product as its maker knows it; attributes that the shop lacks are None."""

    number: int
    kind: Kind
    brand: str | None
    colors: tuple[str, ...]
    material: str | None
    size: str | None
    modifier: str | None
    price: float
    title: str
    description: str | None

    @property
    def id(self) -> str:
        """The shop's own name of the product."""
        return f"SKU-{self.number:07d}"

    @property
    def split(self) -> str:
        """Whether training may see it."""
        return find_split(self.number)

    @property
    def listing(self) -> str:
        """The line by which a list of search results shows it."""
        parts = (self.kind.name, join_words(self.colors) if self.colors else None, self.brand)
        return ", ".join(part for part in parts if part)

    @property
    def attributes(self) -> dict[str, list[str]]:
        """Entity type -> the spans of the title that name it."""
        values: dict[str, list[str | None]] = {
            "brand": [self.brand],
            "color": list(self.colors),
            "material": [self.material],
            "size": [self.size],
            "product type": [self.kind.name],
        }
        return {name: [span for span in spans if span] for name, spans in values.items() if any(spans)}

    def to_row(self) -> dict[str, Any]:
        """Return the catalogue row; keys without a value are left out."""
        row = {
            "id": self.id,
            "name": self.title,
            "brand": self.brand,
            "color": " and ".join(self.colors) or None,
            "material": self.material,
            "size": self.size,
            "category": self.kind.category,
            "description": self.description,
            "price": self.price,
        }
        return {key: value for key, value in row.items() if value is not None}


def make_rng(seed: int, *parts: object) -> random.Random:
    """Return a generator of its own for one thing, independent of all others."""
    return random.Random("/".join(str(part) for part in (seed, *parts)))


def make_product(seed: int, number: int) -> Product:
    """Make product `number` of the shop; kinds take turns, so `number + len(KINDS)` is of the same kind.

    A held-out product is always of a brand that training never sees, so that its title is new, too.
    """
    split = find_split(number)
    rng = make_rng(seed, "product", number)
    kinds = make_rng(seed, "kinds").sample(KINDS, len(KINDS))
    kind = kinds[number % len(kinds)]
    low, high = kind.price
    brand = rng.choice(BRANDS[split])
    is_brand_given = split == "dev" or rng.random() >= _MISSING
    colors = tuple(rng.sample(COLORS, 2 if rng.random() < 0.1 else 1)) if rng.random() >= _MISSING else ()
    material = _maybe(rng, rng.choice(kind.materials))
    size = _maybe(rng, rng.choice(kind.sizes))
    modifier = rng.choice(kind.modifiers) if rng.random() < 0.6 else None
    words = {
        "brand": brand if is_brand_given else None,
        "color": " and ".join(colors) or None,
        "material": material,
        "size": size,
        "modifier": modifier,
        "kind": kind.name,
    }
    return Product(
        number=number,
        kind=kind,
        brand=brand if is_brand_given else None,
        colors=colors,
        material=material,
        size=size,
        modifier=modifier,
        price=round(rng.randint(low, high) - rng.choice((0.01, 0.05, 0.5)), 2),
        title=_title(rng, words, _TITLES[split]),
        description=None if rng.random() < 0.05 else _describe(rng, words, kind, split),
    )


_TITLES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "train": (
        ("brand", "modifier", "color", "material", "kind", ", size"),
        ("brand", "modifier", "material", "kind", "- color", ", size"),
        ("brand", "size", "modifier", "kind", ", material", "- color"),
        ("color", "material", "kind", ", modifier", ", size", "- brand"),
        ("brand", "kind", ", modifier", ", size", ", color", "material"),
    ),
    "dev": (
        ("brand", "color", "kind", ", size", ", material", ", modifier"),
        ("modifier", "color", "kind", ", material", "- brand", ", size"),
        ("material", "kind", ", size", "- brand", ", modifier", ", color"),
    ),
}
"""Order of the parts; a sign before a part stands only where the part does."""


def _title(rng: random.Random, words: Mapping[str, str | None], orders: Sequence[tuple[str, ...]]) -> str:
    title = ""
    for part in rng.choice(orders):
        sign, _, name = part.rpartition(" ")
        word = words[name]
        if word:
            title += f"{'' if sign == ',' else ' '}{sign}{' ' if sign else ''}{word}"
    title = title.strip(" ,-")
    return title[0].upper() + title[1:]


_SINGULAR = {"this": "this", "comes": "comes", "a": "a ", "a_start": "A ", "it": "it", "it_start": "It"}
_PLURAL = {"this": "these", "comes": "come", "a": "", "a_start": "", "it": "them", "it_start": "They"}

_OPENINGS: Wordings = {
    "train": (
        "Made for {use}, {this} {modified} {comes}{details}.",
        "{a_start}{modified}{details}, ready for {use}.",
        "Looking for {a}{modified}? Ours {comes}{details} and was designed with {use} in mind.",
        "Whether for {use} or {other_use}, {this} {modified} will do the job. You get {it}{details}.",
    ),
    "dev": (
        "Customers like {this} {modified} for {use}. {it_start} {comes}{details}.",
        "Treat yourself to {a}{modified}{details}. Think of {use}, or of {other_use}.",
    ),
}
_MATERIALS: Wordings = {
    "train": (
        "Made of {material}.",
        "We use nothing but {material}.",
        "{material_start} keeps {it} going for years.",
    ),
    "dev": ("The {material} is sourced in small batches.", "All parts that matter are {material}."),
}
_CLOSINGS: Wordings = {
    "train": (
        "Two year warranty included.",
        "Gift wrapping available.",
        "Designed by {brand}.",
        "{brand} makes {it} in limited numbers.",
        "Please check the measurements before you order.",
        "",
    ),
    "dev": ("Ships from our warehouse within a day.", "Another favorite by {brand}.", "Returns are free."),
}


def _describe(rng: random.Random, words: Mapping[str, str | None], kind: Kind, split: str) -> str:
    details = "".join(
        f" in {words[name]}" if name == "color" else f", {words[name]}," for name in ("color", "size") if words[name]
    ).rstrip(",")
    use, other_use = rng.sample(kind.uses, 2)
    material = words["material"]
    values = {
        "use": use,
        "other_use": other_use,
        "modified": " ".join(word for word in (words["modifier"], kind.name) if word),
        "details": details or " just as you see it",
        "material": material,
        "material_start": (material or "").capitalize(),
        "brand": words["brand"],
        **(_PLURAL if is_plural(kind.name) else _SINGULAR),
    }
    closings = [closing for closing in _CLOSINGS[split] if words["brand"] or "{brand}" not in closing]
    materials = rng.choice(_MATERIALS[split]) if material else ""
    sentences = [rng.choice(_OPENINGS[split]), materials, rng.choice(closings)]
    return _tidy(" ".join(sentence.format(**values) for sentence in sentences if sentence))


def is_plural(name: str) -> bool:
    """Whether a kind's name takes a plural verb."""
    return name.endswith("s") and not name.endswith("ss")


def _tidy(text: str) -> str:
    """Mend articles before vowels."""
    for article in (" a ", "A "):
        for vowel in "aeio":
            text = text.replace(f"{article}{vowel}", f"{article[:-1]}n {vowel}")
    return text[0].upper() + text[1:]


def _maybe(rng: random.Random, value: str) -> str | None:
    return None if rng.random() < _MISSING else value


def join_words(words: Sequence[str]) -> str:
    """Join with commas and `and`: `a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
