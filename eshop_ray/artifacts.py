"""Folders that are complete or absent, and the digests that tie one to the next.

An artifact is a folder with a `manifest.json`, which is written last and means complete. The manifest holds the
digest of the folder's files and the digests of the artifacts it was made from.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from eshop_ray.errors import UserError

MANIFEST = "manifest.json"


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


def fingerprint(value: Any) -> str:
    """Return the SHA-256 of a JSON-compatible value in canonical form."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def digest_dir(folder: Path) -> str:
    """Return one SHA-256 over the relative paths and bytes of a folder's files, its manifest left out."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST):
        with path.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()}\x1f{content}\n".encode())
    return digest.hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a file so that readers see the old text or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.partial")
    staged.write_text(text)
    staged.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file for people and programs."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def stage_dir(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `folder` when the block succeeds; else nothing changes."""
    staged = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    try:
        yield staged
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    staged.replace(folder)


def write_manifest(
    folder: Path, kind: str, inputs: str, parents: Mapping[str, str], details: Mapping[str, Any] | None = None
) -> Manifest:
    """Seal a finished folder."""
    manifest = Manifest(kind, digest_dir(folder), dict(parents), inputs, dict(details or {}))
    write_json(folder / MANIFEST, asdict(manifest))
    return manifest


def find_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of a complete artifact, or None."""
    try:
        return Manifest(**json.loads((folder / MANIFEST).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def read_manifest(folder: Path, job: str) -> Manifest:
    """Return the manifest of an artifact that has to be there.

    Raises:
        UserError: naming the folder and the job that makes it.
    """
    manifest = find_manifest(folder)
    if manifest is None:
        raise UserError(f"{folder} is missing or incomplete; run `python -m jobs.{job}` with the same config first")
    return manifest


def is_current(folder: Path, inputs: str) -> bool:
    """Whether the artifact is complete and was made from exactly these inputs."""
    manifest = find_manifest(folder)
    return manifest is not None and manifest.inputs == inputs


def write_run_manifest(run_dir: Path) -> None:
    """Gather the manifests below a run directory into its own: the run's lineage on one page."""
    artifacts = {}
    for path in sorted(run_dir.rglob(f"*/{MANIFEST}")):
        manifest = find_manifest(path.parent)
        if manifest is not None and ".partial" not in path.parent.name:
            artifacts[path.parent.relative_to(run_dir).as_posix()] = asdict(manifest)
    write_json(run_dir / MANIFEST, {"run": run_dir.name, "artifacts": artifacts})
