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

from eshop_ray.artifacts import list_paths, write_checksummed
from eshop_ray.config import Config
from eshop_ray.enrichment.lineage.ancestry import RECORDS, Ancestry, Origin, read_run_record
from eshop_ray.enrichment.table import LOG_FOLDER, DataFile, Table, find_log_damage
from eshop_ray.enrichment.tables import enriched_table, quarantine_table
from eshop_ray.errors import UserError
from eshop_ray.secrets import hide_in_text

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Verification:
    """What a verification found."""

    findings: tuple[str, ...]
    """What is not as it was, by name; empty when all is sound."""
    lineage_paths: tuple[str, ...]
    """The way back from one row of each task, a line per step."""
    num_data_files: int
    """Sound ones of the enriched table."""
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
            `logs`, URI -> `hash_log` of that table, the tables' logs are verified too.
    """
    path = run_dir / RECORDS / f"{run_id}.json"
    write_checksummed(path, record)
    return path


def hash_log(table: Table, since: int) -> dict[str, str]:
    """Return path -> SHA-256 of the log's files of the versions after `since`: a run's record keeps those of its own.

    Raises:
        UserError: if the log cannot be read.
    """
    paths = (file.path for file in table.storage.list(LOG_FOLDER))
    return {path: _hash_stored(table, path) for path in sorted(paths) if _version_of(path) > since}


def verify(config: Config) -> Verification:
    """Recompute the digests of both tables' files and of all that the enriched rows were made with.

    Returns:
        Everything that changed, is missing or leads nowhere; nothing outside the config's folders is asked.

    Raises:
        UserError: if there is no table.
    """
    enriched = enriched_table(config.table_uri)
    quarantine = quarantine_table(config.quarantine_uri)
    findings: list[str] = []
    sound = _check_table(config, enriched, findings)
    _check_table(config, quarantine, findings)
    ancestry = Ancestry(config)
    lineage_paths = _trace_lineage(ancestry, _collect_origins(enriched, sound))
    return Verification(
        findings=(*findings, *ancestry.findings),
        lineage_paths=tuple(lineage_paths),
        num_data_files=len(sound),
        num_runs=ancestry.num_runs,
        num_artifacts=ancestry.num_artifacts,
    )


def _check_table(config: Config, table: Table, findings: list[str]) -> list[DataFile]:
    """Add what changed in a table's log and data files to `findings`; return the sound files."""
    log = [file.path for file in table.storage.list(LOG_FOLDER)]
    if not log:
        raise UserError(f"{table.storage.shown}: no Delta table; run `eshop enrich-catalog` first")
    changed = _check_log(config, table, log)
    unreadable = find_log_damage(table.storage)
    findings += [f"{table.storage.shown}/{path}: changed since it was written" for path in changed]
    findings += [f"{table.storage.shown}/{one.path} {one.trouble}" for one in unreadable if one.path not in changed]
    try:
        files = table.snapshot().files
    except (UserError, ValueError, LookupError, TypeError) as error:  # What a damaged entry leads to.
        if not unreadable:
            findings.append(f"{table.storage.shown}/{LOG_FOLDER} cannot be read: {type(error).__name__}: {error}")
        return []
    damaged = find_damaged(table, files)
    findings += damaged.values()
    return [file for file in files if file.path not in damaged]


def find_damaged(table: Table, files: Sequence[DataFile]) -> dict[str, str]:
    """Return path -> finding of the data files whose bytes are not those that were committed."""
    troubles = ((file, table.check_file(file)) for file in files)
    return {file.path: f"{table.storage.shown}/{file.name}: {trouble}" for file, trouble in troubles if trouble}


def _hash_stored(table: Table, path: str) -> str:
    digest = hashlib.sha256()
    with table.storage.open(path) as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _collect_origins(table: Table, files: Sequence[DataFile]) -> list[Origin]:
    """Return the distinct origins of the enriched rows; one file's rows are in memory at a time.

    Tombstones and quarantined rows need none: they may name a model that has been replaced since.
    """
    keys = ["task", "run_id", "model_digest"]
    origins: dict[tuple[str, ...], Origin] = {}
    for file in files:
        batch = table.read_file(file, ["product_id", "status", *keys])
        rows = batch.filter(pc.equal(batch["status"], "enriched"))
        for group in rows.group_by(keys).aggregate([("product_id", "min")]).to_pylist():
            product_id = group.pop("product_id_min")
            origins.setdefault(tuple(group.values()), Origin(**group, product_id=product_id))
    return [origins[key] for key in sorted(origins)]


def _trace_lineage(ancestry: Ancestry, origins: Sequence[Origin]) -> list[str]:
    """Follow all origins, and return the path of one row per task."""
    lineage_paths: dict[str, list[str]] = {}
    for origin in origins:
        path = ancestry.follow(origin)
        lineage_paths.setdefault(origin.task, [f"{origin.task} of product {origin.product_id}", *path])
    return [line for lines in lineage_paths.values() for line in lines]


def _check_log(config: Config, table: Table, paths: Sequence[str]) -> list[str]:
    """Return files of the log that are not as runs of this name left them; those tidied away are no trouble.

    Of a version that was lost and written again there are two digests.
    """
    stored = set(paths)
    known: dict[str, set[str]] = {}
    for path in list_paths(config.run_dir / RECORDS, "*.json"):
        log = (read_run_record(path) or {}).get("logs", {}).get(hide_in_text(table.uri), {})
        for name in stored & log.keys():
            known.setdefault(name, set()).add(log[name])
    changed = {name for name, digests in known.items() if _hash_stored(table, name) not in digests}
    return sorted(changed)


def _version_of(path: str) -> int:
    """Return the version that a file of the log belongs to; -1 for those that are overwritten."""
    number = Path(path).name.partition(".")[0]
    return int(number) if number.isdigit() else -1
