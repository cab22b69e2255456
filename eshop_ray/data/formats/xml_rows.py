"""XML: the feeds and exports of shops, one element per row.

A row's columns are its element's attributes and children, without their namespaces. A child that comes again makes a
list, a child with children of its own an object.
"""

import mmap
import re
from collections.abc import Iterator
from typing import IO, Any

from lxml import etree

from eshop_ray.data.formats.encodings import decode_text
from eshop_ray.data.formats.limits import (
    BLOCK_BYTES,
    HELD_BYTES,
    MAX_DOCUMENT_BYTES,
    MAX_RECORD_CHARACTERS,
    map_document,
    release,
)
from eshop_ray.errors import UserError
from eshop_ray.schema import Malformed, Row

Content = bytes | mmap.mmap

ROW_NAMES = ("item", "entry", "product", "offer", "article", "record", "row")
"""What elements of rows are usually called; where none is, they are the children of the outermost."""

_START = re.compile(rb"<([A-Za-z_][\w.:-]*)")
_DECLARED = re.compile(rb"<\?xml[^>]*?\?>")
_ENTITY = re.compile(rb"<!ENTITY|<!DOCTYPE[^>\[]*\[")


def read_xml(stream: IO[bytes], path: str, element: str | None = None) -> Iterator[tuple[int, Row] | Malformed]:
    """Yield (1-based line where the element begins, row).

    Args:
        stream: The file's bytes, unpacked.
        path: The file's, for messages.
        element: Name of the elements that are rows; None: the first of `ROW_NAMES`, or the outermost's children.

    Raises:
        UserError: if the file declares entities, or has no element of a row.
    """
    content = _as_bytes(map_document(stream, path), path)
    name = (element or _find_name(content)).encode()
    rows = re.compile(rb"<((?:[\w.-]+:)?" + re.escape(name) + rb")(?=[\s/>])")
    first = rows.search(content)
    if _ENTITY.search(content, 0, first.start() if first else len(content)):
        raise UserError(f"{path}: declares entities of its own, which are not read; export it without a DOCTYPE")
    if first is None:
        raise UserError(f"{path}: has no element <{name.decode()}>; `records` names those that are rows")
    head = _Head.read(content[: first.start()])
    number, counted, released = 1, 0, 0
    start: re.Match[bytes] | None = first
    while start is not None:
        number, counted = number + _count_lines(content, counted, start.start()), start.start()
        if counted - released > HELD_BYTES:
            release(content, counted)
            released = counted
        row, end = _read_element(content, start, head, rows)
        yield (number, row) if isinstance(row, dict) else Malformed(path, number, row)
        start = rows.search(content, end)
    if content.find(b"</", end) < 0 and head.num_open:
        yield Malformed(path, number, "the document is not closed behind this: the file may have been cut")


def _as_bytes(content: Content, path: str) -> Content:
    """Return a document in an encoding in which every `<` is one byte: one in UTF-16 comes in UTF-8."""
    if not content[:2].startswith((b"\xff\xfe", b"\xfe\xff")):
        return content
    if len(content) > MAX_DOCUMENT_BYTES:
        raise UserError(f"{path}: in UTF-16 larger than {MAX_DOCUMENT_BYTES:,} bytes (MAX_DOCUMENT_BYTES); use UTF-8")
    text = decode_text(content[:])
    return re.sub(r"^<\?xml[^>]*\?>", "", text, count=1).encode()


def _count_lines(content: Content, start: int, end: int) -> int:
    """Return how many lines end in a part, of which no more than a block is copied at a time."""
    blocks = range(start, end, BLOCK_BYTES)
    return sum(content[block : min(block + BLOCK_BYTES, end)].count(b"\n") for block in blocks)


