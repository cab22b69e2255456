"""Finding and opening a source's files, on local disks and in object stores alike."""

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import pyarrow as pa
from pyarrow import fs

from eshop_ray.config.secrets import hide_in_text
from eshop_ray.data.formats.packing import unpack
from eshop_ray.errors import UserError

_BUFFER_BYTES = 1 << 20
_WILDCARDS = re.compile(r"\{split\}|\*\*/|\*")
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

    `*` matches within a folder's name, `**/` any number of folders, `{split}` one split name. Hidden files and those
    that begin with `_`, as programs leave them beside their data, are passed over unless the pattern names them.

    Raises:
        UserError: if the pattern matches nothing, or the place cannot be reached.
    """
    uri = resolve(root, pattern)
    with _explain(uri):
        filesystem, path = _open_filesystem(uri)
        matcher = _compile(path)
        infos = filesystem.get_file_info(_selection(path))
        if len(infos) == 1 and infos[0].type == fs.FileType.Directory and infos[0].path == path.rstrip("/"):
            infos = filesystem.get_file_info(fs.FileSelector(path.rstrip("/"), recursive=True))
            matcher = re.compile(re.escape(path.rstrip("/")) + "/.+")
        found = [info.path for info in infos if info.type == fs.FileType.File]
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
    with _explain(path):
        filesystem, name = _open_filesystem(path)
        with filesystem.open_input_file(name) as stream:
            buffered = io.BufferedReader(cast(io.RawIOBase, stream), _BUFFER_BYTES)
            with unpack(buffered, stream.size(), show(path)) as unpacked:
                yield unpacked


def read_range(path: str, start: int, num_bytes: int) -> bytes:
    """Return a part of a file that is not packed.

    Raises:
        UserError: if it cannot be read.
    """
    with _explain(path):
        filesystem, name = _open_filesystem(path)
        with filesystem.open_input_file(name) as stream:
            content: bytes = stream.read_at(num_bytes, start)
            return content


def show(uri: str) -> str:
    """Return a path for people: the user and the query of a URI may be credentials."""
    return hide_in_text(uri.partition("?")[0]) if "://" in uri else uri


def state_of(path: str) -> tuple[int, int]:
    """Return size in bytes and modification time in nanoseconds: enough to notice that a file has changed."""
    with _explain(path):
        filesystem, name = _open_filesystem(path)
        info = filesystem.get_file_info(name)
        return int(info.size or 0), int(info.mtime_ns or 0)


def _open_filesystem(uri: str) -> tuple[fs.FileSystem, str]:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if uri.startswith("s3://") and endpoint and "?" not in uri:
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        return fs.S3FileSystem(endpoint_override=endpoint, region=region), uri.removeprefix("s3://")
    if "://" not in uri:
        return fs.LocalFileSystem(), uri
    wild = re.sub(r"[{}*]", lambda match: f"%{ord(match[0]):02X}", uri)
    return cast(tuple[fs.FileSystem, str], fs.FileSystem.from_uri(wild))


def _selection(path: str) -> list[str] | fs.FileSelector:
    wildcard = _WILDCARDS.search(path)
    if wildcard is None:
        return [path]
    folder = path[: wildcard.start()].rpartition("/")[0]
    recursive = "/" in path[wildcard.start() :]
    return fs.FileSelector(folder, recursive=recursive, allow_not_found=True)


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
        part = _PATTERNS[wildcard[0]]
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
    except (OSError, EOFError, pa.ArrowException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{show(uri)}: cannot be read: {reason}; check the path and your access to it") from error
