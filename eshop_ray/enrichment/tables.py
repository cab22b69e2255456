"""The two tables of a night: what is known of products, and what is in trouble."""

from eshop_ray.enrichment.columns import ENRICHED_SCHEMA, LATER_COLUMNS, QUARANTINE_SCHEMA
from eshop_ray.enrichment.former import find_table
from eshop_ray.enrichment.table import Table

ENRICHED_OWNERS = ("product_id",)
QUARANTINE_OWNERS = ("product_id", "fingerprint")
"""Columns of which the first that is not null decides about a row's bucket."""


def enriched_table(uri: str) -> Table:
    """Return the enriched table of a URI, whether it is there or not.

    Raises:
        UserError: if the storage cannot be read.
    """
    return find_table(Table(uri, ENRICHED_SCHEMA, ("task", "bucket"), LATER_COLUMNS))


def quarantine_table(uri: str) -> Table:
    """Return the quarantine of a URI, whether it is there or not.

    Raises:
        UserError: if the storage cannot be read.
    """
    return find_table(Table(uri, QUARANTINE_SCHEMA, ("bucket",)))
