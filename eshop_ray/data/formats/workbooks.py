"""Workbooks of Excel and LibreOffice: the rows of one sheet below its header."""

import io
import zipfile
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import IO, Any

from python_calamine import CalamineError, CalamineWorkbook

from eshop_ray.data.formats.delimited import check_header
from eshop_ray.data.formats.limits import read_document
from eshop_ray.data.formats.packing import check_ratio
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed, Row


def read_workbook(stream: IO[bytes], path: str, sheet: str | None = None) -> Iterator[tuple[int, Row] | Malformed]:
    """Yield (1-based row of the sheet, column -> value); empty cells are None, empty rows are passed over.

    Args:
        stream: The file's bytes.
        path: The file's, for messages.
        sheet: Its name; None: the first that is not empty.

    Raises:
        UserError: if the workbook cannot be read, has no such sheet, or its header names a column twice.
    """
    content = read_document(stream, path)
    try:
        if zipfile.is_zipfile(io.BytesIO(content)):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                check_ratio(len(content), sum(member.file_size for member in archive.infolist()), path)
        workbook = CalamineWorkbook.from_filelike(io.BytesIO(content))
        if sheet is not None and sheet not in workbook.sheet_names:
            raise UserError(f"{path}: no sheet `{sheet}`; it has {', '.join(workbook.sheet_names)}")
        names = [sheet] if sheet else workbook.sheet_names
        tables = (workbook.get_sheet_by_name(name) for name in names)
        table = next((table for table in tables if table.height), None)
        if table is None:
            return
        # Rows above the first one that is not empty are left out by the library.
        rows = enumerate(table.to_python(skip_empty_area=True), start=(table.start or (0, 0))[0] + 1)
    except (CalamineError, zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{path}: not a readable workbook: {error}") from error
    number, first = next(rows)
    header = check_header([str(value) for value in first], path, number)
    named = [(place, name) for place, name in enumerate(header) if name]
    for number, values in rows:
        row = {name: _to_value(values[place]) for place, name in named}
        if any(value is not None for value in row.values()):
            yield number, row


def _to_value(value: Any) -> Any:
    if value == "":
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    return str(value) if isinstance(value, timedelta) else value
