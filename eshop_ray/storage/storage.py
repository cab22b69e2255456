"""Bytes in a local folder or an object store, and storage trouble in the user's words."""

import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import obstore
import pyarrow as pa
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import ObjectStore

from eshop_ray.errors import UserError
from eshop_ray.places import CACHE_VARIABLE, check_uri, is_uri, show
from eshop_ray.storage.access import delta_options, open_store
from eshop_ray.storage.streams import RandomReader

if TYPE_CHECKING:  # stubs only
    from obstore import GetOptions, UpdateVersion

_READ_AHEAD = 8 << 20
_DOWNLOADED_AT_ONCE = 32 << 20
"""Bytes of one request: time for retries is counted from its beginning, so one for a large file would have none."""
_UPLOADED_AT_ONCE = 4
"""Parts of 5 MiB of one file: each has a minute, so more of them would not come through a slow line."""
_STAYS = "what was committed stays; mend the storage and run it again: it goes on from there"
_REASONS = (
    re.compile(r"([A-Z][\w ]+) \(os error \d+\)"),
    re.compile(r"non-2xx status code\W+(\d+ [A-Z][a-z]+(?: [A-Z][a-z]+)*)"),
    re.compile(r"HTTP error: ([\w ]+?)(?: Debug source|[^\w ]|$)"),
)
_DELETED_AT_ONCE = 1000
_COLOR = re.compile(r"\x1b\[\d+m")
_S3_CODE = re.compile(r"<Code>(\w+)</Code>")


class StorageError(UserError):
    """Storage that refuses, is full or cannot be reached; what was committed stays."""

    reason = ""
    """What it says, in a few words."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a folder."""

    path: str
    size: int
    modified: datetime
    """By the storage's own clock."""
    e_tag: str | None = None
    """Changes with the content, where the storage keeps one."""
    version: str | None = None
    """Changes with every writing, where the storage counts them."""


