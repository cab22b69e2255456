"""ESCI, task 2: a query, a product's title, and how well the one answers the other; JSON Lines."""

from collections.abc import Iterator, Mapping
from typing import IO, Any

from eshop_ray.data.sources.required import read_objects
from eshop_ray.schema import Malformed, Record

LABELS = ("Exact", "Substitute", "Complement", "Irrelevant")
"""The four judgements; files write them out or give their first letters."""

GROUP = "esci_pairs"

COLUMNS = ("query", "product_title", "esci_label")
"""What a file must have."""
_LABELS = {name.lower(): label for label in LABELS for name in (label, label[0])}


def read(stream: IO[bytes], path: str, options: Mapping[str, Any]) -> Iterator[Record | Malformed]:  # noqa: ARG001
    """Yield `classification` records of the group `esci_pairs`: query and title as `text`, the judgement as target.

    The published metric is micro-F1. Of one label a row it is accuracy, so that is the records' metric: every wrong
    label is one false positive and one false negative.

    Raises:
        UserError: if `query`, `product_title` or `esci_label` is missing from the whole file.
    """
    yield from read_objects(stream, path, COLUMNS, _pair)


def read_label(label: Any) -> str | None:
    """Return the judgement that a file writes, None if it is none."""
    return _LABELS.get(label.strip().lower()) if isinstance(label, str) else None


def read_judgement(path: str, number: int, row: Mapping[str, Any]) -> tuple[str, str, str] | Malformed:
    """Return query, title and label of a row."""
    query, title = (" ".join(row[name].split()) if isinstance(row.get(name), str) else "" for name in COLUMNS[:2])
    label = row.get("esci_label")
    target = read_label(label)
    if not query or not title:
        return Malformed(path, number, f"`{COLUMNS[bool(query)]}` is missing, empty or not text")
    if target is None:
        return Malformed(path, number, f"`esci_label` {str(label)[:60]!r} is none of {', '.join(LABELS)}, E, S, C, I")
    return query, title, target


def _pair(path: str, number: int, row: Mapping[str, Any]) -> Record | Malformed:
    found = read_judgement(path, number, row)
    if isinstance(found, Malformed):
        return found
    query, title, target = found
    return {
        "task": "classification",
        "group": GROUP,
        "metric": "accuracy",
        "text": f"Query: {query}\nProduct: {title}",
        "query": query,
        "labels": list(LABELS),
        "target": target,
    }
