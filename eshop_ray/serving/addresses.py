"""Where everything is answered, and what a request there has to bring."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.routing import Route

from eshop_ray.serving.assistant import Assistant
from eshop_ray.serving.batches.endpoints import BatchEndpoints, BodyReader
from eshop_ray.serving.catalogue import CatalogueEndpoints
from eshop_ray.serving.endpoints import Endpoints, Outcome
from eshop_ray.serving.errors import RefusalError, Reply
from eshop_ray.serving.page import PAGES, show_page
from eshop_ray.serving.readiness import Readiness
from eshop_ray.serving.visits import Visit

STARTING_SECONDS = 5.0
"""After which a client may ask again while the model starts, or another process takes over."""

Handler = Callable[[Visit, dict[str, Any]], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Address:
    """Where something is answered, and how well it is guarded."""

    route: Route
    handle: Handler
    wants_key: bool = True
    """Then there has to be room for one more request too."""
    wants_model: bool = True
    """Whether it has to be up."""
    is_page: bool = False
    """Whether it is a file that anybody may open by a link, from wherever."""
    read_body: BodyReader | None = None
    """Reads what a request brings, where that is no JSON object."""


def list_addresses(endpoints: Endpoints, readiness: Readiness, catalogue: CatalogueEndpoints) -> list[Address]:
    """Return all that is answered."""

    async def check_health(_visit: Visit, _body: dict[str, Any]) -> Reply:
        return Reply(200, b'{"status":"up"}')

    async def check_ready(_visit: Visit, _body: dict[str, Any]) -> Reply:
        if not await readiness.check():
            raise RefusalError(503, "the model does not answer", "not_ready", retry_after=STARTING_SECONDS)
        return Reply(200, b'{"status":"ready"}')

    assistant = Assistant(catalogue, endpoints)
    return [
        *(Address(_route("GET", path), show_page, wants_key=False, wants_model=False, is_page=True) for path in PAGES),
        Address(_route("GET", "/health"), check_health, wants_key=False, wants_model=False),
        Address(_route("GET", "/ready"), check_ready, wants_key=False, wants_model=False),
        Address(_route("GET", "/openapi.json"), endpoints.describe, wants_key=False, wants_model=False),
        Address(_route("GET", "/v1/models"), endpoints.list_models),
        Address(_route("GET", "/v1/models/{model:path}"), endpoints.find_model),
        Address(_route("POST", "/v1/chat/completions"), endpoints.chat),
        Address(_route("POST", "/v1/completions"), endpoints.complete),
        Address(_route("POST", "/v1/tasks/{task}:batch"), endpoints.answer_records),
        Address(_route("POST", "/v1/tasks/{task}"), endpoints.answer_record),
        Address(_route("GET", "/v1/catalogue/search"), catalogue.search, wants_model=False),
        Address(_route("GET", "/v1/catalogue/compare"), catalogue.compare, wants_model=False),
        Address(_route("GET", "/v1/catalogue/products/{id:path}"), catalogue.find, wants_model=False),
        Address(_route("POST", "/v1/assistant"), assistant.answer),
    ]


def list_batch_addresses(batches: BatchEndpoints | None) -> list[Address]:
    """Return what is answered about files and batches; the model need not be up for it."""
    return [
        Address(_route(one.method, one.path), one.handle, wants_model=False, read_body=one.read_body)
        for one in (batches.list_addresses() if batches else ())
    ]


def _route(method: str, path: str) -> Route:
    return Route(path, _never_called, methods=[method])


async def _never_called(_request: Any) -> None:
    """Stand in for what Starlette would call: only its patterns are used."""