class Storage:
    """All files below one URI; paths are relative to it.

    Local folders are absolute: Ray workers run in folders of their own. How object stores are reached, tells
    `eshop_ray.storage.access`.
    """

    def __init__(self, uri: str) -> None:
        """Name a place; nothing is looked up yet.

        Raises:
            UserError: if no such storage is known, or its URI has a `#`.
        """
        self.uri = uri if "://" in uri else str(Path(uri).expanduser().absolute())
        check_uri(self.uri)

    def __reduce__(self) -> tuple[Callable[[str], "Storage"], tuple[str]]:
        return Storage, (self.uri,)

    @property
    def folder(self) -> Path | None:
        """The local folder, or None for an object store."""
        return None if is_uri(self.uri) else Path(self.uri.removeprefix("file://"))

    @property
    def shown(self) -> str:
        """The URI without its query, which may hold credentials."""
        return show(self.uri)

    @property
    def options(self) -> dict[str, str]:
        """What `deltalake` must be told besides the environment."""
        return delta_options(self.uri)

    def below(self, path: str) -> "Storage":
        """Return the storage of a folder in this one."""
        base, question_mark, query = self.uri.partition("?") if is_uri(self.uri) else (self.uri, "", "")
        return Storage(f"{base.rstrip('/')}/{path}{question_mark}{query}")

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

    def stat(self, path: str) -> StoredFile | None:
        """Return what is known of a file, or None where there is no such file.

        Raises:
            StorageError: if the storage cannot be read.
        """
        if self._is_absent:
            return None
        with self.explain("read"):
            try:
                return _describe(obstore.head(self._store, path))
            except FileNotFoundError:
                return None

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

    def upload(self, path: str, file: Path) -> None:
        """Write a whole local file, of any size.

        Raises:
            StorageError: if the storage refuses.
        """
        with self.explain("written"):
            obstore.put(self._store, path, file, max_concurrency=_UPLOADED_AT_ONCE)

    def download(self, path: str, file: Path) -> None:
        """Write a file's bytes, of one and the same version, to a local path.

        Raises:
            StorageError: if the storage cannot be read, there is no such file, or the local disk takes no more.
        """
        try:
            with file.open("wb") as target:
                for chunk in self._stream(path):
                    target.write(chunk)
        except OSError as error:
            raise StorageError(
                f"{file} cannot be written: {error.strerror}; give its disk room, or set `{CACHE_VARIABLE}` to "
                "another folder"
            ) from error

    def _stream(self, path: str) -> Iterator[bytes]:
        with self.explain("read"):
            meta = obstore.head(self._store, path)
            for start in range(0, meta["size"], _DOWNLOADED_AT_ONCE):
                options: GetOptions = {"range": (start, min(start + _DOWNLOADED_AT_ONCE, meta["size"]))}
                if meta["e_tag"]:
                    options["if_match"] = meta["e_tag"]
                yield from obstore.get(self._store, path, options=options).stream(min_chunk_size=_READ_AHEAD)

    def create(self, path: str, data: bytes) -> bool:
        """Write a whole file where there is none, and return whether there was none.

        Raises:
            StorageError: if the storage refuses.
        """
        with self.explain("written"):
            try:
                obstore.put(self._store, path, data, mode="create")
            except (AlreadyExistsError, PreconditionError):
                return False
            return True

    def replace(self, path: str, data: bytes, found: StoredFile) -> bool:
        """Write a whole file over the one that was found, and return whether it was still that one.

        Local folders know no tags: there another's file may be overwritten.

        Raises:
            StorageError: if the storage refuses.
        """
        with self.explain("written"):
            try:
                # Google compares versions, the others tags.
                told = {name: value for name in ("e_tag", "version") if (value := getattr(found, name)) is not None}
                known = cast("UpdateVersion", told)
                obstore.put(self._store, path, data, mode="overwrite" if self.folder else known)
            except (FileNotFoundError, PreconditionError):
                return False
            return True

    def list(self, prefix: str | None = None) -> Iterator[StoredFile]:
        """Yield the files below a folder.

        Raises:
            StorageError: if the storage cannot be listed.
        """
        if self._is_absent:
            return
        with self.explain("read"):
            for chunk in obstore.list(self._store, prefix, chunk_size=1000):
                yield from filter(self._is_file, map(_describe, chunk))

    def list_folder(self, prefix: str | None = None) -> tuple[Sequence[str], Sequence[StoredFile]]:
        """Return the folders in a folder, by their paths, and its own files.

        Raises:
            StorageError: if the storage cannot be listed.
        """
        if self._is_absent:
            return [], []
        with self.explain("read"):
            found = obstore.list_with_delimiter(self._store, prefix)
            files = [*filter(self._is_file, map(_describe, found["objects"]))]
            return sorted(found["common_prefixes"]), files

    def delete_all(self, prefix: str | None = None) -> None:
        """Delete the files below a folder; of a local one the folders stay.

        Raises:
            StorageError: if the storage refuses.
        """
        paths = [file.path for file in self.list(prefix)]
        with self.explain("written"):
            for start in range(0, len(paths), _DELETED_AT_ONCE):
                obstore.delete(self._store, paths[start : start + _DELETED_AT_ONCE])

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

    def remove_folder(self, path: str) -> None:
        """Delete a folder with all in it; one that is gone already is no trouble.

        Raises:
            StorageError: if the storage refuses.
        """
        if self.folder is None:
            self.delete_all(path)
        else:
            with self.explain("written"), suppress(FileNotFoundError):
                shutil.rmtree(self.folder / path)

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
        trouble = StorageError(f"{self.shown} cannot be {verb}: {(reason := _reason(error))}; {_STAYS}")
        trouble.reason = reason
        return trouble

    @contextmanager
    def explain(self, verb: str) -> Iterator[None]:
        """Turn what the storage says into one line that names the place, the reason and the remedy."""
        try:
            yield
        except (BaseError, OSError) as error:
            raise self.trouble(verb, error) from error

    def _is_file(self, found: StoredFile) -> bool:
        """Whether what was listed can be read by its name. Consoles of stores mark folders by empty files whose names
        end with a slash, which the listing leaves out.
        """
        if self.folder is not None or found.size:
            return True
        return bool(found.path) and self.stat(found.path) is not None

    @property
    def _is_absent(self) -> bool:
        return self.folder is not None and not self.folder.is_dir()

    @cached_property
    def _store(self) -> ObjectStore:
        return open_store(self.uri)


def _describe(meta: "obstore.ObjectMeta") -> StoredFile:
    return StoredFile(meta["path"], meta["size"], meta["last_modified"], meta["e_tag"], meta["version"])


def _reason(error: Exception) -> str:
    """The cause in a few words, never the whole message: object stores put key ids and signatures into it."""
    text = " ".join(_COLOR.sub("", str(error)).split())
    found = next((match[1] for pattern in _REASONS if (match := pattern.search(text))), None)
    code = _S3_CODE.search(text)
    words: Iterable[str | None] = (found or getattr(error, "strerror", None) or type(error).__name__, code and code[1])
    return ", ".join(word for word in words if word)
