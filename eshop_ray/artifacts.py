"""Folders that are complete or absent, and the digests that tie one to the next.

An artifact is a folder with a `manifest.json`, which is written last and means complete. The manifest holds the
digest of every file, one digest of them all, and the digests of the artifacts it was made from. A manifest also has
a checksum of its own: a byte that changes later, in a file or in the manifest itself, can be named.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from eshop_ray.errors import UserError

MANIFEST = "manifest.json"
CHECKSUM = "checksum"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an artifact is and what it was made from."""

    kind: str
    """`model`, `records`, `adapter`, `predictions` or `metrics`."""
    digest: str
    """Digest of the folder's files."""
    parents: dict[str, str]
    """Name -> digest of each artifact that this one was made from."""
    inputs: str
    """Digest of everything that determines the content; a job whose inputs are unchanged has nothing to do."""
    details: dict[str, Any] = field(default_factory=dict)
    """Counts and settings for the reader."""
    files: dict[str, str] = field(default_factory=dict)
    """Relative path -> SHA-256 of each file; empty in manifests older than this field."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Relative path -> bytes of each file; empty in manifests older than this field."""


def fingerprint(value: Any) -> str:
    """Return the SHA-256 of a JSON-compatible value in canonical form."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def shorten_digest(digest: str) -> str:
    """Return as much of a digest as a person needs to tell one from another."""
    return digest[:12]


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, read as a stream."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_files(folder: Path) -> dict[str, str]:
    """Return relative path -> SHA-256 of a folder's files, its manifest left out."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(folder).as_posix(): hash_file(path) for path in sorted(paths)}


def digest_files(files: Mapping[str, str]) -> str:
    """Return one SHA-256 over the relative paths and digests of files, whatever order they come in."""
    digest = hashlib.sha256()
    for name in sorted(files, key=lambda name: PurePosixPath(name).parts):
        digest.update(f"{name}\x1f{files[name]}\n".encode())
    return digest.hexdigest()


def digest_dir(folder: Path) -> str:
    """Return one SHA-256 over the relative paths and bytes of a folder's files, its manifest left out."""
    return digest_files(hash_files(folder))


def write_text(path: Path, text: str) -> None:
    """Write a file so that readers see the old text or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.partial")
    staged.write_text(text)
    staged.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file for people and programs."""
    write_text(path, _render(value))


def write_checksummed(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object with the digest of its content in it, so that `is_intact` notices any later change."""
    content = json.loads(json.dumps(value))
    write_json(path, {**content, CHECKSUM: fingerprint(content)})


def read_checksummed(path: Path) -> dict[str, Any]:
    """Return a JSON object without its checksum, which may be missing or broken.

    Raises:
        OSError, ValueError: if there is no such file, or it holds no JSON object.
    """
    content = json.loads(path.read_text())
    if not isinstance(content, dict):
        raise ValueError(f"{path}: no JSON object")
    content.pop(CHECKSUM, None)
    return content


def is_intact(path: Path) -> bool:
    """Whether a file is, to the byte, what `write_checksummed` wrote."""
    try:
        content = read_checksummed(path)
        return path.read_text() == _render({**content, CHECKSUM: fingerprint(content)})
    except (OSError, ValueError):
        return False


def _render(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


@contextmanager
def stage_dir(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `folder` when the block succeeds; else nothing changes."""
    staged = folder.with_name(f".{folder.name}.partial")
    _restore(folder)
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    try:
        yield staged
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    _swap(folder, staged)


def _swap(folder: Path, staged: Path) -> None:
    """Put a folder in the place of another. Whenever it is cut off, `_restore` finds one of the two whole."""
    former = _former(folder)
    shutil.rmtree(former, ignore_errors=True)
    if folder.exists():
        folder.replace(former)
    staged.replace(folder)
    shutil.rmtree(former, ignore_errors=True)


def _restore(folder: Path) -> None:
    """Bring back what `_swap` had put aside when it was cut off."""
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
    files = hash_files(folder)
    sizes = {name: (folder / name).stat().st_size for name in files}
    manifest = Manifest(kind, digest_files(files), dict(parents), inputs, dict(details or {}), files, sizes)
    write_checksummed(folder / MANIFEST, asdict(manifest))
    return manifest


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
    for name in manifest.files:
        try:
            size = (folder / name).stat().st_size
        except OSError:
            return f"{folder / name} is missing"
        if size != manifest.sizes.get(name, size):
            return f"{folder / name} has {size} bytes instead of {manifest.sizes[name]}"
    return None


def read_manifest(folder: Path, job: str) -> Manifest:
    """Return the manifest of an artifact that has to be there.

    Raises:
        UserError: naming the folder and the job that makes it.
    """
    manifest = find_manifest(folder)
    if manifest is None:
        raise UserError(f"{folder} is missing or incomplete; {_name_remedy(job)}")
    return manifest


def read_complete(folder: Path, job: str) -> Manifest:
    """Return the manifest of an artifact that has to be there with all its files.

    Raises:
        UserError: naming the folder or the file, and the job that makes it.
    """
    manifest = read_manifest(folder, job)
    loss = find_loss(folder, manifest)
    if loss:
        raise UserError(f"{loss}; {_name_remedy(job)}")
    return manifest


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
    files = hash_files(folder)
    if not manifest.files:
        return [] if digest_files(files) == manifest.digest else [f"{folder}: changed since its manifest was written"]
    changes = [] if is_intact(folder / MANIFEST) else [f"{folder / MANIFEST}: changed since it was written"]
    for name in sorted({*files, *manifest.files}):
        if name not in files:
            changes.append(f"{folder / name}: missing")
        elif name not in manifest.files:
            changes.append(f"{folder / name}: added since the manifest was written")
        elif files[name] != manifest.files[name]:
            changes.append(f"{folder / name}: changed since the manifest was written")
    return changes


def write_run_manifest(run_dir: Path) -> None:
    """Gather the manifests below a run directory into its own: the run's lineage on one page."""
    artifacts = {}
    for path in sorted(run_dir.rglob(f"*/{MANIFEST}")):
        manifest = find_manifest(path.parent)
        if manifest is not None and not path.parent.name.startswith("."):
            entry = asdict(manifest)
            del entry["files"], entry["sizes"]
            artifacts[path.parent.relative_to(run_dir).as_posix()] = entry
    write_checksummed(run_dir / MANIFEST, {"run": run_dir.name, "artifacts": artifacts})
