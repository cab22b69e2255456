"""What rows come from: run record -> model -> its parents, each found by its digest and recomputed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eshop_ray.artifacts import find_manifest, is_intact, list_folders, list_paths, read_checksummed, shorten_digest
from eshop_ray.config import Config
from eshop_ray.enrichment.lineage.artifact_index import ArtifactIndex
from eshop_ray.places import local_path, place_of

RECORDS = "enrichment"
"""Folder of the run directory with one record per enrichment run; rows name their run, so none is ever deleted."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What the rows of one run and task come from, and one of their products."""

    task: str
    run_id: str
    model_digest: str
    product_id: str


def find_run_record(config: Config, run_id: str) -> Path | None:
    """Return the record of a run, which may have had another name, or None."""
    name = f"{run_id}.json"
    folders = [config.run_dir, *list_folders(config.run_dir.parent)]
    return next((folder / RECORDS / name for folder in folders if list_paths(folder / RECORDS, name)), None)


def read_run_record(path: Path) -> dict[str, Any] | None:
    """Return a run record, or None if it is not, to the byte, as it was written."""
    return read_checksummed(path) if is_intact(path) else None


class Ancestry:
    """Follows rows to their beginnings; everything on the way is recomputed once, however many rows lead there."""

    def __init__(self, config: Config) -> None:
        self.findings: list[str] = []
        self._config = config
        self._index = ArtifactIndex(config)
        self._paths: dict[tuple[str, str], list[str]] = {}

    @property
    def num_runs(self) -> int:
        """Runs that rows led to."""
        return len({run_id for run_id, _ in self._paths})

    @property
    def num_artifacts(self) -> int:
        """Artifacts that were recomputed."""
        return self._index.num_checked

    def follow(self, origin: Origin) -> list[str]:
        """Return the path from a row to its training data, a line per step; `findings` takes what is broken."""
        pair = (origin.run_id, origin.model_digest)
        if pair not in self._paths:
            self._paths[pair] = self._follow_run(*pair)
        return self._paths[pair]

    def _follow_run(self, run_id: str, digest: str) -> list[str]:
        path = find_run_record(self._config, run_id)
        if path is None:
            self._note(
                f"run {run_id}: no `{RECORDS}/{run_id}.json` in any run directory of {self._config.run_root}; "
                "restore it, or set `run_root` to where the run was made"
            )
            return [f"  run {run_id}: no record", *self._follow_artifact("model", digest, f"run {run_id}", Path())]
        record = read_run_record(path)
        if record is None:
            self._note(f"{place_of(path)}: changed since it was written")
            return [f"  run {run_id}: {place_of(path)}", *self._follow_artifact("model", digest, place_of(path), path)]
        return [
            f"  run {run_id} of {record['started_at']}: {place_of(path)}",
            *self._follow_model(path, record, digest),
        ]

    def _follow_model(self, path: Path, record: dict[str, Any], digest: str) -> list[str]:
        model = record["model"]
        if model["digest"] != digest:
            self._note(f"{place_of(path)}: the run's rows name another model, {digest}")
        if model["dir"] is None:
            return ["    model: none, the engine was simulated"]
        folder = local_path(model["dir"])
        self._index.put(folder)
        return self._follow_artifact("model", digest, place_of(path), folder)

    def _follow_artifact(self, name: str, digest: str, child: str, near: Path, depth: int = 2) -> list[str]:
        folder = self._index.find(digest, near)
        step = f"{'  ' * depth}{name} {shorten_digest(digest)}: "
        if folder is None:
            self._note(self._explain_broken(name, digest, child))
            return [f"{step}nowhere"]
        for finding in self._index.check(folder):
            self._note(finding)
        manifest = find_manifest(folder)
        lines = [f"{step}{place_of(folder)}"]
        for parent, parent_digest in (manifest.parents if manifest else {}).items():
            lines += self._follow_artifact(parent, parent_digest, place_of(folder), folder, depth + 1)
        return lines

    def _explain_broken(self, name: str, digest: str, child: str) -> str:
        hints = [f"damaged: {place_of(path)}" for path in self._index.damaged_manifests()]
        hints += [
            f"{place_of(folder)} has {shorten_digest(found)}" for folder, found in self._index.bare_folders().items()
        ]
        roots = ", ".join(map(place_of, self._index.roots))
        return (
            f"{child}: its {name} {shorten_digest(digest)} is in none of {roots}"
            f"{' (' + '; '.join(hints) + ')' if hints else ''}; put the folder back, set `model.source` or "
            "`model.merged_dir` to it, or enrich again with the present model"
        )

    def _note(self, finding: str) -> None:
        if finding not in self.findings:
            self.findings.append(finding)
