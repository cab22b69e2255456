"""A bucket of material, and what in it is near enough to something to be a hard wrong answer."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from random import Random
from typing import TypeVar

from eshop_ray.data.instructions.material import Material, fold

Kind = TypeVar("Kind", bound=Material)

_SAMPLED = 96
"""Material that is looked at for likeness; more would cost time and make wrong answers hardly harder."""
_WORD = re.compile(r"\w+")


class Pool:
    """Material of one source and one side of the splits, in an order that its ids determine."""

    def __init__(self, material: Iterable[Material]) -> None:
        self._by_kind: defaultdict[type[Material], list[Material]] = defaultdict(list)
        self._by_department: defaultdict[tuple[type[Material], str], list[Material]] = defaultdict(list)
        self._by_text: dict[tuple[type[Material], str], Mapping[str, Sequence[Material]]] = {}
        for one in sorted(material, key=lambda one: one.id):
            self._by_kind[type(one)].append(one)
            self._by_department[type(one), one.department].append(one)

    def all(self, kind: type[Kind]) -> Sequence[Kind]:
        """Return all material of a kind."""
        return self._by_kind[kind]  # type: ignore[return-value]

    def beside(self, one: Kind) -> Sequence[Kind]:
        """Return what stands in its department, itself included."""
        return self._by_department[type(one), one.department]  # type: ignore[return-value]

    def of_text(self, kind: type[Kind], name: str, text: str, text_of: Callable[[Kind], str]) -> Sequence[Kind]:
        """Return the material of a kind with a text, e.g. the categories of one name.

        Args:
            kind: Of material.
            name: Of what `text_of` returns; all is looked through once for each.
            text: What it has to return, but for case and blanks.
            text_of: Text of one; an empty one is no text.
        """
        if (kind, name) not in self._by_text:
            found: defaultdict[str, list[Material]] = defaultdict(list)
            for one in self.all(kind):
                if folded := fold(text_of(one)):
                    found[folded].append(one)
            self._by_text[kind, name] = found
        return self._by_text[kind, name].get(fold(text), ())  # type: ignore[return-value]

    def draw_near(
        self,
        one: Kind,
        text_of: Callable[[Kind], str],
        number: int,
        draw: Random,
        allows: Callable[[Kind], bool],
    ) -> list[Kind]:
        """Return material that is like one and is no right answer: half by likeness of words, half by chance.

        Args:
            one: What is asked about.
            text_of: Text that is compared, and by which material is told apart.
            number: How many; fewer where there are not so many.
            draw: Choices.
            allows: Whether material may be a wrong answer.
        """
        own = text_of(one)
        seen = {fold(own)}
        chosen: list[Kind] = []
        for tier in (self.beside(one), self.all(type(one))):
            fitting = [other for other in _sample(tier, draw) if allows(other)]
            liked = sorted(fitting, key=lambda other: -likeness(own, text_of(other)))
            for other in _interleave(liked, fitting):
                text = fold(text_of(other))
                if len(chosen) < number and text and text not in seen:
                    seen.add(text)
                    chosen.append(other)
        return chosen


def _sample(material: Sequence[Kind], draw: Random) -> list[Kind]:
    return draw.sample(material, min(_SAMPLED, len(material)))


def likeness(text: str, other: str) -> float:
    """Return the share of the words of two texts that both have (Jaccard)."""
    words, others = _split(text), _split(other)
    return len(words & others) / len(words | others) if words | others else 0.0


@lru_cache(maxsize=1 << 15)
def _split(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(fold(text)))


def _interleave(first: Iterable[Kind], second: Iterable[Kind]) -> Iterator[Kind]:
    for pair in zip(first, second, strict=True):
        yield from pair
