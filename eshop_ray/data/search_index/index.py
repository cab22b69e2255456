"""A LanceDB table of products: kept current by what changed, and searched by words and by meaning together."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from eshop_ray.data.database import quote_text
from eshop_ray.data.search_index.document import EMBEDDED_CHARACTERS, SCHEMA, Document, read_row, to_row, write_facet
from eshop_ray.errors import UserError
from eshop_ray.storage import Storage

if TYPE_CHECKING:
    from lancedb.table import Table

Encode = Callable[[Sequence[str]], NDArray[np.float32]]
"""Texts -> embeddings of length 1."""

TABLE = "products"
IDS_PER_STATEMENT = 500
NO_VERSION = timedelta(0)
"""How long versions are kept that nobody reads any more: what was erased is to be gone."""
CANDIDATES = 100
"""Products that each of the two searches hands to the fusion."""
MIN_COSINE = 0.25
"""Between question and product, below which their meaning has nothing in common."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A product that was found."""

    document: Document
    score: float
    """Reciprocal rank fusion of both searches; products of one search only are below those of both."""
    cosine: float
    """Between the question's meaning and the product's."""


@dataclass(slots=True)
class Changes:
    """What a build has found."""

    num_new: int = 0
    num_changed: int = 0
    num_unchanged: int = 0
    num_deleted: int = 0

    @property
    def num_embedded(self) -> int:
        """Products whose embedding was computed."""
        return self.num_new + self.num_changed


class SearchIndex:
    """The index at a URI."""

    def __init__(self, uri: str, encode: Encode) -> None:
        """Name it; nothing is opened yet.

        Args:
            uri: Folder or object store.
            encode: Embeds products and questions.
        """
        self._storage, self._encode = Storage(uri), encode

    def exists(self) -> bool:
        """Return whether there is one."""
        return next(iter(self._storage.list(f"{TABLE}.lance")), None) is not None

    def sync(self, batches: Iterable[Sequence[Document]], encoder: str) -> Changes:
        """Make the index hold these products and no others; only what changed is embedded and written.

        Args:
            batches: All products. They are written batch by batch: a build that was killed goes on there.
            encoder: Digest of the embedding model.
        """
        table = self._open_or_create()
        known = dict(zip(*(column.to_pylist() for column in _read(table, ["id", "digest"]).columns), strict=True))
        changes, gone = Changes(), set(known)
        for batch in batches:
            gone.difference_update(document.id for document in batch)
            self._write_changed(table, batch, known, encoder, changes)
        for ids in _chunk(sorted(gone), IDS_PER_STATEMENT):
            table.delete(f"id IN ({', '.join(map(quote_text, ids))})")
        changes.num_deleted = len(gone)
        if changes.num_embedded or changes.num_deleted:
            self._tidy(table)
        return changes

    def search(self, query: str, filters: Sequence[tuple[str, str]], limit: int) -> list[Hit]:
        """Return the products that a question means, the nearest first; any products where it is empty.

        Args:
            query: Words; nothing in them is syntax.
            filters: Names and values of attributes that a product has to have, all of them.
            limit: At most so many, up to `CANDIDATES`.

        Raises:
            UserError: if there is no index.
        """
        condition = " AND ".join(f"array_has(facets, {quote_text(write_facet(*one))})" for one in filters)
        if not query.strip():
            rows = _where(self._table.search(), condition).limit(limit).to_list()
            return [Hit(read_row(row), 0.0, 0.0) for row in rows]
        vector = self._encode([query])[0]
        hits = []
        for row in _search_both(self._table, query, vector, condition):
            cosine = float(np.dot(vector, np.asarray(row["vector"], np.float32)))
            if row.get("_score") is not None or cosine >= MIN_COSINE:
                hits.append(Hit(read_row(row), row["_relevance_score"], cosine))
        return hits[:limit]

    def find(self, ids: Sequence[str]) -> list[Document]:
        """Return products by their ids, in that order, without those that are not there.

        Raises:
            UserError: if there is no index.
        """
        condition = f"id IN ({', '.join(map(quote_text, ids))})"
        found = {row["id"]: read_row(row) for row in self._table.search().where(condition).limit(len(ids)).to_list()}
        return [found[one] for one in dict.fromkeys(ids) if one in found]

    @cached_property
    def _database(self) -> Any:
        import lancedb  # few processes search, and it takes its time to load

        return lancedb.connect(
            self._storage.uri, storage_options=self._storage.options, read_consistency_interval=timedelta(0)
        )

    @cached_property
    def _table(self) -> "Table":
        if not self.exists():
            raise UserError(f"{self._storage.shown}: no search index; run `eshop build-index` first")
        return self._database.open_table(TABLE)

    def _open_or_create(self) -> "Table":
        self._storage.make_folder()
        if self.exists():
            found = self._database.open_table(TABLE)
            if found.schema.equals(SCHEMA):
                return found
            self._database.drop_table(TABLE)
        return self._database.create_table(TABLE, schema=SCHEMA)

    def _write_changed(
        self, table: "Table", batch: Sequence[Document], known: Mapping[str, str], encoder: str, changes: Changes
    ) -> None:
        digests = {document.id: document.digest(encoder) for document in batch}
        changed = [document for document in batch if known.get(document.id) != digests[document.id]]
        num_new = sum(document.id not in known for document in changed)
        changes.num_new += num_new
        changes.num_changed += len(changed) - num_new
        changes.num_unchanged += len(batch) - len(changed)
        if not changed:
            return
        vectors = self._encode([document.text[:EMBEDDED_CHARACTERS] for document in changed])
        rows = [
            to_row(document, digests[document.id], vector) for document, vector in zip(changed, vectors, strict=True)
        ]
        merge = table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
        merge.execute(pa.Table.from_pylist(rows, SCHEMA))

    def _tidy(self, table: "Table") -> None:
        """Take what was written into the index of words, and leave no version that holds what was erased."""
        from lancedb.index import FTS

        if not table.list_indices():
            table.create_index("text", config=FTS())
        with warnings.catch_warnings(action="ignore"):  # it warns for readers of earlier versions, who ask again
            table.optimize(cleanup_older_than=NO_VERSION, delete_unverified=True)


def _read(table: "Table", columns: list[str]) -> pa.Table:
    return table.search().select(columns).limit(max(1, table.count_rows())).to_arrow()


def _search_both(table: "Table", query: str, vector: NDArray[np.float32], condition: str) -> list[dict[str, Any]]:
    """Return rows by reciprocal rank fusion; `_score` is null where words did not find them.

    Source: Cormack et al., "Reciprocal rank fusion outperforms Condorcet and individual rank learning methods", 2009.
    """
    from lancedb.query import MatchQuery
    from lancedb.rerankers import RRFReranker

    search = table.search(query_type="hybrid", vector_column_name="vector", fts_columns="text")
    search = search.vector(vector).text(MatchQuery(query, "text")).distance_type("cosine")
    rows: list[dict[str, Any]] = (
        _where(search, condition).rerank(RRFReranker(return_score="all")).limit(CANDIDATES).to_list()
    )
    return rows


def _where(search: Any, condition: str) -> Any:
    return search.where(condition) if condition else search


def _chunk(items: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (items[start : start + size] for start in range(0, len(items), size))
