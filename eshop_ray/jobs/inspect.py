"""Show what a catalogue's files hold, and what would be refused, before anything is configured."""

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from eshop_ray.config.files import CatalogOptions
from eshop_ray.config.loading import explain_errors, read_settings
from eshop_ray.data.files import list_files
from eshop_ray.data.inspection import SHOWN_COLUMNS, Inspection, inspect_file
from eshop_ray.errors import UserError

MAX_FILES = 5
"""Files that are shown; of more, the others are only named."""
_MAX_CHARACTERS = 100
_MAX_REASONS = 10


def run(path: str, settings: Sequence[str] = ()) -> None:
    """Print what the files hold.

    Args:
        path: A file, a folder, or a pattern.
        settings: `key=value` each, of the section `catalog`.

    Raises:
        UserError: if there is no such file, a setting makes no sense, or a file cannot be read as a whole.
    """
    try:
        options = CatalogOptions.model_validate(read_settings(settings))
    except ValidationError as error:
        raise UserError(f"settings of `catalog`: {explain_errors(error, CatalogOptions)}") from error
    console = Console(highlight=False)
    files = list_files(".", path)
    for file in files[:MAX_FILES]:
        _show(inspect_file(file.path, options), console)
    if len(files) > MAX_FILES:
        console.print(Text(f"{len(files) - MAX_FILES} more files match {path}"))


def _show(found: Inspection, console: Console) -> None:
    def say(line: str) -> None:
        console.print(Text(_show_safely(line)))

    console.print(Text(_show_safely(found.path), "bold"))
    written = [found.format, *([found.encoding] if found.encoding else [])]
    if found.delimiter:
        written.append(f"separated by {found.delimiter!r}")
    say(f"  written    {', '.join(written)}")
    if found.platform:
        say(f"  exported   by {found.platform}, as its columns say")
    for name, value in found.guessed.items():
        say(f"  guessed    catalog.{name}={_write(value)}")
    say(f"  columns    {', '.join(_name_columns(found)) or 'none'}")
    num_refused = sum(found.refused.values())
    say(f"  products   {found.num_products:,} good, {num_refused:,} refused")
    for reason, count in found.refused.most_common(_MAX_REASONS):
        where = f"line {found.examples[reason]}" + (" and others" if count > 1 else "")
        say(f"    {count:,} x {reason} ({where})")
    if found.products:
        console.print(_build_table(found))
    console.print()


def _name_columns(found: Inspection) -> Iterator[str]:
    """Yield the names of columns, with the share of rows in which they hold something where it is not all."""
    for name, count in found.columns.items():
        yield name if count == found.num_sampled else f"{name} ({count / found.num_sampled:.0%})"


def _write(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {one}" for name, one in value.items()) + "}"
    return str(value)


def _build_table(found: Inspection) -> Table:
    table = Table(box=None, padding=(0, 2), title=f"the first {len(found.products)}", title_justify="left")
    for name in SHOWN_COLUMNS:
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    for product in found.products:
        cells = (" ".join(str(product[name] if product[name] is not None else "").split()) for name in SHOWN_COLUMNS)
        table.add_row(*(Text(_show_safely(cell[:_MAX_CHARACTERS])) for cell in cells))
    return table


def _show_safely(text: str) -> str:
    """Return a text without what a terminal would act on."""
    return "".join(character if character.isprintable() else "?" for character in text)
