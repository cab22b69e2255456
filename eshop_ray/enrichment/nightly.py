"""A night from start to report: enrich, tidy the tables, record, report, and fail where too much went wrong."""

import json
import logging
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from eshop_ray.artifacts import fingerprint, read_text, write_json
from eshop_ray.config import Config
from eshop_ray.enrichment.canary import CanaryError
from eshop_ray.enrichment.former import copy_rows, mark_copied, needs_copy
from eshop_ray.enrichment.lineage import hash_log, write_run_record
from eshop_ray.enrichment.merge import compact, divide
from eshop_ray.enrichment.pipeline import enrich
from eshop_ray.enrichment.placing import bucket_of
from eshop_ray.enrichment.report import get_quarantined_share, is_failed, write_refusal, write_report
from eshop_ray.enrichment.run import Run
from eshop_ray.enrichment.statistics import describe_run, summarize
from eshop_ray.enrichment.table import DataFile
from eshop_ray.enrichment.tables import ENRICHED_OWNERS, QUARANTINE_OWNERS
from eshop_ray.enrichment.templates import describe_prompts
from eshop_ray.errors import BudgetSpentError, UserError
from eshop_ray.map_tasks import map_tasks
from eshop_ray.models import Model
from eshop_ray.places import place_of
from eshop_ray.secrets import hide_in_text, hide_secrets

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
        BudgetSpentError: if it stopped at its budget.
        CanaryError: if its first answers were not such as the table has: the report says so, and nothing is committed.
        UserError: if the run could not be finished, or more rows are in quarantine than the config allows: the good
            rows are committed and the report is written all the same.
    """
    pa.set_memory_pool(pa.system_memory_pool())  # others keep what a rewritten file took for the rest of the night
    with Run(config, model, replay) as run:
        record = _record(run)
        write_run_record(config.run_dir, run.run_id, record)
        prepare_tables(run)
        _enrich(run)
        _find_before(run)
        with run.timed("maintain"):
            num_compacted = maintain(run)
    stats = {**summarize(run, read_statistics(config.run_dir)), "num_compacted_files": num_compacted}
    write_json(config.run_dir / STATISTICS, stats)
    logs = {hide_in_text(table.uri): hash_log(table, since=writer.snapshot.version - 1) for table, writer in run.tables}
    write_run_record(config.run_dir, run.run_id, {**record, "table_version": run.writer.version, "logs": logs})
    report = write_report(config.run_dir, stats)
    for name in SHOWN:
        logger.info("%-32s %9d", name, stats[name])
    logger.info("report: %s", place_of(report))
    _check_share(stats, config)
    if run.stopped:
        raise BudgetSpentError(
            f"the night stopped at its budget ({run.stopped}): {stats['num_postponed']} rows are left for the next "
            "night; all that was answered is committed"
        )
    return stats


def _enrich(run: Run) -> None:
    """Enrich; a canary that does not pass stands in the report, which shows the last night no more."""
    try:
        enrich(run)
    except CanaryError as error:
        logger.info("report: %s", place_of(write_refusal(run.config.run_dir, describe_run(run), str(error))))
        raise


def read_statistics(run_dir: Path) -> Mapping[str, Any] | None:
    """Return the statistics of the last run of this name, or None."""
    try:
        stats: Mapping[str, Any] = json.loads(read_text(run_dir / STATISTICS))
    except (OSError, ValueError):
        return None
    return stats


def prepare_tables(run: Run) -> None:
    """Copy what tables of the first design hold, and divide tables anew that are not divided as this run needs them."""
    results = run.committer.merge.results, run.committer.merge.bad
    owners = ENRICHED_OWNERS, QUARANTINE_OWNERS
    if any(needs_copy(table) for table, _ in run.tables):
        parts = [
            copy_rows(table, exchange, names)
            for (table, _), exchange, names in zip(run.tables, results, owners, strict=True)
        ]
        run.committer.put(*parts)
        for table, writer in run.tables:
            mark_copied(table)
            writer.refresh()
    _divide_tables(run)


def _divide_tables(run: Run) -> None:
    """Divide tables anew, each by one commit."""
    for (table, writer), owners in zip(run.tables, (ENRICHED_OWNERS, QUARANTINE_OWNERS), strict=True):
        if writer.snapshot.num_buckets != run.num_buckets and writer.snapshot.files:
            partitions = find_partitions(writer.files)
            items = [{"files": [file.to_row() for file in group]} for group in partitions]
            write = partial(divide, table=table, owners=owners, num_buckets=run.num_buckets, run_id=run.run_id)
            added = [DataFile.from_row(row) for report in map_tasks(write, items) for row in report["added"]]
            writer.commit(added, writer.files, is_change=False)
            logger.info("%s: divided into %d buckets", hide_in_text(table.uri), run.num_buckets)
            writer.refresh()


PARTITIONS_PER_COMMIT = 64
"""Of which the files are put together in one version: each version's log is read by who commits the next."""


def maintain(run: Run) -> int:
    """Put small files together, delete what no version needs any more, and return how many files were put together."""
    num_compacted = 0
    for table, writer in run.tables:
        groups = [group for group in find_partitions(writer.files) if len(group) > 1]
        items = [{"files": [file.to_row() for file in group]} for group in groups]
        added: list[DataFile] = []
        removed: list[DataFile] = []
        for number, report in enumerate(map_tasks(partial(compact, table=table, run_id=run.run_id), items), 1):
            added.append(DataFile.from_row(report["file"]))
            removed += [DataFile.from_row(row) for row in report["files"]]
            if len(added) == PARTITIONS_PER_COMMIT or number == len(items):
                writer.commit(added, removed, is_change=False)
                num_compacted += len(removed)
                added, removed = [], []
        writer.tidy(run.config.table.retention_hours)
    return num_compacted


def find_partitions(files: Iterable[DataFile]) -> list[list[DataFile]]:
    """Return the files of each partition."""
    partitions: dict[tuple[str, ...], list[DataFile]] = {}
    for file in files:
        partitions.setdefault(tuple(file.partition.values()), []).append(file)
    return [group for _, group in sorted(partitions.items())]


def _find_before(run: Run) -> None:
    """Fill in what the rows that are shown said last night, while their old files are sure to be there."""
    for example in run.committer.examples:
        bucket = bucket_of(example["product_id"], run.staging.num_buckets)
        files = [file for file in run.writer.snapshot.files if (file.bucket, file.task) == (bucket, example["task"])]
        example["before"] = None
        for file in files if example["change"] == "changed" else ():
            rows = run.enriched.read_file(file, ["product_id", "prediction"])
            found = rows.filter(pc.equal(rows["product_id"], example["product_id"]))["prediction"].to_pylist()
            example["before"] = found[0] if found else example["before"]


def _record(run: Run) -> dict[str, Any]:
    """Return what ties the rows of this run to the model and the input behind them."""
    return {
        "run_id": run.run_id,
        "started_at": run.started_at.isoformat(timespec="seconds"),
        "config_digest": fingerprint(run.config.model_dump(mode="json")),
        "model": {"dir": place_of(run.model.folder) if run.model.folder else None, "digest": run.model.digest},
        "catalog": hide_secrets(run.catalog),
        "reviews": hide_secrets(run.reviews),
        "table_uri": hide_in_text(run.config.table_uri),
        "prompts": describe_prompts(run.templates),
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
