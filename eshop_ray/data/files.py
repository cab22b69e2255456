"""Finding and opening a source's files, on local disks and in object stores alike."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from pyarrow import fs

from eshop_ray.data.formats.packing import unpack
from eshop_ray.errors import UserError
from eshop_ray.places import is_uri, show
from eshop_ray.storage import Storage, StorageError

_BUFFER_BYTES = 1 << 20
_WILDCARDS = re.compile(r"\{split\}|\{[^{}/]*,[^{}/]*\}|\*\*/|\*")
_PATTERNS = {"{split}": r"(?P<split>[\w-]+)", "**/": r"(?:[^/]+/)*", "*": r"[^/]*"}


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source and the split that its name states."""

    path: str
    split: str | None


def resolve(root: str, pattern: str) -> str:
    """Join a root folder or URI and a pattern; an absolute pattern or one with a scheme stands alone.

    A query on the root (`s3://bucket?endpoint_override=host:9000`) stays at the end. Local paths become absolute,
    because Ray workers run in folders of their own.
    """
    if "://" in pattern:
        return pattern
    if "://" in root:
        base, question_mark, query = root.partition("?")
        return f"{base.rstrip('/')}/{pattern.lstrip('/')}{question_mark}{query}"
    return str((Path(root).expanduser() / Path(pattern).expanduser()).absolute())


def list_files(root: str, pattern: str) -> list[SourceFile]:
    """Return the files that a pattern matches, sorted by path; of a folder all in it, however deep.

    `*` matches within a folder's name, `**/` any number of folders, `{split}` one split name, `{one,other}` one of some
    names, of which not all need be there. Hidden files and those that begin with `_`, as programs leave them beside
    their data, are passed over unless the pattern names them.

    Raises:
        UserError: if the pattern matches nothing, or the place cannot be reached.
    """
    uri = resolve(root, pattern)
    path = _path_of(uri)
    with _explain(uri):
        found, is_folder = _find_stored(uri) if is_uri(uri) else _find_local(path)
    matcher = re.compile(re.escape(path.rstrip("/")) + "/.+") if is_folder else _compile(path)
    matches = [
        (name, match)
        for name in found
        if (match := matcher.fullmatch(name)) and (name == path or not _is_hidden(name, path))
    ]
    if not matches:
        raise UserError(f"{show(uri)}: no such file; set `data.root` or the source's `path` to where the files are")
    return sorted(
        (SourceFile(_with_path(uri, name), match.groupdict().get("split")) for name, match in matches),
        key=lambda file: file.path,
    )


@contextmanager
def open_bytes(path: str) -> Iterator[IO[bytes]]:
    """Open a file that `list_files` returned for reading; a packed one is unpacked on the way.

    Raises:
        UserError: if the file cannot be opened or its compressed data is damaged, also while it is read.
    """
    with _explain(path), _open_raw(path) as (stream, num_bytes):
        buffered = io.BufferedReader(stream, _BUFFER_BYTES)
        with unpack(buffered, num_bytes, show(path)) as unpacked:
            yield unpacked


def read_range(path: str, start: int, num_bytes: int) -> bytes:
    """Return a part of a file that is not packed.

    Raises:
        UserError: if it cannot be read.
    """
    with _explain(path):
        if is_uri(path):
            storage, key = _locate(path)
            content: bytes = storage.read_range(key, start, num_bytes).to_pybytes()
            return content
        with Path(_path_of(path)).open("rb") as stream:
            stream.seek(start)
            return stream.read(num_bytes)


def state_of(path: str) -> tuple[int, int]:
    """Return size in bytes and modification time in nanoseconds: enough to notice that a file has changed."""
    with _explain(path):
        if is_uri(path):
            storage, key = _locate(path)
            stored = storage.stat(key)
            return (stored.size, int(stored.modified.timestamp() * 1e9)) if stored else (0, 0)
        state = Path(_path_of(path)).stat()
        return state.st_size, state.st_mtime_ns


