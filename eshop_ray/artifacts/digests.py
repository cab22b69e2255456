"""Digests of values, files and folders."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

MANIFEST = "manifest.json"


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
