"""What a task reads of a product, when it is asked about every product of a catalogue."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

REVIEWS = "reviews"
"""Name under which a form gets the product's review texts, the most helpful first, as many as the budget holds."""
LABELS = "labels"
"""Name under which a form gets the labels to choose from: those of the config, never those of other products."""

ATTRIBUTES = "attributes"
"""Name under which a form gets the attributes that are asked for: name -> the values that it may have, or None."""
NOT_COLUMNS = (REVIEWS, LABELS, ATTRIBUTES)


class UnaskableError(Exception):
    """A product lacks what a task needs: reason code and message."""


def take_all(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that was read, where any of it is there.

    Raises:
        UnaskableError: if every field is empty.
    """
    if not any(values.values()):
        names = " and ".join(f"`{name}`" for name in values)
        raise UnaskableError("missing_text", f"{names} {'is' if len(values) == 1 else 'are'} missing or empty")
    return dict(values)


def join_columns(values: Mapping[str, Any]) -> str:
    """Return the columns of the catalogue among what was read as one text, a line for each that holds something."""
    texts = (" ".join(text.split()) for name, text in values.items() if name not in NOT_COLUMNS)
    return "\n".join(text for text in texts if text)


@dataclass(frozen=True, slots=True)
class ProductForm:
    """How a task's record is made from a product."""

    fields: tuple[str, ...]
    """What is read: names of catalogue columns, `reviews`, `labels`, `attributes`. A column that the file calls
    otherwise is named in `catalog.columns`. What is not named here has no influence on the answer."""
    optional: tuple[str, ...] = ()
    """Columns that are read where they are sound; trouble in them does not keep the product from being asked."""
    empty_without: tuple[str, ...] = ()
    """Names of `fields` without which there is nothing to ask, which is no one's fault: no reviews, no summary."""
    build: Callable[[Mapping[str, Any]], Mapping[str, Any]] = take_all
    """Values of `fields` and `optional` (text, empty where missing; lists for `reviews` and `labels`, a mapping for
    `attributes`) -> fields of the task's record. Columns come in the order of `fields`, which a question of the config
    may replace by others. Raises `UnaskableError` where the product lacks something."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The catalogue's columns among them."""
        return tuple(name for name in (*self.fields, *self.optional) if name not in NOT_COLUMNS)
