"""Small files of a run: reports, records of what was done, manifests.

Where the run's directory is in an object store, what is written here is put there at once, and what is read is read
there: its folder on this machine is but a copy.
"""

import json
from collections.abc import Mapping
from errno import ENOENT
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from eshop_ray.artifacts.digests import fingerprint
from eshop_ray.places import make_folder, uri_of
from eshop_ray.storage import Storage

CHECKSUM = "checksum"


def write_text(path: Path, text: str) -> None:
    """Write a file so that readers see the old text or the new one, never a part.

    Raises:
        StorageError: if the run's storage refuses.
    """
    make_folder(path.parent)
    staged = path.with_name(f".{path.name}.partial")
    staged.write_text(text)
    staged.replace(path)
    publish(path)


def publish(path: Path) -> None:
    """Put a file into the run's storage, if it has one; a file of a folder that is not finished stays here.

    Raises:
        StorageError: if the storage refuses.
    """
    uri = uri_of(path.parent)
    if uri is not None:
        Storage(uri).write(path.name, path.read_bytes())


def read_text(path: Path) -> str:
    """Return the text of a file.

    Raises:
        FileNotFoundError: if there is none.
        StorageError: if the run's storage cannot be read.
    """
    uri = uri_of(path.parent)
    if uri is None:
        return path.read_text()
    content = Storage(uri).read(path.name)
    if content is None:
        raise FileNotFoundError(ENOENT, "No such file", f"{uri}/{path.name}")
    return content.decode()


def list_paths(folder: Path, pattern: str) -> list[Path]:
    """Return the files of a folder whose names match, sorted.

    Raises:
        StorageError: if the run's storage cannot be read.
    """
    uri = uri_of(folder)
    if uri is None:
        return sorted(folder.glob(pattern))
    _, files = Storage(uri).list_folder()
    return sorted(folder / file.path for file in files if fnmatch(file.path, pattern))


def list_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted.

    Raises:
        StorageError: if the run's storage cannot be read.
    """
    uri = uri_of(folder)
    if uri is None:
        return sorted(path for path in folder.glob("*") if path.is_dir())
    folders, _ = Storage(uri).list_folder()
    return [folder / name for name in folders]


def remove(path: Path) -> None:
    """Delete a file where there is one.

    Raises:
        StorageError: if the run's storage refuses.
    """
    path.unlink(missing_ok=True)
    uri = uri_of(path.parent)
    if uri is not None:
        Storage(uri).delete(path.name)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file for people and programs."""
    write_text(path, _render(value))


def write_checksummed(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object with the digest of its content in it, so that `is_intact` notices any later change."""
    write_text(path, render_checksummed(value))


def render_checksummed(value: Mapping[str, Any]) -> str:
    """Return what `write_checksummed` writes."""
    content = json.loads(json.dumps(value))
    return _render({**content, CHECKSUM: fingerprint(content)})


def read_checksummed(path: Path) -> dict[str, Any]:
    """Return a JSON object without its checksum, which may be missing or broken.

    Raises:
        StorageError: if the run's storage cannot be read.
        OSError, ValueError: if there is no such file, or it holds no JSON object.
    """
    content = json.loads(read_text(path))
    if not isinstance(content, dict):
        raise ValueError(f"{path}: no JSON object")
    content.pop(CHECKSUM, None)
    return content


def is_intact(path: Path) -> bool:
    """Whether a file is, to the byte, what `write_checksummed` wrote."""
    try:
        content = read_checksummed(path)
        return read_text(path) == render_checksummed(content)
    except (OSError, ValueError):
        return False


def _render(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
