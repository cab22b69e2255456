"""The keeper of files and batches, as gateways ask it through its handle."""

import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from eshop_ray.serving.batches.files import Page
from eshop_ray.serving.errors import RefusalError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Refused:
    """A refusal on its way through Ray Serve, which would log an error with all that it says."""

    status: int
    message: str
    code: str
    param: str | None
    retry_after: float | None


class _Handled:
    """A service of the keeper, asked through its handle."""

    service: Literal["files", "batches"]

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    async def _call(self, method: str, *arguments: Any) -> Any:
        try:
            found = await self._handle.call.remote(self.service, method, *arguments)
        except (RayServeException, RayError) as error:
            logger.warning("batches cannot be asked: %s", type(error).__name__)
            raise RefusalError(
                503, "batches cannot be looked at now; try again", "unavailable", retry_after=5
            ) from None
        if isinstance(found, Refused):
            raise RefusalError(found.status, found.message, found.code, found.param, found.retry_after)
        return found


class HandledFiles(_Handled):
    """The files, asked through the keeper's handle."""

    service = "files"

    async def begin(self, owner: str | None) -> str:
        """Return the id of a file that is going to be uploaded."""
        return str(await self._call("begin", owner))

    async def append(self, file_id: str, block: bytes) -> None:
        """Add to it."""
        await self._call("append", file_id, block)

    async def finish(self, file_id: str, filename: str, purpose: str, lifetime: float | None) -> dict[str, Any]:
        """End an upload, and return OpenAI's file object."""
        return dict(await self._call("finish", file_id, filename, purpose, lifetime))

    async def abort(self, file_id: str) -> None:
        """Forget an upload."""
        with suppress(RefusalError):  # the keeper forgets it too
            await self._call("abort", file_id)

    async def find(self, owner: str | None, file_id: str) -> dict[str, Any]:
        """Return OpenAI's file object."""
        return dict(await self._call("find", owner, file_id))

    async def list(self, owner: str | None, page: Page) -> dict[str, Any]:
        """Return part of the list of files."""
        return dict(await self._call("list", owner, page))

    async def delete(self, owner: str | None, file_id: str) -> dict[str, Any]:
        """Delete a file."""
        return dict(await self._call("delete", owner, file_id))

    async def read(self, owner: str | None, file_id: str, offset: int, num_bytes: int) -> bytes:
        """Return part of its content."""
        return bytes(await self._call("read", owner, file_id, offset, num_bytes))


class HandledBatches(_Handled):
    """The batches, asked through the keeper's handle."""

    service = "batches"

    async def create(self, owner: str | None, body: dict[str, Any]) -> dict[str, Any]:
        """Create a batch."""
        return dict(await self._call("create", owner, body))

    async def find(self, owner: str | None, batch_id: str) -> dict[str, Any]:
        """Return OpenAI's batch object."""
        return dict(await self._call("find", owner, batch_id))

    async def list(self, owner: str | None, page: Page) -> dict[str, Any]:
        """Return part of the list of batches."""
        return dict(await self._call("list", owner, page))

    async def cancel(self, owner: str | None, batch_id: str) -> dict[str, Any]:
        """Have nothing more of it asked."""
        return dict(await self._call("cancel", owner, batch_id))
