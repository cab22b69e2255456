"""DuckDB: one thread, since Ray has a worker per core, and memory that the node has for it."""

import tempfile

import duckdb
import pyarrow as pa

MEMORY_LIMIT = "1GB"
"""What one statement may hold before it uses the disk."""


def connect(memory_limit: str = MEMORY_LIMIT, **tables: pa.Table | pa.RecordBatchReader) -> duckdb.DuckDBPyConnection:
    """Return an empty database that sees some tables by their names, and uses the disk beyond a limit."""
    settings: dict[str, str | bool | int | float | list[str]] = {
        "threads": 1,
        "memory_limit": memory_limit,
        "temp_directory": tempfile.gettempdir(),
        "autoinstall_known_extensions": False,  # nothing is fetched from the internet
        "autoload_known_extensions": False,
        "python_enable_replacements": False,
    }
    database = duckdb.connect(":memory:", config=settings)
    for name, table in tables.items():
        database.register(name, table)
    return database


def quote_text(text: str) -> str:
    """Return a text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"
