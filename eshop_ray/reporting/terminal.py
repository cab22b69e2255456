"""A table on the terminal, where names of the data stay text: rich takes `[red]` in a plain string as markup."""

from collections.abc import Collection

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
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
    printed = TerminalTable(title=Text(clean_text(title), style="table.title"), box=SIMPLE_HEAD, padding=0)
    for place, name in enumerate(table.header):
        justify: JustifyMethod = "left" if place < table.num_text else "right"
        printed.add_column(Text(clean_text(name)), justify=justify, no_wrap=place == 0)  # names are whole at 80 columns
    for row in table.rows:
        printed.add_row(*(Text(clean_text(cell)) for cell in row), style="bold" if row[0] in bold else None)
    Console(width=None if Console().is_terminal else LOG_WIDTH).print(printed)
