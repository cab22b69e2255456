"""Folders that the processes of a job read on whichever node they run: a model, the rows to learn from.

Where all nodes see one disk, that is a path. Else the folder stands in an object store, and each node fetches it once,
into a folder of its cache that is named by the content.
"""

import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from eshop_ray.artifacts.digests import MANIFEST, digest_dir
from eshop_ray.artifacts.folders import describe_folder, find_complete, find_manifest, measure_files, swap
from eshop_ray.artifacts.transfer import alone, download, list_files, upload
from eshop_ray.errors import UserError
from eshop_ray.places import cache_dir, local_path, uri_of
from eshop_ray.storage import Storage

logger = logging.getLogger(__name__)

_SHARED = "_shared"
"""Below the folder of runs: folders that are no artifact of a run, such as a base model."""
_NAME_CHARACTERS = 32
_WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt", ".pth")


@dataclass(frozen=True, slots=True)
class SharedFolder(os.PathLike[str]):
    """A folder in an object store; picklable, and a path on any node: `Path(folder)` fetches it where it is not yet."""

    uri: str
    digest: str
    """Of its content."""
    has_weights: bool = True
    """Whether files of weights are fetched too; who only needs a model's tokenizer does without."""

    def without_weights(self) -> "SharedFolder":
        """Return the folder without the files that make a model large."""
        return SharedFolder(self.uri, self.digest, has_weights=False)

    def __fspath__(self) -> str:
        """Return where this node has it.

        Raises:
            UserError: if it cannot be fetched.
        """
        folder = cache_dir() / "folders" / self.digest[:_NAME_CHARACTERS]
        if not self.has_weights and not _is_whole(folder):
            folder = folder.with_name(f"{folder.name}-without-weights")
        if not _is_whole(folder):
            with alone(folder):
                if not _is_whole(folder):
                    self._fetch(folder)
        return str(folder)

    def _fetch(self, folder: Path) -> None:
        storage = Storage(self.uri)
        manifest = find_manifest(local_path(self.uri))
        self._check(manifest.digest if manifest else None)
        files = list_files(storage, manifest)
        wanted = {name: digest for name, digest in files.items() if self.has_weights or not name.endswith(_WEIGHTS)}
        staged = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(staged, ignore_errors=True)
        download(storage, wanted, staged)
        if self.has_weights and not (manifest and manifest.files):
            self._check(digest_dir(staged))
        (staged / MANIFEST).write_text(json.dumps(measure_files(staged)))
        swap(folder, staged)

    def _check(self, digest: str | None) -> None:
        if digest not in (None, self.digest):
            raise UserError(f"{self.uri} has changed since the job began; run it again")


def _is_whole(folder: Path) -> bool:
    """Whether a folder has been fetched, and nobody has deleted files of it since."""
    try:
        sizes: dict[str, int] = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return False
    return measure_files(folder).items() >= sizes.items()


AnyFolder = Path | SharedFolder
"""What any node of a job can read: `Path(folder)` is a local path."""


def share_stored(folder: Path) -> AnyFolder:
    """Return a folder, of which this machine has a copy if it stands in an object store, as what any node can read.

    Raises:
        UserError: if the storage cannot be read.
    """
    uri = uri_of(folder)
    if uri is None:
        return folder
    manifest = find_manifest(folder)
    return SharedFolder(uri, manifest.digest if manifest else digest_dir(folder))


def share_folder(folder: Path, run_dir: Path) -> AnyFolder:
    """Return a folder of this machine as what any node of a job can read.

    Args:
        folder: An artifact of a run, or any other folder.
        run_dir: The job's run directory. If it is in an object store, what is no artifact of a run is put beside it,
            once; if not, all nodes see this machine's disk.

    Raises:
        UserError: if it cannot be put there.
    """
    root = uri_of(run_dir.parent)
    if root is None or uri_of(folder) is not None:
        return share_stored(folder)
    manifest = find_complete(folder) or describe_folder(folder, "model", "", {})
    storage = Storage(root).below(f"{_SHARED}/{manifest.digest[:_NAME_CHARACTERS]}")
    if storage.stat(MANIFEST) is None:
        num_bytes = sum(manifest.sizes.values())
        logger.info("putting %s (%.1f GB) where all nodes find it: %s", folder, num_bytes / 1e9, storage.shown)
        upload(folder, manifest, storage)
    return SharedFolder(storage.uri, manifest.digest)
