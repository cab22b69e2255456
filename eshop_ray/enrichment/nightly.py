"""A night from start to report: enrich, tidy the tables, record, report, and fail where too much went wrong."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from eshop_ray.artifacts import fingerprint, write_json
from eshop_ray.config import Config
from eshop_ray.config.secrets import hide_in_text, hide_secrets
from eshop_ray.enrichment.lineage import hash_log, write_run_record
from eshop_ray.enrichment.map_tasks import map_tasks
from eshop_ray.enrichment.pipeline import enrich
from eshop_ray.enrichment.report import get_quarantined_share, is_failed, write_report
from eshop_ray.enrichment.run import Run
from eshop_ray.enrichment.statistics import summarize
from eshop_ray.enrichment.table import DataFile, Table
from eshop_ray.enrichment.table.compaction import Group
from eshop_ray.enrichment.table.maintenance import CompactAll, maintain
from eshop_ray.errors import UserError
from eshop_ray.models import Model

logger = logging.getLogger(__name__)

STATISTICS = "enrichment.json"

SHOWN = (
    "num_rows",
    "num_new",
    "num_changed",
    "num_unchanged",
    "num_deleted",
    "num_quarantined",
    "num_inferred",
    "num_duplicates_reused",
    "num_input_tokens",
    "num_generated_tokens",
)
"""What a job prints of a night."""


def run_night(config: Config, model: Model, replay: bool = False) -> dict[str, Any]:
    """Bring the table up to date, and write `enrichment.json`, the report and the run's record.

    Returns:
        The statistics.

    Raises:
        UserError: if the run could not be finished, or more rows are in quarantine than the config allows: the good
            rows are committed and the report is written all the same.
    """
    pa.set_memory_pool(pa.system_memory_pool())  # others keep what a rewritten file took for the rest of the night
    run = Run(config, model, replay)
    record = _record(run)
    write_run_record(config.run_dir, run.run_id, record)
    enrich(run)
    _find_before(run)
    with run.timed("maintain"):
        maintenance = [
            maintain(table, writer, compact_groups(table), config.table.retention_hours) for table, writer in run.tables
        ]
    stats = summarize(run, read_statistics(config.run_dir))
    stats["num_compacted_files"] = sum(done.num_compacted_files for done in maintenance)
    write_json(config.run_dir / STATISTICS, stats)
    logs = {hide_in_text(table.uri): hash_log(table, since=writer.snapshot.version - 1) for table, writer in run.tables}
    write_run_record(config.run_dir, run.run_id, {**record, "table_version": run.writer.version, "logs": logs})
    report = write_report(config.run_dir, stats)
    for name in SHOWN:
        logger.info("%-32s %9d", name, stats[name])
    logger.info("report: %s", report)
    _check_share(stats, config)
    return stats


def read_statistics(run_dir: Path) -> Mapping[str, Any] | None:
    """Return the statistics of the last run of this name, or None."""
    try:
        stats: Mapping[str, Any] = json.loads((run_dir / STATISTICS).read_text())
    except (OSError, ValueError):
        return None
    return stats


def compact_groups(table: Table) -> CompactAll:
    """Return what merges groups of a table's files, each in a task of its own."""

    def merge(item: dict[str, Any]) -> dict[str, Any]:
        merged = table.merge([DataFile.from_row(row) for row in item["files"]])
        return {"number": item["number"], "file": merged.to_row()}

    def compact_all(groups: Sequence[Group]) -> Iterator[DataFile]:
        items = [{"number": number, "files": [file.to_row() for file in group]} for number, group in enumerate(groups)]
        merged = {report["number"]: report["file"] for report in map_tasks(merge, items)}
        for number in range(len(groups)):
            yield DataFile.from_row(merged[number])

    return compact_all


def _find_before(run: Run) -> None:
    """Fill in what the rows that are shown said last night, while their old files are sure to be there."""
    for example in run.committer.examples:
        old, example["before"] = example.pop("old"), None
        if old is not None:
            file = run.writer.snapshot.files[old[0]]
            example["before"] = run.enriched.take(file, [old[1]], ["prediction"])["prediction"][0].as_py()


def _record(run: Run) -> dict[str, Any]:
    """Return what ties the rows of this run to the model and the input behind them."""
    return {
        "run_id": run.run_id,
        "started_at": run.started_at.isoformat(timespec="seconds"),
        "config_digest": fingerprint(run.config.model_dump(mode="json")),
        "model": {"dir": str(run.model.folder) if run.model.folder else None, "digest": run.model.digest},
        "catalog": hide_secrets(run.catalog),
        "reviews": hide_secrets(run.reviews),
        "table_uri": hide_in_text(run.config.table_uri),
    }


def _check_share(stats: Mapping[str, Any], config: Config) -> None:
    if is_failed(stats):
        reasons = ", ".join(f"{reason} {count}" for reason, count in stats["quarantine"].items())
        raise UserError(
            f"{stats['num_quarantined']} of {stats['num_rows']} rows are in quarantine "
            f"({get_quarantined_share(stats):.1%}), more than enrich.max_quarantined_share="
            f"{config.enrich.max_quarantined_share:g} allows; the good rows are committed. Reasons: {reasons}. See "
            f"{config.run_dir / 'enrichment.md'} and the table {hide_in_text(config.quarantine_uri)}"
        )
