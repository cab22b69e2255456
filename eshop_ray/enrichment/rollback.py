"""Both tables back to how a run left them."""

from eshop_ray.config import Config
from eshop_ray.enrichment.run import name_run
from eshop_ray.enrichment.table import Writer
from eshop_ray.enrichment.tables import enriched_table, quarantine_table


def roll_back(config: Config, run_id: str) -> dict[str, int]:
    """Bring the enriched table and the quarantine back to how a run left them; a night at work is told to end.

    The quarantine goes first: cut off in between, it has an entry too few, which the next night finds again.

    Returns:
        URI of each table -> the version that it is back at.

    Raises:
        UserError: if a table or the run is not known, or files of that version are gone; nothing is changed then.
    """
    name = name_run("rollback")
    tables = quarantine_table(config.quarantine_uri), enriched_table(config.table_uri)
    writers = [Writer(table, name) for table in tables]
    for writer in writers:
        writer.find_version(run_id)
    return {table.uri: writer.restore(run_id) for table, writer in zip(tables, writers, strict=True)}
