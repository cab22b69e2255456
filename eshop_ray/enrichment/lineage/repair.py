"""What is damaged, out of both tables: the next night asks again what was lost, and nothing else.

Row groups whose pages are sound are kept, in a new file. Of the log, what cannot be read is set aside.
"""

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq

from eshop_ray.config import Config
from eshop_ray.enrichment.lineage.verification import find_damaged, hash_log, write_run_record
from eshop_ray.enrichment.placing import place_values
from eshop_ray.enrichment.run import name_run
from eshop_ray.enrichment.table import DataFile, Table, Writer, find_log_damage, set_aside
from eshop_ray.enrichment.tables import ENRICHED_OWNERS, QUARANTINE_OWNERS, enriched_table, quarantine_table
from eshop_ray.secrets import hide_in_text


@dataclass(frozen=True, slots=True)
class Repaired:
    """What became of one table."""

    uri: str
    version: int
    """Of the table now."""
    set_aside: tuple[str, ...]
    """Files of the log that are no part of it any more."""
    num_lost_versions: int
    """Entries of the log among them: what they changed is asked again."""
    num_damaged_files: int
    """Data files that were taken out, the missing ones among them."""
    lost_rows: Counter[str]
    """Task -> rows that stood in them and are not kept; trouble that belongs to no task under the empty name."""


def repair(config: Config) -> list[Repaired]:
    """Take what is damaged out of both tables, each by one commit; a night at work is told to end.

    The quarantine goes first: cut off in between, it has an entry too few, which the next night finds again.

    Returns:
        What was done to each table that was damaged.

    Raises:
        UserError: if there is no table, not even its first version can be read, or its storage refuses.
    """
    name = name_run("repair")
    tables = (
        (quarantine_table(config.quarantine_uri), QUARANTINE_OWNERS),
        (enriched_table(config.table_uri), ENRICHED_OWNERS),
    )
    done = [found for table, owners in tables if (found := _repair_table(table, owners, name))]
    if done:
        logs = {hide_in_text(table.uri): hash_log(table, table.snapshot().version - 2) for table, _ in tables}
        now = datetime.now(UTC).isoformat(timespec="seconds")
        write_run_record(config.run_dir, name, {"run_id": name, "started_at": now, "logs": logs})
    return done


def _repair_table(table: Table, owners: Sequence[str], run_id: str) -> Repaired | None:
    """Repair one table; None where nothing is damaged."""
    log_damage = find_log_damage(table.storage)
    moved = set_aside(table.storage, log_damage) if log_damage else []
    damaged = find_damaged(table, table.snapshot().files)
    if not log_damage and not damaged:
        return None
    writer = Writer(table, run_id)
    removed = [file for file in writer.files if file.path in damaged]
    added: list[DataFile] = []
    lost: Counter[str] = Counter()
    for file in removed:
        kept = pa.concat_tables([table.stored.empty_table(), *read_sound_groups(table, file, owners)])
        lost[file.task or ""] += file.num_rows - len(kept)
        added += [table.write_rows(kept, file.partition, run_id)] if len(kept) else []
    writer.commit(added, removed)
    num_entries = sum(path.endswith(".json") for path in moved)
    return Repaired(table.storage.shown, writer.version, tuple(moved), num_entries, len(removed), +lost)


def read_sound_groups(table: Table, file: DataFile, owners: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the row groups of a damaged file whose pages have the checksums that they were written with.

    Args:
        table: Its table.
        file: It may be missing.
        owners: Columns of which the first that is not null places a row; one that belongs elsewhere was misread.
    """
    content = table.storage.read(file.name)
    try:
        parquet = pq.ParquetFile(io.BytesIO(content or b""), page_checksum_verification=True)
    except (pa.ArrowException, OSError):
        return  # its end says where everything stands
    if not parquet.schema_arrow.equals(table.stored):
        return
    for number in range(parquet.num_row_groups):
        try:
            rows = parquet.read_row_group(number)
        except (pa.ArrowException, OSError):
            continue
        if (place_values([rows[name] for name in owners], file.num_buckets) == file.bucket).all():
            yield rows
