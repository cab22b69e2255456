"""A form with a file, as browsers and OpenAI's client send it: the file goes by in blocks, whatever its length."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.types import Receive

from eshop_ray.serving.batches.files import MIN_LIFETIME, Files, too_large
from eshop_ray.serving.bodies import ClientGoneError
from eshop_ray.serving.errors import RefusalError
from eshop_ray.serving.visits import Visit

FORM_TYPE = b"multipart/form-data"
FILE, PURPOSE, LIFETIME, ANCHOR = "file", "purpose", "expires_after[seconds]", "expires_after[anchor]"
MAX_FIELDS = 16
MAX_FIELD_BYTES = 4096
"""Of all fields together but the file."""
BLOCK_BYTES = 1024 * 1024
"""In which the file goes on its way."""


class Form:
    """Reads a form as it comes."""

    def __init__(self, boundary: bytes) -> None:
        self.fields: dict[str, str] = {}
        """What is no file."""
        self.filename: str | None = None
        """None as long as there was no file."""
        self.is_complete = False
        self._file = bytearray()
        self._field = bytearray()
        self._num_bytes = 0
        self._name: str | None = None
        """Of the part that is being read; None for the file."""
        self._header, self._value, self._disposition = b"", b"", b""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._add_header,
                "on_header_value": self._add_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._open_part,
                "on_part_data": self._add_data,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    def feed(self, data: bytes) -> None:
        """Read on.

        Raises:
            RefusalError: if it is no form.
        """
        try:
            self._parser.write(data)
        except (FormParserError, UnicodeDecodeError):
            raise not_a_form() from None

    def take(self, num_bytes: int) -> bytes:
        """Return what has come of the file, if it is as much; then it is kept no longer."""
        if len(self._file) < max(num_bytes, 1):
            return b""
        block = bytes(self._file)
        self._file.clear()
        return block

    def _begin_part(self) -> None:
        self._disposition = b""
        self._field.clear()

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def _open_part(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode()
        if b"filename" in options:
            if name != FILE or self.filename is not None:
                raise RefusalError(400, f"send one file, as `{FILE}`", "invalid_value", FILE)
            self.filename, self._name = options[b"filename"].decode(), None
        elif len(self.fields) >= MAX_FIELDS or name in self.fields:
            raise not_a_form()
        else:
            self._name = name

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._name is None:
            self._file += data[start:end]
            return
        self._num_bytes += end - start
        if self._num_bytes > MAX_FIELD_BYTES:
            raise not_a_form()
        self._field += data[start:end]

    def _end_part(self) -> None:
        if self._name is not None:
            self.fields[self._name] = self._field.decode()

    def _end(self) -> None:
        self.is_complete = True


async def receive_file(visit: Visit, receive: Receive, files: Files, max_bytes: int) -> dict[str, Any]:
    """Return OpenAI's file object of what a client uploads.

    Raises:
        RefusalError: if it sends no form with a file, or too long a one: what comes after that is not read.
        ClientGoneError: if it leaves before the end.
    """
    boundary = _read_boundary(visit)
    length = visit.headers.get("content-length", "")
    if length.isdigit() and int(length) > max_bytes + BLOCK_BYTES:  # so much may stand around the file
        raise too_large(max_bytes)
    form = Form(boundary)
    file_id = await files.begin(visit.key.id if visit.key else None)
    try:
        async for block in _read_blocks(receive, form):
            await files.append(file_id, block)
        if not form.is_complete or form.filename is None:
            raise not_a_form()
        return await files.finish(file_id, form.filename, form.fields.get(PURPOSE, ""), _read_lifetime(form.fields))
    except BaseException:
        await asyncio.shield(files.abort(file_id))
        raise


async def _read_blocks(receive: Receive, form: Form) -> AsyncIterator[bytes]:
    is_more = True
    while is_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        form.feed(message.get("body", b""))
        is_more = message.get("more_body", False)
        if block := form.take(BLOCK_BYTES if is_more else 0):
            yield block


def _read_boundary(visit: Visit) -> bytes:
    kind, options = parse_options_header(visit.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != FORM_TYPE or not re.fullmatch(rb"[ -~]{1,70}", boundary):
        raise RefusalError(415, "the body has to be a form, `multipart/form-data`", "invalid_content_type")
    return boundary


def _read_lifetime(fields: dict[str, str]) -> float | None:
    text = fields.get(LIFETIME)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 12 and int(text) >= MIN_LIFETIME):
        raise RefusalError(400, f"has to be a whole number from {MIN_LIFETIME}", "invalid_value", LIFETIME)
    if fields.get(ANCHOR, "created_at") != "created_at":
        raise RefusalError(400, "has to be created_at", "invalid_value", ANCHOR)
    return float(text)


def not_a_form() -> RefusalError:
    """Return the refusal of a body that is no form with a file."""
    return RefusalError(400, f"the body has to be a form with `{FILE}` and `{PURPOSE}`", "invalid_form")
