"""Bytes of a table in a local folder or an object store, and storage trouble in the user's words."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import obstore
import pyarrow as pa
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, LocalStore, ObjectStore, S3Store

from eshop_ray.data.files import show
from eshop_ray.enrichment.table.streams import RandomReader
from eshop_ray.errors import UserError

if TYPE_CHECKING:  # stubs only
    from obstore.store import ClientConfig, RetryConfig

MAX_RETRIES = 5
RETRY_TIMEOUT = timedelta(seconds=60)
"""Passing trouble of an object store (5xx, lost connections) is retried this often and this long."""

_READ_AHEAD = 1 << 20
_STAYS = "what was committed stays; mend the storage and run it again: it goes on from there"
_REASONS = (
    re.compile(r"([A-Z][\w ]+) \(os error \d+\)"),
    re.compile(r"non-2xx status code\W+(\d+ [A-Z][a-z]+(?: [A-Z][a-z]+)*)"),
    re.compile(r"HTTP error: ([\w ]+)"),
)
_COLOR = re.compile(r"\x1b\[\d+m")
_SCHEMES = ("file", "s3", "s3a", "gs", "az", "abfs", "abfss")
_S3_CODE = re.compile(r"<Code>(\w+)</Code>")


class StorageError(UserError):
    """Storage that refuses, is full or cannot be reached; what was committed stays."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a table's folder."""

    path: str
    size: int
    modified: datetime
    """By the storage's own clock."""


class Storage:
    """All files below one URI; paths are relative to it.

    Local folders are absolute: Ray workers run in folders of their own. Credentials and endpoints of object stores
    come from their usual environment variables (`AWS_ENDPOINT_URL`, `AWS_ALLOW_HTTP`, ...).
    """

    def __init__(self, uri: str) -> None:
        """Name a place; nothing is looked up yet.

        Raises:
            UserError: if no such storage is known.
        """
        self.uri = uri if "://" in uri else str(Path(uri).expanduser().absolute())
        scheme = self.uri.partition("://")[0] if "://" in self.uri else "file"
        if scheme not in _SCHEMES:
            raise UserError(
                f"{self.shown}: no storage is known as `{scheme}`; use a local folder, `s3://`, `gs://` or `az://`"
            )

    def __reduce__(self) -> tuple[Callable[[str], "Storage"], tuple[str]]:
        return Storage, (self.uri,)

    @property
    def folder(self) -> Path | None:
        """The local folder, or None for an object store."""
        if "://" not in self.uri:
            return Path(self.uri)
        return Path(self.uri.removeprefix("file://")) if self.uri.startswith("file://") else None

    @property
    def shown(self) -> str:
        """The URI without its query, which may hold credentials."""
        return show(self.uri)

    @property
    def options(self) -> dict[str, str]:
        """What `deltalake` must be told besides the environment."""
        if self.folder is not None:
            return {}
        retry = {"max_retries": f"{MAX_RETRIES}", "retry_timeout": f"{RETRY_TIMEOUT.seconds}s"}
        return {**retry, "AWS_ALLOW_HTTP": "true"} if self._is_plain_http else retry

    def make_folder(self) -> None:
        """Create the local folder where it is missing.

        Raises:
            StorageError: if it cannot be created.
        """
        with self.explain("written"):
            if self.folder is not None:
                self.folder.mkdir(parents=True, exist_ok=True)

    def read(self, path: str) -> bytes | None:
        """Return a file's bytes, or None where there is no such file.

        Raises:
            StorageError: if the storage cannot be read.
        """
        if self._is_absent:
            return None
        with self.explain("read"):
            try:
                return bytes(obstore.get(self._store, path).bytes())
            except FileNotFoundError:
                return None

    def read_range(self, path: str, start: int, num_bytes: int) -> pa.Buffer:
        """Return a part of a file.

        Raises:
            StorageError: if the storage cannot be read, or there is no such file.
        """
        with self.explain("read"):
            return pa.py_buffer(obstore.get_range(self._store, path, start=start, length=num_bytes))

    @contextmanager
    def open(self, path: str) -> Iterator[IO[bytes]]:
        """Open a file for reading at random places.

        Raises:
            StorageError: if it is missing or cannot be read, also while it is read.
        """
        with self.explain("read"):
            reader = obstore.open_reader(self._store, path, buffer_size=_READ_AHEAD)
            yield cast(IO[bytes], RandomReader(reader))

    def write(self, path: str, data: bytes) -> None:
        """Write a whole file or nothing.

        Raises:
            StorageError: if the storage refuses.
        """
        with self.explain("written"):
            obstore.put(self._store, path, data)

    def list(self, prefix: str | None = None) -> Iterator[StoredFile]:
        """Yield the files below a folder.

        Raises:
            StorageError: if the storage cannot be listed.
        """
        if self._is_absent:
            return
        with self.explain("read"):
            for chunk in obstore.list(self._store, prefix, chunk_size=1000):
                yield from (StoredFile(meta["path"], meta["size"], meta["last_modified"]) for meta in chunk)

    def delete(self, path: str) -> None:
        """Delete a file; one that is gone already is no trouble.

        Raises:
            StorageError: if the storage refuses.
        """
        with self.explain("written"):
            try:
                obstore.delete(self._store, path)
            except FileNotFoundError:
                return

    def delete_partial(self, path: str) -> None:
        """Delete what a killed process had half written of a file.

        Only local folders show that: as `NAME#1`, which `list` leaves out.

        Raises:
            StorageError: if the storage refuses.
        """
        if self.folder is None:
            return
        with self.explain("written"):
            for partial in (self.folder / path).parent.glob(f"{Path(path).name}#[0-9]*"):
                partial.unlink(missing_ok=True)

    def trouble(self, verb: str, error: Exception) -> "StorageError":
        """Return what the storage says in one line that names the place, the reason and the remedy."""
        return StorageError(f"{self.shown} cannot be {verb}: {_reason(error)}; {_STAYS}")

    @contextmanager
    def explain(self, verb: str) -> Iterator[None]:
        """Turn what the storage says into one line that names the place, the reason and the remedy."""
        try:
            yield
        except (BaseError, OSError) as error:
            raise self.trouble(verb, error) from error

    @property
    def _is_absent(self) -> bool:
        return self.folder is not None and not self.folder.is_dir()

    @property
    def _is_plain_http(self) -> bool:
        return os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")

    @cached_property
    def _store(self) -> ObjectStore:
        if self.folder is not None:
            return LocalStore(self.folder)
        retry: RetryConfig = {"max_retries": MAX_RETRIES, "retry_timeout": RETRY_TIMEOUT}
        scheme = self.uri.partition("://")[0]
        if scheme in {"s3", "s3a"}:
            client: ClientConfig = {"allow_http": True} if self._is_plain_http else {}
            return S3Store.from_url(self.uri, retry_config=retry, client_options=client)
        return (GCSStore if scheme == "gs" else AzureStore).from_url(self.uri, retry_config=retry)


def _reason(error: Exception) -> str:
    """The cause in a few words, never the whole message: object stores put key ids and signatures into it."""
    text = " ".join(_COLOR.sub("", str(error)).split())
    found = next((match[1] for pattern in _REASONS if (match := pattern.search(text))), None)
    code = _S3_CODE.search(text)
    words: Iterable[str | None] = (found or getattr(error, "strerror", None) or type(error).__name__, code and code[1])
    return ", ".join(word for word in words if word)
