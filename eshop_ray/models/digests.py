"""What a model is known by."""

import functools
from pathlib import Path

from eshop_ray.artifacts import digest_dir, find_manifest


def model_digest(folder: Path) -> str:
    """Return the digest of a model folder, from its manifest where it has one."""
    manifest = find_manifest(folder)
    return manifest.digest if manifest else _digest_once(folder)


_digest_once = functools.lru_cache(maxsize=4)(digest_dir)
