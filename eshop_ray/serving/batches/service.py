"""Batches of keys: created, listed and cancelled; what is another key's is not there."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

from eshop_ray.serving.batches.files import MIN_LIFETIME, FileService, Page, paginate
from eshop_ray.serving.batches.lines import list_endpoints
from eshop_ray.serving.batches.states import INPUT_PURPOSE, Batch, parse_window
from eshop_ray.serving.errors import RefusalError

MAX_OPEN = 100
"""Batches of a key that are not over."""
MAX_PAIRS, MAX_NAME, MAX_VALUE = 16, 64, 512
"""Of a batch's `metadata`; characters of a name and of a value."""


class Batches(Protocol):
    """What gateways ask about batches.

    Raises:
        RefusalError: from each of these, if the batch is not there, or what is asked cannot be.
    """

    async def create(self, owner: str | None, body: dict[str, Any]) -> dict[str, Any]:
        """Create a batch from what a client says of it, and return OpenAI's batch object."""

    async def find(self, owner: str | None, batch_id: str) -> dict[str, Any]:
        """Return OpenAI's batch object."""

    async def list(self, owner: str | None, page: Page) -> dict[str, Any]:
        """Return part of the list of batches."""

    async def cancel(self, owner: str | None, batch_id: str) -> dict[str, Any]:
        """Have nothing more of it asked."""


@dataclass(slots=True)
class BatchService:
    """The batches of a store; `Scheduler` sees to them."""

    files: FileService
    model_id: str
    clock: Callable[[], float] = time.time

    async def create(self, owner: str | None, body: dict[str, Any]) -> dict[str, Any]:
        """Create a batch from what a client says of it, and return OpenAI's batch object.

        Raises:
            RefusalError: naming what is wrong with it.
        """
        endpoint, window = body.get("endpoint"), parse_window(body.get("completion_window"))
        if endpoint not in list_endpoints():
            raise RefusalError(400, f"has to be one of {', '.join(list_endpoints())}", "invalid_value", "endpoint")
        if window is None or window > self.files.keep_seconds:
            message = f"has to be a time such as `24h`, up to {self.files.config.keep_days:g} days"
            raise RefusalError(400, message, "invalid_value", "completion_window")
        file_id = body.get("input_file_id")
        if not isinstance(file_id, str):
            raise RefusalError(400, "has to be the id of a file", "invalid_value", "input_file_id")
        file = self.files.get(owner, file_id)
        if file.purpose != INPUT_PURPOSE:
            raise RefusalError(400, f"the file's purpose is not `{INPUT_PURPOSE}`", "invalid_value", "input_file_id")
        metadata, lifetime = _read_metadata(body.get("metadata")), _read_lifetime(body.get("output_expires_after"))
        mine = (one for one in self.files.store.batches.values() if one.owner == owner and one.is_open)
        if sum(1 for _ in mine) >= MAX_OPEN:
            message = f"{MAX_OPEN} batches of this key are not over yet"
            raise RefusalError(429, message, "too_many_batches", retry_after=60)
        now = self.clock()
        batch = Batch(
            id=f"batch_{uuid4().hex}",
            owner=owner,
            endpoint=endpoint,
            model=self.model_id,
            input_file_id=file.id,
            completion_window=body["completion_window"],
            created=now,
            expires=now + window,
            metadata=metadata,
            output_lifetime=lifetime,
        )
        self.files.store.put_batch(batch)
        return batch.describe()

    async def find(self, owner: str | None, batch_id: str) -> dict[str, Any]:
        """Return OpenAI's batch object."""
        return self._get(owner, batch_id).describe()

    async def list(self, owner: str | None, page: Page) -> dict[str, Any]:
        """Return part of the list of batches."""
        return paginate([one for one in self.files.store.batches.values() if one.owner == owner], page)

    async def cancel(self, owner: str | None, batch_id: str) -> dict[str, Any]:
        """Have nothing more of it asked.

        Raises:
            RefusalError: if it is over, or about to be.
        """
        batch = self._get(owner, batch_id)
        if batch.status == "cancelling":
            return batch.describe()
        try:
            cancelled = batch.move("cancelling", self.clock())
        except ValueError:
            raise RefusalError(400, f"the batch is {batch.status} already", "invalid_state") from None
        self.files.store.put_batch(cancelled)
        return cancelled.describe()

    def _get(self, owner: str | None, batch_id: str) -> Batch:
        batch = self.files.store.batches.get(batch_id)
        if batch is None or batch.owner != owner:
            raise RefusalError(404, "there is no such batch", "batch_not_found")
        return batch


def _read_metadata(value: Any) -> dict[str, str] | None:
    if value is None:
        return None
    is_fitting = isinstance(value, dict) and len(value) <= MAX_PAIRS
    if not is_fitting or not all(_is_pair(name, part) for name, part in value.items()):
        message = f"has to be an object of up to {MAX_PAIRS} texts of {MAX_VALUE} characters, named by up to {MAX_NAME}"
        raise RefusalError(400, message, "invalid_value", "metadata")
    return dict(value)


def _read_lifetime(value: Any) -> float | None:
    if value is None:
        return None
    seconds = value.get("seconds") if isinstance(value, dict) else None
    is_long = isinstance(seconds, int) and seconds >= MIN_LIFETIME
    if not is_long or value != {"anchor": "created_at", "seconds": seconds}:
        message = f"has to be an object with `anchor`, created_at, and `seconds`, a whole number from {MIN_LIFETIME}"
        raise RefusalError(400, message, "invalid_value", "output_expires_after")
    return float(value["seconds"])


def _is_pair(name: str, value: Any) -> bool:
    return len(name) <= MAX_NAME and isinstance(value, str) and len(value) <= MAX_VALUE
