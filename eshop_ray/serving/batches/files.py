"""Files of keys: uploaded, listed, read and deleted; what is another key's is not there."""

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from eshop_ray.config import BatchesSection
from eshop_ray.serving.batches.states import INPUT_PURPOSE, Batch, StoredFile
from eshop_ray.serving.batches.store import Store
from eshop_ray.serving.errors import RefusalError

MAX_NAME_CHARACTERS = 256
DAY_SECONDS = 86_400.0
MIN_LIFETIME = 3600
"""Seconds that a client may have a file kept at least."""
IDLE_SECONDS = 3600.0
"""Without a byte, after which an upload is given up: its gateway died."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f/\\]")

Item = TypeVar("Item", StoredFile, Batch)


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list a client wants."""

    limit: int
    after: str | None = None
    """Id of the last one that it has."""
    order: Literal["asc", "desc"] = "desc"
    """By age; `desc`: the newest first."""
    purpose: str | None = None


@dataclass(slots=True)
class _Upload:
    owner: str | None
    num_bytes: int
    last: float


class Files(Protocol):
    """What gateways ask about files.

    Raises:
        RefusalError: from each of these, if the file is not there or may not be had.
    """

    async def begin(self, owner: str | None) -> str:
        """Return the id of a file that is going to be uploaded."""

    async def append(self, file_id: str, block: bytes) -> None:
        """Add to it."""

    async def finish(self, file_id: str, filename: str, purpose: str, lifetime: float | None) -> dict[str, Any]:
        """End an upload, and return OpenAI's file object.

        Args:
            file_id: Of the upload.
            filename: As the client calls it.
            purpose: What it is for.
            lifetime: Seconds that it is kept; None: as long as files are.
        """

    async def abort(self, file_id: str) -> None:
        """Forget an upload."""

    async def find(self, owner: str | None, file_id: str) -> dict[str, Any]:
        """Return OpenAI's file object."""

    async def list(self, owner: str | None, page: Page) -> dict[str, Any]:
        """Return part of the list of files."""

    async def delete(self, owner: str | None, file_id: str) -> dict[str, Any]:
        """Delete a file."""

    async def read(self, owner: str | None, file_id: str, offset: int, num_bytes: int) -> bytes:
        """Return part of its content."""


