"""What is answered at the addresses of files and batches."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from starlette.datastructures import QueryParams
from starlette.types import Receive

from eshop_ray.serving.batches.files import Files, Page
from eshop_ray.serving.batches.service import Batches
from eshop_ray.serving.batches.uploads import BLOCK_BYTES, receive_file
from eshop_ray.serving.bodies import read_object
from eshop_ray.serving.endpoints import Outcome
from eshop_ray.serving.errors import RefusalError, Reply, reply_json
from eshop_ray.serving.spending import MeteredModel
from eshop_ray.serving.visits import Download, Visit

MAX_LISTED = {"files": 10_000, "batches": 100}
USUAL_LISTED = {"files": 10_000, "batches": 20}
"""As OpenAI has them."""

BodyReader = Callable[[Visit, Receive], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class BatchAddress:
    """One address, and how what it is sent is read."""

    method: str
    path: str
    handle: Callable[[Visit, dict[str, Any]], Awaitable[Outcome]]
    read_body: BodyReader


class BatchEndpoints:
    """Each takes a request that may pass, with what it has sent, and returns its response."""

    def __init__(
        self, files: Files, batches: Batches, metered: MeteredModel, max_file_bytes: int, max_body_bytes: int
    ) -> None:
        """Put the parts together.

        Args:
            files: Who has the files.
            batches: Who has the batches.
            metered: Where requests are counted.
            max_file_bytes: Of an upload.
            max_body_bytes: Of any other request.
        """
        self._files, self._batches, self._metered = files, batches, metered
        self._max_file_bytes, self._max_body_bytes = max_file_bytes, max_body_bytes

    def list_addresses(self) -> list[BatchAddress]:
        """Return all that is answered."""
        return [
            BatchAddress("POST", "/v1/files", self._reply, self._receive_file),
            BatchAddress("GET", "/v1/files", self.list_files, self._admit),
            BatchAddress("GET", "/v1/files/{id}", self.find_file, self._admit),
            BatchAddress("DELETE", "/v1/files/{id}", self.delete_file, self._admit),
            BatchAddress("GET", "/v1/files/{id}/content", self.read_file, self._admit),
            BatchAddress("POST", "/v1/batches", self.create_batch, self._receive_object),
            BatchAddress("GET", "/v1/batches", self.list_batches, self._admit),
            BatchAddress("GET", "/v1/batches/{id}", self.find_batch, self._admit),
            BatchAddress("POST", "/v1/batches/{id}/cancel", self.cancel_batch, self._admit),
        ]

    async def list_files(self, visit: Visit, _body: dict[str, Any]) -> Reply:
        """The files of a key."""
        return reply_json(await self._files.list(owner_of(visit), read_page(visit, "files")))

    async def find_file(self, visit: Visit, _body: dict[str, Any]) -> Reply:
        """One file."""
        return reply_json(await self._files.find(owner_of(visit), visit.path_params["id"]))

    async def delete_file(self, visit: Visit, _body: dict[str, Any]) -> Reply:
        """Delete a file."""
        return reply_json(await self._files.delete(owner_of(visit), visit.path_params["id"]))

    async def read_file(self, visit: Visit, _body: dict[str, Any]) -> Download:
        """What is in a file."""
        owner, file_id = owner_of(visit), visit.path_params["id"]
        num_bytes = (await self._files.find(owner, file_id))["bytes"]
        return Download(num_bytes, self._read_blocks(owner, file_id, num_bytes))

    async def create_batch(self, visit: Visit, body: dict[str, Any]) -> Reply:
        """Create a batch."""
        return reply_json(await self._batches.create(owner_of(visit), body))

    async def list_batches(self, visit: Visit, _body: dict[str, Any]) -> Reply:
        """The batches of a key."""
        return reply_json(await self._batches.list(owner_of(visit), read_page(visit, "batches")))

    async def find_batch(self, visit: Visit, _body: dict[str, Any]) -> Reply:
        """One batch."""
        return reply_json(await self._batches.find(owner_of(visit), visit.path_params["id"]))

    async def cancel_batch(self, visit: Visit, _body: dict[str, Any]) -> Reply:
        """Have nothing more of a batch asked."""
        return reply_json(await self._batches.cancel(owner_of(visit), visit.path_params["id"]))

    async def _reply(self, _visit: Visit, content: dict[str, Any]) -> Reply:
        return reply_json(content)

    async def _read_blocks(self, owner: str | None, file_id: str, num_bytes: int) -> AsyncIterator[bytes]:
        for offset in range(0, num_bytes, BLOCK_BYTES):
            yield await self._files.read(owner, file_id, offset, BLOCK_BYTES)

    async def _admit(self, visit: Visit, _receive: Receive) -> dict[str, Any]:
        """Count a request; what it sends, if anything, is not read."""
        await self._metered.admit(visit)
        return {}

    async def _receive_object(self, visit: Visit, receive: Receive) -> dict[str, Any]:
        await self._metered.admit(visit)
        return await read_object(visit.scope, receive, self._max_body_bytes)

    async def _receive_file(self, visit: Visit, receive: Receive) -> dict[str, Any]:
        await self._metered.admit(visit)
        return await receive_file(visit, receive, self._files, self._max_file_bytes)


def owner_of(visit: Visit) -> str | None:
    """Return whose files and batches a request is about."""
    return visit.key.id if visit.key else None


def read_page(visit: Visit, kind: Literal["files", "batches"]) -> Page:
    """Return which part of a list a request wants.

    Raises:
        RefusalError: if that cannot be told.
    """
    params = QueryParams(visit.scope.get("query_string", b""))
    text, order = params.get("limit", str(USUAL_LISTED[kind])), params.get("order", "desc")
    limit = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    if not 1 <= limit <= MAX_LISTED[kind]:
        raise RefusalError(400, f"has to be a whole number from 1 to {MAX_LISTED[kind]}", "invalid_value", "limit")
    if order != "asc" and order != "desc":
        raise RefusalError(400, "has to be asc or desc", "invalid_value", "order")
    return Page(limit, params.get("after"), "asc" if order == "asc" else "desc", params.get("purpose"))
