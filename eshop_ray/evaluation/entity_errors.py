"""What is wrong with tagged entities: their type, where they begin and end, or that they are there at all."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from eshop_ray.schema import Row, decode
from eshop_ray.tasks.metrics.entities import ENTITY_F1, align_spans

KINDS = ("right", "wrong type", "wrong boundary", "wrong type and boundary", "missed", "invented")
"""An entity of the target is one of the first five; a found one that answers to none of these is `invented`.

After the categories of SemEval-2013 task 9 (Segura-Bedmar et al.), where each entity is counted once.
"""
MAX_CONFUSIONS = 10

Entity = tuple[str, int, int]
"""Type, first word, and the word behind the last."""


def count_errors(rows: Sequence[Row]) -> dict[str, Any] | None:
    """Count the errors of a group by kind.

    Args:
        rows: Of one group, with `metric`, `target` and `prediction`.

    Returns:
        `kinds`: kind -> entities; `confusions`: the most frequent pairs of types, `target`, `found` and `count`. None
        if the group's metric is not entity F1.
    """
    if rows[0]["metric"] != ENTITY_F1.name:
        return None
    kinds: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
    confusions: Counter[tuple[str, str]] = Counter()
    for row in rows:
        target, spans = decode(row["target"]), decode(row["prediction"]) or []
        expected, found = (_find_entities(tags) for tags in (target["tags"], align_spans(target["tokens"], spans)))
        for kind, fits in _WAYS:
            for entity in [*expected]:
                match = next((own for own in found if fits(entity, own)), None)
                if match:
                    expected.remove(entity)
                    found.remove(match)
                    kinds[kind] += 1
                    if entity[0] != match[0]:
                        confusions[entity[0], match[0]] += 1
        kinds["missed"] += len(expected)
        kinds["invented"] += len(found)
    shown = [
        {"target": target, "found": found, "count": count}
        for (target, found), count in confusions.most_common(MAX_CONFUSIONS)
    ]
    return {"kinds": dict(kinds), "confusions": shown}


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