class _Head:
    """What stands before the first row, and is needed to read any: the encoding and the names of namespaces."""

    def __init__(self, encoding: bytes, namespaces: bytes, num_open: int) -> None:
        self.opening = encoding + b"<rows" + namespaces + b">"
        self.num_open = num_open

    @classmethod
    def read(cls, head: bytes) -> "_Head":
        declared = _DECLARED.search(head)
        namespaces = dict(re.findall(rb"""\s(xmlns(?::[\w.-]+)?)\s*=\s*("[^"]*"|'[^']*')""", head))
        written = b"".join(b" " + name + b"=" + value for name, value in namespaces.items())
        return cls(declared[0] if declared else b"", written, len(_START.findall(head)))


def _find_name(content: Content) -> str:
    """Return the local name of the elements that are rows."""
    names = [match[1].decode("utf-8", "replace").rpartition(":")[2] for match in _START.finditer(content, 0, 1 << 20)]
    known = next((name for name in names if name.lower() in ROW_NAMES), None)
    # Of an unknown document, the outermost's first child: what follows it is of its kind.
    return known or names[min(1, len(names) - 1)] if names else "item"


def _read_element(
    content: Content, start: re.Match[bytes], head: _Head, rows: re.Pattern[bytes]
) -> tuple[Row | str, int]:
    """Return the row that begins here, or what is wrong with it, and where to go on."""
    closing = re.compile(rb"</" + re.escape(start[1]) + rb"\s*>|<" + re.escape(start[1]) + rb"(?=[\s/>])")
    tag_end = re.compile(rb"""(?:"[^"]*"|'[^']*'|[^"'>])*>""").match(content, start.end())
    following = rows.search(content, start.end())
    next_start = following.start() if following else len(content)
    if tag_end and tag_end[0].endswith(b"/>") and tag_end.end() <= next_start:
        end = tag_end.end()
    else:
        end = _find_end(content, start.end(), closing)
    if end - start.start() > MAX_RECORD_CHARACTERS:
        row: Row | str = f"an element of more than {MAX_RECORD_CHARACTERS:,} bytes (MAX_RECORD_CHARACTERS)"
    else:
        row = _parse(head, content[start.start() : end])
    if isinstance(row, str) and end > next_start:
        end = next_start  # it took in the next one
    return row, end


def _find_end(content: Content, position: int, closing: re.Pattern[bytes]) -> int:
    """Return the end of an element that may hold others of its name, which CDATA does not count as."""
    depth = 1
    while True:
        match = closing.search(content, position)
        if match is None:
            return len(content)
        cdata = content.rfind(b"<![CDATA[", position, match.start())
        if cdata >= 0 and (end := content.find(b"]]>", cdata)) > match.start():
            position = end
            continue
        depth += -1 if match[0].startswith(b"</") else 1
        position = match.end()
        if depth == 0:
            return position


def _parse(head: _Head, element: bytes) -> Row | str:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        root = etree.fromstring(head.opening + element + b"</rows>", parser)
    except etree.XMLSyntaxError as error:
        return f"not XML: {' '.join(str(error.msg).split())}"
    row = _to_value(root[0])
    return row if isinstance(row, dict) else {}


def _to_value(element: Any) -> Any:
    """Return a text, or an object of attributes and children."""
    children = [child for child in element if isinstance(child.tag, str)]
    if not children and not element.attrib:
        return (element.text or "").strip()
    row: Row = {_local(name): value for name, value in element.attrib.items()}
    if not children:
        text = (element.text or "").strip()
        return {**row, "value": text} if text else row
    if _is_markup(element):
        return "".join(element.itertext()).strip()
    for child in children:
        name, value = _local(child.tag), _to_value(child)
        if name not in row:
            row[name] = value
        elif value != row[name]:
            row[name] = [*row[name], value] if isinstance(row[name], list) else [row[name], value]
    return row


def _is_markup(element: Any) -> bool:
    """Whether text stands between the children, as in HTML."""
    return any((child.tail or "").strip() for child in element) or bool((element.text or "").strip())


def _local(name: str) -> str:
    return name.rpartition("}")[2]