@dataclass(slots=True)
class FileService:
    """The files of a store."""

    store: Store
    config: BatchesSection
    clock: Callable[[], float] = time.time
    _uploads: dict[str, _Upload] = field(default_factory=dict)

    async def begin(self, owner: str | None) -> str:
        """Return the id of a file that is going to be uploaded."""
        name = self.store.begin_upload()
        self._uploads[name] = _Upload(owner, 0, self.clock())
        return name

    async def append(self, file_id: str, block: bytes) -> None:
        """Add to it.

        Raises:
            RefusalError: if it gets too long, or the key has too much already.
        """
        upload = self._find_upload(file_id)
        if upload.num_bytes + len(block) > self.config.max_file_bytes:
            raise too_large(self.config.max_file_bytes)
        if self._count_bytes(upload.owner) + len(block) > self.config.max_stored_bytes:
            message = f"the files of this key come to more than {self.config.max_stored_bytes} bytes; delete some"
            raise RefusalError(413, message, "storage_full")
        with self.store.find_content(file_id).open("ab") as file:
            file.write(block)
        upload.num_bytes += len(block)
        upload.last = self.clock()

    async def finish(self, file_id: str, filename: str, purpose: str, lifetime: float | None) -> dict[str, Any]:
        """End an upload, and return OpenAI's file object.

        Raises:
            RefusalError: if it is for something else than a batch.
        """
        upload = self._find_upload(file_id)
        if purpose != INPUT_PURPOSE:
            raise RefusalError(400, f"files are for batches here: `{INPUT_PURPOSE}`", "invalid_value", "purpose")
        now = self.clock()
        file = StoredFile(
            id=file_id,
            owner=upload.owner,
            filename=_CONTROL.sub("_", filename)[:MAX_NAME_CHARACTERS] or "file",
            purpose=INPUT_PURPOSE,
            num_bytes=upload.num_bytes,
            created=now,
            expires=now + min(lifetime or self.keep_seconds, self.keep_seconds),
        )
        await asyncio.to_thread(self.store.put_file, file)
        del self._uploads[file_id]
        return file.describe()

    async def abort(self, file_id: str) -> None:
        """Forget an upload."""
        if self._uploads.pop(file_id, None):
            self.store.remove_file(file_id)

    async def find(self, owner: str | None, file_id: str) -> dict[str, Any]:
        """Return OpenAI's file object."""
        return self.get(owner, file_id).describe()

    async def list(self, owner: str | None, page: Page) -> dict[str, Any]:
        """Return part of the list of files."""
        mine = (file for file in self.store.files.values() if file.owner == owner)
        wanted = [file for file in mine if page.purpose in (None, file.purpose)]
        return paginate(wanted, page)

    async def delete(self, owner: str | None, file_id: str) -> dict[str, Any]:
        """Delete a file.

        Raises:
            RefusalError: if a batch needs it.
        """
        file = self.get(owner, file_id)
        if self._is_needed(file):
            raise RefusalError(400, "a batch that is not over reads this file; cancel it first", "file_in_use")
        self.store.remove_file(file.id)
        return {"id": file.id, "object": "file", "deleted": True}

    async def read(self, owner: str | None, file_id: str, offset: int, num_bytes: int) -> bytes:
        """Return part of its content."""
        with self.store.find_content(self.get(owner, file_id).id).open("rb") as file:
            file.seek(offset)
            return file.read(num_bytes)

    def get(self, owner: str | None, file_id: str) -> StoredFile:
        """Return what is known of a file.

        Raises:
            RefusalError: if the key has none of that id.
        """
        file = self.store.files.get(file_id)
        if file is None or file.owner != owner or file.expires <= self.clock():
            raise RefusalError(404, "there is no such file", "file_not_found")
        return file

    def clean(self) -> None:
        """Remove files whose time is up, and uploads that nobody goes on with."""
        now = self.clock()
        for file in list(self.store.files.values()):
            if file.expires <= now and not self._is_needed(file):
                self.store.remove_file(file.id)
        for name, upload in list(self._uploads.items()):
            if upload.last <= now - IDLE_SECONDS:
                del self._uploads[name]
                self.store.remove_file(name)

    @property
    def keep_seconds(self) -> float:
        """How long files are kept."""
        return self.config.keep_days * DAY_SECONDS

    def _is_needed(self, file: StoredFile) -> bool:
        return any(batch.is_open and batch.input_file_id == file.id for batch in self.store.batches.values())

    def _find_upload(self, file_id: str) -> _Upload:
        if file_id not in self._uploads:
            raise RefusalError(503, "the upload was broken off; send the file again", "unavailable", retry_after=1)
        return self._uploads[file_id]

    def _count_bytes(self, owner: str | None) -> int:
        stored = sum(file.num_bytes for file in self.store.files.values() if file.owner == owner)
        return stored + sum(one.num_bytes for one in self._uploads.values() if one.owner == owner)


def too_large(max_bytes: int) -> RefusalError:
    """Return the refusal of a file that is too long."""
    return RefusalError(413, f"the file is longer than {max_bytes} bytes", "request_too_large", "file")


def paginate(items: Sequence[Item], page: Page) -> dict[str, Any]:
    """Return OpenAI's list object with part of a list.

    Raises:
        RefusalError: if what it is to go on after is not there.
    """
    ordered = sorted(items, key=lambda one: (one.created, one.id), reverse=page.order == "desc")
    start = 0
    if page.after is not None:
        ids = [one.id for one in ordered]
        if page.after not in ids:
            raise RefusalError(400, "there is nothing of this id", "invalid_value", "after")
        start = ids.index(page.after) + 1
    shown = ordered[start : start + page.limit]
    return {
        "object": "list",
        "data": [one.describe() for one in shown],
        "first_id": shown[0].id if shown else None,
        "last_id": shown[-1].id if shown else None,
        "has_more": start + len(shown) < len(ordered),
    }
