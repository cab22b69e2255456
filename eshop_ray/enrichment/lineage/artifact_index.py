"""Every artifact within reach by its digest: what lineage looks things up in."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from eshop_ray.artifacts import (
    MANIFEST,
    Manifest,
    digest_dir,
    find_changes,
    find_folders,
    find_manifest,
    is_intact,
    read_text,
)
from eshop_ray.config import Config, ModelSection
from eshop_ray.models import fetch_model
from eshop_ray.places import is_uri, local_path, place_of, uri_of

_BESIDE = ("*", "adapters/*/*", "merges/*/*")
"""Where the artifacts of a run lie in its directory, and, of an experiment, those of its own runs."""


class ArtifactIndex:
    """Artifacts under the run directories and in the model cache, and those put to them.

    Looking one up reads manifests only; `check` recomputes a folder's bytes, once.
    """

    def __init__(self, config: Config) -> None:
        self.roots = [config.run_dir.parent, Path(config.model.cache_dir).expanduser()]
        self._models = [config.model, config.model.model_copy(update={"source": config.conventional.source})]
        self._folders: dict[str, list[Path]] = defaultdict(list)
        self._manifest_paths: set[Path] = set()
        self._bare_folders: dict[Path, str] = {}
        self._changes: dict[Path, list[str]] = {}
        for root in self.roots:
            self._put(find_folders(root))
        if config.model.merged_dir:
            self.put(local_path(config.model.merged_dir))

    def put(self, folder: Path) -> None:
        """Take in an artifact and those beside it: of a merged model, its adapters and what they learned from."""
        root = _find_outermost(folder.parent)
        if root not in self.roots:
            self.roots.append(root)
            self._put(_find_beside(root))

    def _put(self, folders: Iterable[Path]) -> None:
        for folder in folders:
            if folder / MANIFEST in self._manifest_paths:
                continue
            self._manifest_paths.add(folder / MANIFEST)
            manifest = find_manifest(folder)
            if manifest is not None:
                self._folders[manifest.digest].append(folder)
                named = manifest.details.get("adapters", ()) if manifest.kind == "model" else ()
                for adapter in named:
                    self.put(local_path(adapter))

    def find(self, digest: str, near: Path) -> Path | None:
        """Return the folder of a digest, or None; of several the one beside `near` comes first."""
        folders = sorted(self._folders.get(digest, ()), key=lambda folder: (folder.parent != near.parent, folder))
        if folders:
            return folders[0]
        return next((folder for folder, found in self.bare_folders().items() if found == digest), None)

    def check(self, folder: Path) -> list[str]:
        """Recompute an artifact file by file and return what changed, by name; the second time nothing is new."""
        if folder in self._changes:
            return []
        manifest = find_manifest(folder)
        self._changes[folder] = [] if manifest is None else [*find_changes(folder, manifest), *_check_page(folder)]
        return self._changes[folder]

    @property
    def num_checked(self) -> int:
        """Artifacts that were recomputed."""
        return len(self._changes)

    def damaged_manifests(self) -> list[Path]:
        """Return the manifests that cannot be read or changed since they were written."""
        found = ((path, find_manifest(path.parent)) for path in sorted(self._manifest_paths))
        return [path for path, manifest in found if _is_damaged(path, manifest)]

    def bare_folders(self) -> dict[Path, str]:
        """Return the digest of each model folder without a manifest, as a config's sources may name some."""
        if not self._bare_folders:
            found = (_find_source(model) for model in self._models)
            bare = [folder for folder in found if folder is not None and find_manifest(folder) is None]
            self._bare_folders = {folder: digest_dir(folder) for folder in bare}
        return self._bare_folders


def _find_source(model: ModelSection) -> Path | None:
    """Return the folder of a base model on this machine, if there is one."""
    if is_uri(model.source):
        fetch_model(model, for_chat=False)
    folder = local_path(model.source)
    return folder if folder.is_dir() else _find_in_hub_cache(model.source)


def _find_beside(root: Path) -> Iterator[Path]:
    """Yield the artifacts of a run; below a local folder only where a run has some, as it may hold other things."""
    if uri_of(root):
        yield from find_folders(root)
    else:
        yield from (path.parent for beside in _BESIDE for path in sorted(root.glob(f"{beside}/{MANIFEST}")))


def _find_outermost(run_dir: Path) -> Path:
    """Return the experiment's directory for one of its runs, which stand in folders that `jobs.train_strategies` and
    `jobs.search_merge` name; another run's own.
    """
    return run_dir.parent.parent if run_dir.parent.name in ("adapters", "merges") else run_dir


def _is_damaged(path: Path, manifest: Manifest | None) -> bool:
    """Older manifests have no checksum; a run's own page is a manifest of another kind."""
    if manifest is None:
        return not is_intact(path)
    return bool(manifest.files) and not is_intact(path)


def _check_page(folder: Path) -> list[str]:
    """Check the page on which a run gathers its manifests, by its checksum."""
    page = folder.parent / MANIFEST
    try:
        has_checksum = '"checksum"' in read_text(page)
    except FileNotFoundError:
        return []
    except (OSError, ValueError):
        has_checksum = True
    return [f"{place_of(page)}: changed since it was written"] if has_checksum and not is_intact(page) else []


def _find_in_hub_cache(source: str) -> Path | None:
    """Return the folder of a hub's model if it is on this machine; nothing is fetched."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(source, local_files_only=True))
    except (HFValidationError, LocalEntryNotFoundError, OSError):
        return None
