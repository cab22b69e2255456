"""The enriched catalogue as clients see it: search, one product, several beside each other."""

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, Protocol, TypeVar

from starlette.datastructures import QueryParams

from eshop_ray.data.search_index import Document, Hit, SearchIndex
from eshop_ray.data.search_index.index import CANDIDATES
from eshop_ray.serving.errors import RefusalError, Reply, reply_json
from eshop_ray.serving.spending import MeteredModel
from eshop_ray.serving.visits import Visit

logger = logging.getLogger(__name__)

MAX_QUERY_CHARACTERS = 500
MAX_FILTERS = 10
MAX_SHOWN = 50
"""Products of one response to a search."""
USUAL_SHOWN = 20
MAX_COMPARED = 6
SHORT_CHARACTERS = 200
"""Of a summary or description in a list."""

Filters = Sequence[tuple[str, str]]
Found = TypeVar("Found")


class Catalogue(Protocol):
    """What is asked about products.

    Raises:
        RefusalError: from each of these, if it cannot be asked now.
    """

    async def search(self, query: str, filters: Filters, limit: int) -> list[Hit]:
        """Return the products that a question means, the nearest first."""

    async def find(self, ids: Sequence[str]) -> list[Document]:
        """Return products by their ids, without those that are not there."""


class IndexedCatalogue:
    """The search index, asked one question after the other: its embedding model is not safe for threads."""

    def __init__(self, index: SearchIndex) -> None:
        self._index, self._thread = index, ThreadPoolExecutor(1)

    async def search(self, query: str, filters: Filters, limit: int) -> list[Hit]:
        """Return the products that a question means, the nearest first."""
        return await self._run(lambda: self._index.search(query, filters, limit))

    async def find(self, ids: Sequence[str]) -> list[Document]:
        """Return products by their ids, without those that are not there."""
        return await self._run(lambda: self._index.find(ids))

    async def _run(self, ask: Callable[[], Found]) -> Found:
        for is_last in (False, True):  # a build may just have removed the version that was being read
            try:
                return await asyncio.get_running_loop().run_in_executor(self._thread, ask)
            except Exception as error:  # its text may quote the question
                if is_last:
                    logger.error("the catalogue cannot be searched: %s", type(error).__name__)
        raise no_search()


class CatalogueEndpoints:
    """Each takes a request that may pass and returns its response."""

    def __init__(self, catalogue: Catalogue | None, metered: MeteredModel) -> None:
        """Put the parts together.

        Args:
            catalogue: None where there is no index.
            metered: Counts requests of keys that may send so many in a minute.
        """
        self._catalogue, self._metered = catalogue, metered

    async def open(self, visit: Visit) -> Catalogue:
        """Return the catalogue, if the key may ask.

        Raises:
            RefusalError: if it may not, or there is none.
        """
        if self._catalogue is None:
            raise RefusalError(404, "there is no catalogue here; `eshop build-index` makes one", "no_catalogue")
        await self._metered.admit(visit)
        return self._catalogue

    async def search(self, visit: Visit, _body: dict[str, Any]) -> Reply:
        """Products for a question, with the values of their attributes to filter by."""
        params = read_params(visit, {"q", "filter", "limit"})
        query = params.get("q", "")
        if len(query) > MAX_QUERY_CHARACTERS:
            raise RefusalError(400, f"longer than {MAX_QUERY_CHARACTERS} characters", "invalid_value", "q")
        filters, limit = read_filters(params), read_limit(params)
        hits = await (await self.open(visit)).search(query, filters, CANDIDATES)
        shown = [{**shorten(hit.document), "score": round(hit.score, 6)} for hit in hits[:limit]]
        return reply_json({"object": "list", "data": shown, "facets": count_facets([hit.document for hit in hits])})

    async def find(self, visit: Visit, _body: dict[str, Any]) -> Reply:
        """One product with all that is known of it."""
        found = await (await self.open(visit)).find([visit.path_params["id"]])
        if not found:
            raise RefusalError(404, "there is no such product", "product_not_found")
        return reply_json(asdict(found[0]))

    async def compare(self, visit: Visit, _body: dict[str, Any]) -> Reply:
        """Several products, and their attributes side by side."""
        given = read_params(visit, {"ids"}).getlist("ids")
        ids = list(dict.fromkeys(one for one in (given[0].split(",") if len(given) == 1 else given) if one))
        if not 1 <= len(ids) <= MAX_COMPARED:
            raise RefusalError(400, f"name 1 to {MAX_COMPARED} products", "invalid_value", "ids")
        found = await (await self.open(visit)).find(ids)
        if len(found) < len(ids):
            raise RefusalError(404, "there is no such product among them", "product_not_found", "ids")
        return reply_json({"data": [asdict(one) for one in found], "attributes": align_attributes(found)})


def no_search() -> RefusalError:
    """Return the refusal where the index cannot be read now."""
    return RefusalError(503, "the catalogue cannot be searched now; try again", "unavailable", retry_after=5)


def read_params(visit: Visit, known: set[str]) -> QueryParams:
    """Return what stands behind the question mark of an address.

    Raises:
        RefusalError: if something unknown does.
    """
    params = QueryParams(visit.scope.get("query_string", b""))
    if set(params) - known:
        raise RefusalError(400, f"there are the parameters {', '.join(sorted(known))}", "unknown_parameter")
    return params


def read_filters(params: QueryParams) -> list[tuple[str, str]]:
    """Return the attributes that products have to have.

    Raises:
        RefusalError: if one is not written `name:value`, or there are too many.
    """
    filters = [
        (name, value) for name, colon, value in (one.partition(":") for one in params.getlist("filter")) if colon
    ]
    if len(filters) < len(params.getlist("filter")) or len(filters) > MAX_FILTERS:
        raise RefusalError(400, f"write `name:value`, up to {MAX_FILTERS} times", "invalid_value", "filter")
    return filters


def read_limit(params: QueryParams) -> int:
    """Return how many products are wanted.

    Raises:
        RefusalError: if that is no number in its range.
    """
    text = params.get("limit", str(USUAL_SHOWN))
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0
    if not 1 <= number <= MAX_SHOWN:
        raise RefusalError(400, f"has to be a whole number from 1 to {MAX_SHOWN}", "invalid_value", "limit")
    return number


def shorten(document: Document) -> dict[str, Any]:
    """Return of a product what a list shows."""
    text = document.summary or document.description
    attributes = [asdict(attribute) for attribute in document.attributes]
    return {
        "id": document.id,
        "name": document.name,
        "category": document.category,
        "text": text[:SHORT_CHARACTERS],
        "attributes": attributes,
    }


def count_facets(documents: Sequence[Document]) -> list[tuple[str, list[tuple[str, int]]]]:
    """Return attributes, each with its values and how many products have them, the most frequent first of both.

    They are pairs, for readers of JSON need not keep the order of an object: browsers put names like `41` first.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for document in documents:
        for name, value in {(one.name, one.value.casefold()) for one in document.attributes}:
            counts[name][value] += 1
    in_order = sorted(counts.items(), key=lambda one: (-one[1].total(), one[0]))
    return [(name, values.most_common()) for name, values in in_order]


def align_attributes(documents: Sequence[Document]) -> list[dict[str, Any]]:
    """Return for each attribute the values that products have, None for those without it."""
    names = dict.fromkeys(attribute.name for document in documents for attribute in document.attributes)
    rows = []
    for name in names:
        values = [
            ", ".join(dict.fromkeys(one.value for one in document.attributes if one.name == name)) or None
            for document in documents
        ]
        rows.append({"name": name, "values": values})
    return rows