@contextmanager
def _open_raw(path: str) -> Iterator[tuple[Any, int]]:
    """Open a file, and tell its bytes."""
    if is_uri(path):
        storage, key = _locate(path)
        with storage.open(key) as stream:
            num_bytes = stream.seek(0, io.SEEK_END)
            stream.seek(0)
            yield stream, num_bytes
    else:
        with Path(_path_of(path)).open("rb", buffering=0) as stream:
            yield stream, Path(_path_of(path)).stat().st_size


def _path_of(uri: str) -> str:
    """Return a URI's bucket and path, without its query, or a local path as it is."""
    return uri.partition("?")[0].partition("://")[2] if is_uri(uri) else uri.removeprefix("file://")


def _locate(uri: str) -> tuple[Storage, str]:
    """Return a URI's bucket and the path in it."""
    base, question_mark, query = uri.partition("?")
    scheme, _, path = base.partition("://")
    bucket, _, key = path.partition("/")
    return Storage(f"{scheme}://{bucket}{question_mark}{query}"), key


def _find_stored(uri: str) -> tuple[list[str], bool]:
    """Return what may match a pattern, as paths that begin with the bucket, and whether all is in one folder."""
    storage, key = _locate(uri)
    bucket = _path_of(uri).partition("/")[0]
    wildcard = _WILDCARDS.search(key)
    if wildcard is None and key and storage.stat(key) is not None:
        return [f"{bucket}/{key}"], False
    folder = key.rstrip("/") if wildcard is None else key[: wildcard.start()].rpartition("/")[0]
    return [f"{bucket}/{file.path}" for file in storage.list(folder or None)], wildcard is None


def _find_local(path: str) -> tuple[list[str], bool]:
    """Return what may match a pattern, and whether all is in one folder."""
    files, wildcard = fs.LocalFileSystem(), _WILDCARDS.search(path)
    if wildcard is None:
        (info,) = files.get_file_info([path])
        is_folder = info.type == fs.FileType.Directory
        infos = files.get_file_info(fs.FileSelector(path.rstrip("/"), recursive=True)) if is_folder else [info]
        return [info.path for info in infos if info.type == fs.FileType.File], is_folder
    folder = path[: wildcard.start()].rpartition("/")[0]
    selector = fs.FileSelector(folder, recursive="/" in path[wildcard.start() :], allow_not_found=True)
    return [info.path for info in files.get_file_info(selector) if info.type == fs.FileType.File], False


def _is_hidden(name: str, pattern: str) -> bool:
    """Whether a part of the name that a wildcard or a folder stands for begins with `.` or `_`."""
    literal = pattern[: wildcard.start()] if (wildcard := _WILDCARDS.search(pattern)) else pattern.rstrip("/") + "/"
    given = literal.rpartition("/")[0].count("/") + 1
    last = pattern.rpartition("/")[2]
    parts = name.split("/")[given:]
    return any(part.startswith((".", "_")) for part in parts) and not last.startswith((".", "_"))


def _compile(path: str) -> re.Pattern[str]:
    expression, position, has_split = "", 0, False
    for wildcard in _WILDCARDS.finditer(path):
        part = _PATTERNS.get(wildcard[0]) or f"(?:{'|'.join(map(re.escape, wildcard[0][1:-1].split(',')))})"
        if wildcard[0] == "{split}":
            part, has_split = (r"(?P=split)" if has_split else part), True
        expression += re.escape(path[position : wildcard.start()]) + part
        position = wildcard.end()
    return re.compile(expression + re.escape(path[position:]))


def _with_path(uri: str, name: str) -> str:
    """Put the matched name in the place of the pattern."""
    if "://" not in uri:
        return name
    base, question_mark, query = uri.partition("?")
    scheme = base.partition("://")[0]
    return f"{scheme}://{name.lstrip('/') if scheme != 'file' else name}{question_mark}{query}"


@contextmanager
def _explain(uri: str) -> Iterator[None]:
    try:
        yield
    except (StorageError, OSError, EOFError, pa.ArrowException) as error:
        reason = error.reason if isinstance(error, StorageError) else " ".join(str(error).split())
        reason = reason or type(error).__name__
        raise UserError(f"{show(uri)}: cannot be read: {reason}; check the path and your access to it") from error
