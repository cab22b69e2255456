"""What is wrong with tagged entities: their type, where they begin and end, or that they are there at all."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from eshop_ray.tasks.metrics.entities import align_spans
from eshop_ray.tasks.metrics.metric import Predictions, Targets

KINDS = ("right", "wrong type", "wrong boundary", "wrong type and boundary", "missed", "invented")
"""An entity of the target is one of the first five; a found one that answers to none of these is `invented`.

After the categories of SemEval-2013 task 9 (Segura-Bedmar et al.), where each entity is counted once.
"""
MAX_CONFUSIONS = 10

Entity = tuple[str, int, int]
"""Type, first word, and the word behind the last."""


@dataclass(slots=True)
class EntityErrors:
    """The errors of a group, by kind."""

    kinds: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(KINDS, 0)))
    """Kind -> entities."""
    confusions: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Type in the target, type that it was taken for -> entities."""

    def add(self, targets: Targets, predictions: Predictions) -> None:
        """Count rows, as entity F1 takes them."""
        for target, spans in zip(targets, predictions, strict=True):
            self._add_row(_find_entities(target["tags"]), _find_entities(align_spans(target["tokens"], spans or [])))

    def describe(self) -> dict[str, Any]:
        """Return `kinds`, and the most frequent `confusions`: `target`, `found` and `count`."""
        shown = [
            {"target": target, "found": found, "count": count}
            for (target, found), count in self.confusions.most_common(MAX_CONFUSIONS)
        ]
        return {"kinds": dict(self.kinds), "confusions": shown}

    def _add_row(self, expected: list[Entity], found: list[Entity]) -> None:
        for kind, fits in _WAYS:
            for entity in [*expected]:
                match = next((own for own in found if fits(entity, own)), None)
                if match:
                    expected.remove(entity)
                    found.remove(match)
                    self.kinds[kind] += 1
                    if entity[0] != match[0]:
                        self.confusions[entity[0], match[0]] += 1
        self.kinds["missed"] += len(expected)
        self.kinds["invented"] += len(found)


def _find_entities(tags: Sequence[str]) -> list[Entity]:
    """Return the entities of BIO tags; an I- tag goes on only with one of its own type."""
    entities: list[Entity] = []
    for place, tag in enumerate(tags):
        prefix, _, kind = tag.partition("-")
        if prefix == "B":
            entities.append((kind, place, place + 1))
        elif prefix == "I" and entities and entities[-1][0] == kind and entities[-1][2] == place:
            entities[-1] = (kind, entities[-1][1], place + 1)
    return entities


def _overlap(one: Entity, other: Entity) -> bool:
    return one[1] < other[2] and other[1] < one[2]


_WAYS: tuple[tuple[str, Callable[[Entity, Entity], bool]], ...] = (
    ("right", lambda one, other: one == other),
    ("wrong type", lambda one, other: one[1:] == other[1:]),
    ("wrong boundary", lambda one, other: one[0] == other[0] and _overlap(one, other)),
    ("wrong type and boundary", _overlap),
)
"""Kind, and whether a found entity is taken for one of the target; the better matches first."""
