"""A table on the terminal, where names of the data stay text: rich takes `[red]` in a plain string as markup."""

from collections.abc import Collection

from rich.console import Console
from rich.table import Table as TerminalTable
from rich.text import Text

from eshop_ray.reporting.page import Table, clean_text

LOG_WIDTH = 160
"""Columns where the output is no terminal, as in a log."""


def print_table(table: Table, title: str, bold: Collection[str] = ()) -> None:
    """Print a table.

    Args:
        table: To print.
        title: Stands above it.
        bold: First cells of the rows that stand out.
    """
    printed = TerminalTable(title=Text(clean_text(title), style="table.title"))
    for place, name in enumerate(table.header):
        printed.add_column(Text(clean_text(name)), justify="left" if place < table.num_text else "right")
    for row in table.rows:
        printed.add_row(*(Text(clean_text(cell)) for cell in row), style="bold" if row[0] in bold else None)
    Console(width=None if Console().is_terminal else LOG_WIDTH).print(printed)
