"""Every byte that the enriched table rests on, verified: its files, and what its rows were made with.

row -> run record -> model -> base
                          -> adapter -> base
                                     -> records
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from eshop_ray.artifacts import fingerprint, write_sealed
from eshop_ray.config import Config
from eshop_ray.enrichment.ancestry import RECORDS, Ancestry, Origin, read_run_record
from eshop_ray.enrichment.columns import ENRICHED_SCHEMA, QUARANTINE_SCHEMA
from eshop_ray.enrichment.table import DataFile, Snapshot, Table
from eshop_ray.errors import UserError

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Report:
    """What a verification found."""

    findings: tuple[str, ...]
    """What is not as it was, by name; empty when all is sound."""
    roads: tuple[str, ...]
    """The way back from one row of each task, a line per step."""
    num_data_files: int
    num_runs: int
    num_artifacts: int


def write_run_record(run_dir: Path, run_id: str, record: Mapping[str, Any]) -> Path:
    """Write what the rows of a run are traced by.

    It has to stand before the run's first commit, so that the rows of a run that is killed lead somewhere too; it may
    be written again at the end.

    Args:
        run_dir: The run directory.
        run_id: As the table's rows name it.
        record: At least `started_at` and `model` with `dir` (None for a simulated engine) and `digest`. With
            `table_uri`, `table_version` and `table_digest` (see `digest_snapshot`) the table's log is verified too.
    """
    path = run_dir / RECORDS / f"{run_id}.json"
    write_sealed(path, record)
    return path


def digest_snapshot(snapshot: Snapshot) -> str:
    """Return the digest of what a version of a table consists of: its files and the rows deleted from them."""
    names = ("path", "size", "num_rows", "deletion_vector")
    return fingerprint(sorted([file.sha256 or "", *map(file.to_row().get, names)] for file in snapshot.files))


def verify(config: Config) -> Report:
    """Recompute the digests of both tables' files and of all that the enriched rows were made with.

    Returns:
        Everything that changed, is missing or leads nowhere; nothing outside the config's folders is asked.

    Raises:
        UserError: if there is no table.
    """
    enriched = Table(config.table_uri, ENRICHED_SCHEMA)
    quarantine = Table(config.quarantine_uri, QUARANTINE_SCHEMA)
    files, bad_files = enriched.snapshot().files, quarantine.snapshot().files
    damaged = _find_damaged(enriched, files)
    ancestry = Ancestry(config)
    roads = _draw_roads(ancestry, _collect_origins(enriched, [file for file in files if file.path not in damaged]))
    findings = [
        *damaged.values(),
        *_find_damaged(quarantine, bad_files).values(),
        *ancestry.findings,
        *_check_log(config, enriched),
    ]
    return Report(
        findings=tuple(findings),
        roads=tuple(roads),
        num_data_files=len(files) + len(bad_files),
        num_runs=ancestry.num_runs,
        num_artifacts=ancestry.num_artifacts,
    )


def _find_damaged(table: Table, files: Sequence[DataFile]) -> dict[str, str]:
    """Return path -> finding of the data files whose bytes are not those that were committed."""
    stored = {file.path: file.size for file in table.storage.list()}
    troubles = ((file, _find_trouble(table, file, stored.get(file.name))) for file in files)
    return {file.path: f"{table.storage.shown}/{file.name}: {trouble}" for file, trouble in troubles if trouble}


def _find_trouble(table: Table, file: DataFile, size: int | None) -> str | None:
    if size is None:
        return "missing"
    if file.sha256 is None:
        return "its bytes cannot be checked: another program wrote it, without a digest"
    if size != file.size or _hash_data(table, file) != file.sha256:
        return "changed since it was written"
    return None


def _hash_data(table: Table, file: DataFile) -> str:
    digest = hashlib.sha256()
    with table.storage.open(file.name) as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _collect_origins(table: Table, files: Sequence[DataFile]) -> list[Origin]:
    """Return the distinct origins of the enriched rows; one batch of rows is in memory at a time.

    Tombstones and quarantined rows need none: they may name a model that has been replaced since.
    """
    keys = ["task", "run_id", "model_digest"]
    origins = {}
    for file in files:
        for batch in table.iter_batches(file, ["product_id", "status", *keys]):
            rows = batch.filter(pc.equal(batch["status"], "enriched"))
            for group in rows.group_by(keys).aggregate([("product_id", "min")]).to_pylist():
                product_id = group.pop("product_id_min")
                origins.setdefault(tuple(group.values()), Origin(**group, product_id=product_id))
    return [origins[key] for key in sorted(origins)]


def _draw_roads(ancestry: Ancestry, origins: Sequence[Origin]) -> list[str]:
    """Follow all origins, and return the road of one row per task."""
    roads: dict[str, list[str]] = {}
    for origin in origins:
        road = ancestry.follow(origin)
        roads.setdefault(origin.task, [f"{origin.task} of product {origin.product_id}", *road])
    return [line for lines in roads.values() for line in lines]


def _check_log(config: Config, table: Table) -> list[str]:
    """Compare the table's log with what the last run says that it left, as long as that version can be read."""
    for path in sorted((config.run_dir / RECORDS).glob("*.json"), reverse=True):
        record = read_run_record(path) or {}
        if record.get("table_uri") != config.table_uri or not record.get("table_digest"):
            continue
        try:
            found = digest_snapshot(table.snapshot(record["table_version"]))
        except UserError:
            return []  # Older than the table's retention.
        if found == record["table_digest"]:
            return []
        version = record["table_version"]
        return [f"{table.storage.shown}/_delta_log: version {version} is not what run {path.stem} left there"]
    return []
