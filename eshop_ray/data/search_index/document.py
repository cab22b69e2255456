"""What the index keeps of a product."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from eshop_ray.schema import content_id

FORM = "1"
"""Of the documents: another one has all of them indexed anew."""
DIMENSIONS = 384
"""Of MiniLM's embeddings."""
EMBEDDED_CHARACTERS = 1000
"""Of a document that are embedded: MiniLM reads 256 tokens, and passes over the rest."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """What the nightly table says of a product."""

    name: str
    """Attribute, entity type or question."""
    value: str
    task: str
    """Of the nightly table, which knows by `prompt_id` and `run_id` how it was asked."""
    confidence: float | None = None
    """How sure the model was of the answer that it stands in; None: the table does not say."""

    @property
    def facet(self) -> str:
        """What filters compare: case does not count."""
        return write_facet(self.name, self.value)


@dataclass(frozen=True, slots=True)
class Review:
    """A customer's words."""

    id: str
    """Digest of product and text: the shop's files need have no ids."""
    text: str


@dataclass(frozen=True, slots=True)
class Document:
    """A product as it is found, shown and cited."""

    id: str
    name: str
    category: str
    description: str
    summary: str
    """What its reviews agree on, by the nightly table; empty where it says nothing."""
    attributes: tuple[Attribute, ...]
    reviews: tuple[Review, ...]

    @property
    def text(self) -> str:
        """What is searched: all of it, the most telling first."""
        values = ", ".join(dict.fromkeys(attribute.value for attribute in self.attributes))
        parts = (self.name, self.category, values, self.summary, self.description, f"({self.id})")
        return "\n".join(part for part in parts if part)

    def digest(self, encoder: str) -> str:
        """Return what tells two states of a product apart.

        Args:
            encoder: Digest of the embedding model.
        """
        return content_id(FORM, encoder, json.dumps(asdict(self), sort_keys=True))


SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("id", "name", "category", "description", "summary")),
        *((name, pa.string()) for name in ("attributes", "reviews", "text", "digest")),
        ("facets", pa.list_(pa.string())),
        ("vector", pa.list_(pa.float32(), DIMENSIONS)),
    ]
)
"""Columns of the index. `attributes` and `reviews` are JSON text; `vector` has length 1."""


def write_facet(name: str, value: str) -> str:
    """Return an attribute's value as filters compare it."""
    return f"{name.strip().casefold()}={value.strip().casefold()}"


def to_row(document: Document, digest: str, vector: Any) -> dict[str, Any]:
    """Return a document in the columns of `SCHEMA`."""
    fields = asdict(document)
    lists = {name: json.dumps(fields[name]) for name in ("attributes", "reviews")}
    facets = sorted({attribute.facet for attribute in document.attributes})
    return {**fields, **lists, "text": document.text, "digest": digest, "facets": facets, "vector": vector}


def read_row(row: Mapping[str, Any]) -> Document:
    """Return the document of a row of the index."""
    texts = {name: row[name] for name in ("id", "name", "category", "description", "summary")}
    attributes = tuple(Attribute(**one) for one in json.loads(row["attributes"]))
    return Document(**texts, attributes=attributes, reviews=tuple(Review(**one) for one in json.loads(row["reviews"])))
