"""Folders that are complete or absent.

An artifact is a folder with a `manifest.json`, which is written last and means complete. The manifest holds the
digest of every file, one digest of them all, and the digests of the artifacts it was made from. A manifest also has
a checksum of its own: a byte that changes later, in a file or in the manifest itself, can be named.

The artifacts of a run whose directory is in an object store are made on this machine and put there when they are
complete, the manifest last; those made elsewhere are fetched when a job needs their files.
"""

import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from eshop_ray.artifacts.digests import MANIFEST, digest_dir, digest_files, hash_files
from eshop_ray.artifacts.documents import CHECKSUM, is_intact, read_checksummed, write_checksummed
from eshop_ray.artifacts.manifest import Manifest
from eshop_ray.artifacts.transfer import alone, download, hash_stored, list_files, upload
from eshop_ray.errors import UserError
from eshop_ray.places import make_folder, place_of, uri_of
from eshop_ray.storage import Storage, StorageError


@contextmanager
def stage_dir(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `folder` when the block succeeds; else nothing changes."""
    staged = folder.with_name(f".{folder.name}.partial")
    _restore(folder)
    shutil.rmtree(staged, ignore_errors=True)
    make_folder(folder.parent)
    staged.mkdir()
    try:
        yield staged
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    swap(folder, staged)
    _put_into_storage(folder)


def swap(folder: Path, staged: Path) -> None:
    """Put a folder in the place of another. Whenever it is cut off, `_restore` finds one of the two whole."""
    former = _former(folder)
    shutil.rmtree(former, ignore_errors=True)
    if folder.exists():
        folder.replace(former)
    staged.replace(folder)
    shutil.rmtree(former, ignore_errors=True)


def _restore(folder: Path) -> None:
    """Bring back what `swap` had put aside when it was cut off."""
    former = _former(folder)
    if former.exists() and not folder.exists():
        with suppress(OSError):  # another process may do the same, or go on with its swap
            former.replace(folder)


def _former(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.former")


def write_manifest(
    folder: Path, kind: str, inputs: str, parents: Mapping[str, str], details: Mapping[str, Any] | None = None
) -> Manifest:
    """Seal a finished folder."""
    manifest = describe_folder(folder, kind, inputs, parents, details)
    write_checksummed(folder / MANIFEST, asdict(manifest))
    _put_into_storage(folder)
    return manifest


def describe_folder(
    folder: Path, kind: str, inputs: str, parents: Mapping[str, str], details: Mapping[str, Any] | None = None
) -> Manifest:
    """Return the manifest of a folder as it is now; nothing is written."""
    files = hash_files(folder)
    sizes = {name: (folder / name).stat().st_size for name in files}
    return Manifest(kind, digest_files(files), dict(parents), inputs, dict(details or {}), files, sizes)


_WORKING = "tokens"
"""A kind of folder that is of no use once its run is complete."""


def _put_into_storage(folder: Path) -> None:
    uri = uri_of(folder)
    if uri is not None and (folder / MANIFEST).exists():
        upload(folder, _read_copy(folder), Storage(uri))


def find_complete(folder: Path) -> Manifest | None:
    """Return the manifest of an artifact whose files are all there, each as long as it was; else None."""
    manifest = find_manifest(folder)
    return None if manifest is None or find_loss(folder, manifest) else manifest


def find_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of an artifact, whatever became of its files since, or None."""
    _restore(folder)
    try:
        return Manifest(**read_checksummed(folder / MANIFEST))
    except (OSError, ValueError, TypeError):
        return None


def find_loss(folder: Path, manifest: Manifest) -> str | None:
    """Return what is wrong with the first file that is missing or of another length; digests are for `find_changes`."""
    uri = uri_of(folder)
    found = measure_files(folder) if uri is None else {file.path: file.size for file in Storage(uri).list()}
    for name in manifest.files:
        if name not in found:
            return f"{place_of(folder)}/{name} is missing"
        if found[name] != manifest.sizes.get(name, found[name]):
            return f"{place_of(folder)}/{name} has {found[name]} bytes instead of {manifest.sizes[name]}"
    return None


def measure_files(folder: Path) -> dict[str, int]:
    """Return relative path -> bytes of a local folder's files."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def read_manifest(folder: Path, job: str) -> Manifest:
    """Return the manifest of an artifact that has to be there.

    Raises:
        UserError: naming the folder and the job that makes it.
    """
    manifest = find_manifest(folder)
    if manifest is None:
        raise UserError(f"{place_of(folder)} is missing or incomplete; {_name_remedy(job)}")
    return manifest


def read_complete(folder: Path, job: str) -> Manifest:
    """Return the manifest of an artifact that has to be there with all its files, and fetch those.

    Raises:
        UserError: naming the folder or the file, and the job that makes it.
    """
    manifest = read_manifest(folder, job)
    loss = find_loss(folder, manifest)
    if loss:
        raise UserError(f"{loss}; {_name_remedy(job)}")
    fetch(folder, manifest)
    return manifest


def fetch(folder: Path, manifest: Manifest, by_digest: bool = False) -> None:
    """Have the files of an artifact on this machine, if they are in an object store.

    Args:
        folder: The artifact.
        manifest: What it has to be.
        by_digest: Whether a copy that is here already has to have the very bytes, not only the lengths.

    Raises:
        StorageError: if the storage cannot be read, or holds other bytes than the manifest names.
    """
    uri = uri_of(folder)
    if uri is None or _is_copied(folder, manifest, by_digest):
        return
    make_folder(folder.parent)
    with alone(folder):
        if not _is_copied(folder, manifest, by_digest):
            _fetch(folder, manifest, Storage(uri))


def _fetch(folder: Path, manifest: Manifest, storage: Storage) -> None:
    """Make this machine's copy, and note what is in it: the page in the store may be of a later artifact by now."""
    staged = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(staged, ignore_errors=True)
    download(storage, list_files(storage, manifest), staged)
    if not manifest.files and digest_dir(staged) != manifest.digest:
        raise StorageError(f"{storage.shown} is not as its {MANIFEST} names it; make it anew")
    write_checksummed(staged / MANIFEST, asdict(replace(manifest, sizes=measure_files(staged))))
    swap(folder, staged)


def _is_copied(folder: Path, manifest: Manifest, by_digest: bool) -> bool:
    """Whether this machine's copy has the manifest's files."""
    try:
        copied = _read_copy(folder)
    except (OSError, ValueError, KeyError, TypeError):
        return False
    if copied.digest != manifest.digest or not measure_files(folder).items() >= copied.sizes.items():
        return False
    return not by_digest or digest_dir(folder) == manifest.digest


def _read_copy(folder: Path) -> Manifest:
    """Return the manifest of the copy on this machine."""
    content = json.loads((folder / MANIFEST).read_text())
    del content[CHECKSUM]
    return Manifest(**content)


def _name_remedy(job: str) -> str:
    return f"run `eshop {job.replace('_', '-')}` with the same config first"


def is_current(folder: Path, inputs: str) -> bool:
    """Whether the artifact is complete and was made from exactly these inputs."""
    manifest = find_complete(folder)
    return manifest is not None and manifest.inputs == inputs


def find_changes(folder: Path, manifest: Manifest) -> list[str]:
    """Compare an artifact's bytes with its manifest.

    Returns:
        One line per changed, missing or added file, and for a manifest that is not as it was written; none if all is
        as it was. A manifest without `files` can only tell that something in the folder changed.
    """
    uri = uri_of(folder)
    files = hash_files(folder) if uri is None else hash_stored(Storage(uri))
    place = place_of(folder)
    if not manifest.files:
        return [] if digest_files(files) == manifest.digest else [f"{place}: changed since its manifest was written"]
    changes = [] if is_intact(folder / MANIFEST) else [f"{place}/{MANIFEST}: changed since it was written"]
    for name in sorted({*files, *manifest.files}):
        if name not in files:
            changes.append(f"{place}/{name}: missing")
        elif name not in manifest.files:
            changes.append(f"{place}/{name}: added since the manifest was written")
        elif files[name] != manifest.files[name]:
            changes.append(f"{place}/{name}: changed since the manifest was written")
    return changes


def find_folders(root: Path) -> Iterator[Path]:
    """Yield the folders with a manifest below one, itself among them; hidden ones are unfinished work, and in tables
    there are none.

    Raises:
        StorageError: if the run's storage cannot be read.
    """
    uri = uri_of(root)
    if uri is not None:
        yield from (root / path for path in _walk_storage(Storage(uri)))
        return
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if not _is_passed_over(name, names))
        if MANIFEST in files:
            yield Path(folder)


def _walk_storage(storage: Storage, folder: str = "") -> Iterator[str]:
    folders, files = storage.list_folder(folder or None)
    names = [path.rpartition("/")[2] for path in folders]
    if any(file.path.rpartition("/")[2] == MANIFEST for file in files):
        yield folder
    for path, name in zip(folders, names, strict=True):
        if not _is_passed_over(name, names):
            yield from _walk_storage(storage, path)


def _is_passed_over(name: str, beside: Collection[str]) -> bool:
    return name.startswith(".") or "_delta_log" in beside


def write_run_manifest(run_dir: Path) -> None:
    """Gather the manifests below a run directory into its own: the run's lineage on one page."""
    artifacts = {}
    for folder in sorted(find_folders(run_dir)):
        manifest = find_manifest(folder) if folder != run_dir else None
        if manifest is not None and manifest.kind != _WORKING:
            entry = asdict(manifest)
            del entry["files"], entry["sizes"]
            artifacts[folder.relative_to(run_dir).as_posix()] = entry
    write_checksummed(run_dir / MANIFEST, {"run": run_dir.name, "artifacts": artifacts})
