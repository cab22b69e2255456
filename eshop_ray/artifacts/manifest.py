"""What an artifact is, and what it was made from."""

from dataclasses import dataclass, field
from typing import Any


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
